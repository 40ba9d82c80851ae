"""Training through `torch.compile`: what is compiled, when, and what happens where that fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import rich
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lightning_ebm.data.cache import folder
from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.ebmm.stepwise import Stepwise
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.schema import RunConfig
from lightning_ebm.training.module import Loss

REPAID = 2000
"""Updates from which `auto` compiles on a CPU: compiling takes one or two minutes, and a compiled update saves a third
of 0.1 to 1 s. A number of updates, not a measured time, so that each start of a run decides alike."""
UNROLLED = 16
"""Patterns up to which a memory that writes them one after the other is compiled: its loop becomes one long graph."""


class Compilation(pl.Callback):
    """Has the losses of a `MetaTraining` compiled in the first update that needs them.

    The meta-loss and the objective of pretraining are compiled, with all of their derivatives; validation runs eagerly.
    Compiled code is kept in the cache folder, so that the next start of any run with the same memory loads it.
    Resuming is exact: see `CompiledLoss`.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts compiled losses in the place of the eager ones."""
        module: Any = pl_module
        memory: AssociativeMemory = module.memory
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder() / "compiled"))
        span = self.config.episodes.train_patterns_per_episode
        items = max(span) if span else self.config.episodes.patterns_per_episode
        compiler = Compiler(varying=bool(span), cuda_graphs=module.device.type == "cuda")
        say = self.say if trainer.is_global_zero else str
        for name, eager in module.losses.items():
            compiled = compiler(eager)
            if name == "meta_loss" and isinstance(memory, EBMM):
                compiled = partial(Stepwise(memory, compiler).meta_loss, keep=module.keep)
            elif name == "meta_loss" and not memory.order_invariant and items > UNROLLED:
                say(f"{name} runs eagerly: only loops over up to {UNROLLED} patterns are compiled, and it has {items}")
                continue
            module.losses[name] = CompiledLoss(name, eager, compiled, memory, items, say)

    def on_train_batch_start(self, *_: Any) -> None:
        """Tells CUDA graphs that the results of the last update are not read any more."""
        torch.compiler.cudagraph_mark_step_begin()

    def say(self, words: str) -> None:
        """One line, where the progress of training is shown."""
        rich.get_console().print(f"{self.config.name}: {words}", markup=False, highlight=False, soft_wrap=True)


def is_compiled(config: RunConfig) -> bool:
    """Whether `trainer.compile` has a run compiled here."""
    if config.trainer.compile != "auto":
        return config.trainer.compile == "true"
    on_gpu = config.trainer.accelerator != "cpu" and torch.cuda.is_available()
    return on_gpu or config.training.max_steps >= REPAID


class Compiler:
    """Compiles functions of tensors as one graph each.

    Random numbers are those that PyTorch draws without compiling.

    Args:
        varying: whether the number of patterns varies. One graph then serves all numbers from 2 on; otherwise each
            number has its own, which is faster.
        cuda_graphs: whether kernels are launched as CUDA graphs, as with mode="reduce-overhead".
    """

    def __init__(self, varying: bool = False, cuda_graphs: bool = False) -> None:
        self.varying = varying
        self.options: dict[str, Any] = {"fallback_random": True, "triton.cudagraphs": cuda_graphs}

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The compiled function. Tensors in positional arguments have items on axis 1, others have no such axis."""
        compiled = torch.compile(
            function, fullgraph=True, dynamic=None if self.varying else False, options=self.options
        )
        if not self.varying:
            return compiled

        def with_any_number_of_items(*arguments: Any, **others: Any) -> Any:
            for tensor in tree_leaves(arguments):
                if isinstance(tensor, Tensor):
                    torch._dynamo.mark_dynamic(tensor, 1)
            return compiled(*arguments, **others)

        return with_any_number_of_items


class CompiledLoss:
    """A loss of episodes that is compiled at its first call, or runs eagerly where that fails.

    The first call is with a fixed number of patterns, the most that an episode of the run holds: what is compiled then
    does not depend on the batch at which a run starts or resumes, and a resumed run equals an uninterrupted one. It
    leaves the state of the random number generators as it was.

    Args:
        name: what messages call it.
        eager: the loss.
        compiled: the same, compiled.
        memory: whose parameters it is differentiated in.
        items: most patterns of an episode.
        say: shows a line.
    """

    def __init__(
        self,
        name: str,
        eager: Loss,
        compiled: Loss,
        memory: AssociativeMemory,
        items: int,
        say: Callable[[str], Any],
    ) -> None:
        self.name, self.eager, self.compiled = name, eager, compiled
        self.memory, self.items, self.say = memory, items, say
        self.works: dict[bool, bool] = {}  # without and with the gradient term, which training may switch on later

    def __call__(self, *batch: Tensor | None) -> Tensor:
        """The loss, whose gradients may be taken once."""
        variant = isinstance(self.memory, EBMM) and self.memory.writing.gradient_term
        if variant not in self.works:
            self.works[variant] = self.compile(*batch)
        return (self.compiled if self.works[variant] else self.eager)(*batch)

    def compile(self, *batch: Tensor | None) -> bool:
        """Compiles loss and gradients, and says how long it took, or why it cannot be."""
        started = time.perf_counter()
        repeated = [None if x is None else x[:, torch.arange(self.items) % x.shape[1]] for x in batch]
        used = {x.device for x in repeated if x is not None and x.is_cuda}
        with torch.random.fork_rng(devices=list(used)):
            try:
                loss = self.compiled(*repeated)
                parameters = [parameter for parameter in self.memory.parameters() if parameter.requires_grad]
                torch.autograd.grad(loss, parameters, allow_unused=True)
            except Exception as error:  # the compiler's errors have no common class
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self.say(f"{self.name} cannot be compiled and runs eagerly: {reason[:200]}")
                return False
        self.say(f"compiled {self.name} in {time.perf_counter() - started:.1f} s")
        return True
