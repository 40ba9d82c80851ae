"""EBMM as this package has it: all episodes together, one by one, and compiled."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.cases import Case
from benchmarks.contenders import Contender
from lightning_ebm.ebmm.stepwise import Stepwise
from lightning_ebm.training.compilation import compiler
from lightning_ebm.training.gradient_accumulation import chunked


class TorchContender(Contender):
    """What all contenders in PyTorch share: the EBMM, the data, and how operations are counted."""

    def prepare(self, case: Case, dtype: str, device: str) -> None:
        """Builds the EBMM and the data."""
        torch.func.vmap(torch.func.grad(torch.sin))(torch.zeros(1))  # loads code, which is not part of the meta-step
        self.memory = case.memory(dtype, device)
        self.patterns, self.queries = case.data(dtype, device)
        self.names, self.parameters = zip(*self.memory.named_parameters(), strict=True)

    def meta_step(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its gradient by parameter name."""
        loss, gradients = self.loss_and_gradients()
        if loss.is_cuda:
            torch.cuda.synchronize()
        return loss.detach(), dict(zip(self.names, gradients, strict=True))

    def loss_and_gradients(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss, and its gradients in the order of `self.parameters`."""
        loss = self.memory.meta_loss(self.patterns, self.queries)
        return loss, torch.autograd.grad(loss, self.parameters)

    def flops(self) -> int | None:
        """Two for each multiply-add of matrix products and convolutions, forward and backward, all orders."""
        with FlopCounter() as counter:
            self.loss_and_gradients()
        return counter.total


class FlopCounter(TorchDispatchMode):
    """Adds up operations with PyTorch's own formulas.

    Not `FlopCounterMode`: it also tracks modules, with hooks that `torch.autograd.grad` refuses.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and counts it."""
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


class Ours(TorchContender):
    """`EBMM.meta_loss` and one backward pass."""


class OursByEpisode(TorchContender):
    """The same, one episode after the other, as with training.episodes_per_backward=1."""

    def loss_and_gradients(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss, and its gradients in the order of `self.parameters`."""
        loss = chunked(self.memory.meta_loss, self.parameters, 1, self.patterns, self.queries)
        return loss, torch.autograd.grad(loss, self.parameters)


class OursCompiled(TorchContender):
    """The same as trainer.compile=true runs it: one write step and one read step compiled, with all derivatives."""

    def prepare(self, case: Case, dtype: str, device: str) -> None:
        """Builds the EBMM; it is compiled by the first meta-step."""
        super().prepare(case, dtype, device)
        self.compiled = Stepwise(self.memory, compiler(cuda_graphs=device == "cuda")).meta_loss

    def loss_and_gradients(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss, and its gradients in the order of `self.parameters`."""
        torch.compiler.cudagraph_mark_step_begin()
        loss: Tensor = self.compiled(self.patterns, self.queries)
        return loss, torch.autograd.grad(loss, self.parameters)

    def flops(self) -> int | None:
        """Those of the eager form: compiled kernels are not seen by the counter."""
        with FlopCounter() as counter:
            super().loss_and_gradients()
        return counter.total
