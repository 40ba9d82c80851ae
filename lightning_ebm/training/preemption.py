"""How a run of one or more processes ends before its time: when it is asked to, or when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from lightning_ebm.signals import STOP_SIGNALS, Stopped

GRACE = 3.0
"""Seconds that a process has to end by its own error after another one died (Lightning kills it after 5)."""


class StopOnSignal(Checkpoint):
    """After a signal of `STOP_SIGNALS` to any process, all finish the update, save, and raise `Stopped`.

    It is a `Checkpoint` because Lightning calls those last, so that a validation's checkpoints are written before.

    Args:
        last: where the last checkpoint is kept.
        validate_every: updates between validations.
        log_every: updates between rows of metrics.
    """

    def __init__(self, last: Path, validate_every: int, log_every: int) -> None:
        self.last, self.validate_every, self.log_every = last, validate_every, log_every
        self.received = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes the signals, from Lightning too, which would save in the middle of an update under SLURM."""
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._receive)  # Lightning puts back what was there before training

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Stops after this update, unless more belongs to it: a validation, or a row of metrics not yet written."""
        update = trainer.global_step
        if update % self.validate_every and update % self.log_every and self._is_asked(trainer):
            module.on_train_batch_end(outputs, batch, batch_index)  # its turn would come after ours
            try:
                trainer.save_checkpoint(self.last)
            except OSError as error:  # no failure of this run alone, after which a comparison would start the next one
                raise Stopped(self.received, lost=str(error)) from error
            raise Stopped(self.received)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stops after a validation, whose checkpoint is written by now."""
        if self._is_asked(trainer):
            raise Stopped(self.received)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Saves the updates after the last validation, if there are any."""
        if trainer.global_step % self.validate_every:
            trainer.save_checkpoint(self.last)

    def _is_asked(self, trainer: pl.Trainer) -> bool:
        asked = trainer.strategy.reduce_boolean_decision(self.received > 0, all=False)
        self.received = self.received or (signal.SIGTERM if asked else 0)  # another process was
        return asked


class EndTogether(pl.Callback):
    """When a process dies, the others say so and end too, also those that wait for it in a collective operation."""

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Watches the processes that this one started, or the one that started it."""
        launcher = trainer.strategy.launcher
        for number, child in enumerate(launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else [], 1):
            watch(lambda child=child, number=number: wait_for_child(child, number))  # type: ignore[misc]
        if trainer.local_rank > 0:
            watch(wait_for_parent)


def watch(wait: Callable[[], str]) -> None:
    """In a thread, waits for bad news (an empty message is none), says it, and ends this process."""

    def end() -> None:
        if news := wait():
            print(f"error: {news}; the others end too. The same command goes on from the last checkpoint", flush=True)
            time.sleep(GRACE)
            sys.stdout.flush()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def wait_for_child(child: subprocess.Popen[bytes], number: int) -> str:
    """Waits until a process that this one started ends; a message if that was no success."""
    try:
        end = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # its code is left for Lightning to see
    except ChildProcessError:  # Lightning has seen it
        end = None
    if end is None or end.si_status == 0:
        return ""
    how = "was killed by signal" if end.si_code in (os.CLD_KILLED, os.CLD_DUMPED) else "ended with exit code"
    return f"process {number} ({child.pid}) {how} {end.si_status}"


def wait_for_parent(pause: float = 1.0) -> str:
    """Waits until the process that started this one is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(pause)
    return f"the process that started this one ({parent}) is gone"
