"""Contenders that go wrong."""

import time

from benchmarks.contenders.ours import Ours


class Failing(Ours):
    def meta_step(self):
        raise ValueError("no such luck")


class FailingInFloat32(Ours):
    """Passes the check in double precision, and fails when it is to be timed."""

    def meta_step(self):
        if str(self.patterns.dtype) == "torch.float32":
            raise ValueError("too rough")
        return super().meta_step()


class Wrong(Ours):
    def loss_and_gradients(self):
        loss, gradients = super().loss_and_gradients()
        return loss, (*gradients[:-1], 1.001 * gradients[-1])


class Silent(Ours):
    def prepare(self, case, dtype, device):
        time.sleep(60)
