"""Training through `torch.compile`: what is compiled, when, and what happens where that fails."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytorch_lightning as pl
import rich
import torch
from torch import Tensor

from lightning_ebm.data.cache import folder
from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.ebmm.stepwise import Compile, Stepwise
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.schema import RunConfig
from lightning_ebm.training.gradient_accumulation import Loss

REPAID = 2000
"""Updates from which `auto` compiles on a CPU: compiling takes one or two minutes, and a compiled update saves a third
of 0.1 to 1 s. A number of updates, not a measured time, so that each start of a run decides alike."""
UNROLLED = 16
"""Patterns up to which a memory that writes them one after the other is compiled: its loop becomes one long graph."""
ROUNDING = 0.01
"""How far a compiled gradient may be from the eager one, relative to its largest entry. Rounding in single precision
made 0.001 of difference after 15 write steps; a wrong compiler made 0.04."""
NOISE = 1e-5
"""The same relative to the largest entry of all gradients: one that is zero but for rounding is no evidence."""

Form = tuple[int, int, bool]
"""What a loss is compiled for: episodes, patterns of each, and whether the writing loss has its gradient term."""


class Compilation(pl.Callback):
    """Has the losses of a `MetaTraining` compiled in the first update that needs them.

    The meta-loss and the objective of pretraining are compiled, with all of their derivatives; validation runs eagerly.
    Compiled code is kept in the cache folder, so that the next start of any run with the same memory loads it.
    Resuming is exact: checkpoints hold which losses were found equal to eager ones; see `CompiledLoss`.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.judged: dict[str, dict[Form, bool]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Which compiled losses are right; part of a checkpoint."""
        return {"judged": self.judged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` returned."""
        self.judged = state_dict["judged"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts compiled losses in the place of the eager ones."""
        torch.compiler.reset()  # what earlier runs of this process compiled counts against a limit
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder() / "compiled"))
        module: Any = pl_module
        memory: AssociativeMemory = module.memory
        items, span = self.config.episodes.patterns_per_episode, self.config.episodes.train_patterns_per_episode
        to_graph = compiler(cuda_graphs=module.device.type == "cuda")
        say = self.say if trainer.is_global_zero else str
        for name, eager in module.losses.items():
            compiled: Loss = to_graph(eager)
            size: Callable[[int], int] = int
            if name == "meta_loss" and isinstance(memory, EBMM):
                steps = Stepwise(memory, to_graph, span[1] if span else 0)
                compiled, size = partial(steps.meta_loss, keep=module.keep), steps.size
            elif span:
                say(f"{name} runs eagerly: it is compiled for a fixed number of patterns, not for {span}")
                continue
            elif name == "meta_loss" and not memory.order_invariant and items > UNROLLED:
                say(f"{name} runs eagerly: only loops over up to {UNROLLED} patterns are compiled, and it has {items}")
                continue
            judged = self.judged.setdefault(name, {})
            module.losses[name] = CompiledLoss(name, eager, compiled, memory, size, say, judged)

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


def compiler(cuda_graphs: bool = False) -> Compile:
    """Compiles functions of tensors as one graph each, for each shape of their arguments.

    Random numbers are those that PyTorch draws without compiling. With `cuda_graphs`, kernels are launched as CUDA
    graphs, as with mode="reduce-overhead".
    """
    options = {"fallback_random": True, "triton.cudagraphs": cuda_graphs}
    return partial(torch.compile, fullgraph=True, dynamic=False, options=options)


@dataclass
class CompiledLoss:
    """A loss of episodes that is compiled for each shape at its first call, or runs eagerly where that fails.

    The first call also takes the eager gradients. Where the compiled ones differ from them by more than rounding, the
    compiler is wrong, as PyTorch's sometimes is without a word, and the loss runs eagerly.

    What is compiled for a shape does not depend on the update in which it first occurs, and compiling leaves the random
    number generators as they were: a resumed run equals an uninterrupted one.

    Attributes:
        memory: whose parameters it is differentiated in.
        size: the number of patterns for which an episode of so many is compiled.
        judged: for which shapes the compiled gradients are known to be right or wrong; new ones are added.
        works: shapes that this process has called -> whether they run compiled.
    """

    name: str
    eager: Loss
    compiled: Loss
    memory: AssociativeMemory
    size: Callable[[int], int]
    say: Callable[[str], Any]
    judged: dict[Form, bool]
    works: dict[Form, bool] = field(default_factory=dict)

    def __call__(self, patterns: Tensor, queries: Tensor, mask: Tensor | None) -> Tensor:
        """The loss, whose gradients may be taken once."""
        # training may switch the gradient term on later
        term = isinstance(self.memory, EBMM) and self.memory.writing.gradient_term
        form = len(patterns), self.size(patterns.shape[1]), term
        if form not in self.works:
            self.works[form] = self.compile(form, patterns, queries, mask)
        return (self.compiled if self.works[form] else self.eager)(patterns, queries, mask)

    def compile(self, form: Form, *episodes: Tensor | None) -> bool:
        """Compiles loss and gradients; says how long it took, or why they cannot be compiled or are wrong."""
        if self.judged.get(form, True):
            started = time.perf_counter()
            try:
                found = self.gradients(self.compiled, episodes)
            except Exception as error:  # the compiler's errors have no common class
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self.say(f"{self.name} cannot be compiled and runs eagerly: {reason[:200]}")
                return False
            seconds = time.perf_counter() - started
            if form not in self.judged:
                self.judged[form] = agree(found, self.gradients(self.eager, episodes))
            if self.judged[form]:
                self.say(f"compiled {self.name} for {form[1]} patterns in {seconds:.1f} s")
                return True
        self.say(f"{self.name} runs eagerly: PyTorch's compiler gets its gradients wrong")
        return False

    def gradients(self, loss: Loss, episodes: tuple[Tensor | None, ...]) -> list[Tensor]:
        """Those of a loss of episodes, in all parameters with values; no random number is used up."""
        parameters = [one for one in self.memory.parameters() if one.requires_grad and one.numel()]
        devices = [parameters[0].device] if parameters[0].is_cuda else []
        with torch.random.fork_rng(devices):
            gradients = torch.autograd.grad(loss(*episodes), parameters, allow_unused=True, materialize_grads=True)
        return [gradient.clone() for gradient in gradients]  # CUDA graphs use their memory again


def agree(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether gradients differ by no more than rounding; two that are not a number are equal."""
    sizes = [gradient.nan_to_num().abs().max().item() for gradient in expected]
    return all(
        torch.allclose(one, other, rtol=0, atol=ROUNDING * size + NOISE * max(sizes), equal_nan=True)
        for one, other, size in zip(found, expected, sizes, strict=True)
    )
