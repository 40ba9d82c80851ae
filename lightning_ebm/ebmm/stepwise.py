"""An EBMM whose single write step and read step are compiled, instead of all steps as one graph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.memory import Keep, State, as_is, reading_error

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]

SIZES = 4
"""Numbers of patterns for which steps are compiled where the number varies."""


class Stepwise:
    """Writes and reads as an EBMM does, step by step through functions that are compiled once each.

    All T write steps are equal but for their rates, and so are all K read steps. A graph of one step with its own
    derivatives compiles in a T-th of the time of the whole, and autograd chains the steps' backward passes. All steps
    get tensors of the same strides that all need a gradient, so that no step is compiled twice.

    Where the number of patterns varies, episodes are filled up to one of `SIZES` numbers with patterns that do not
    count: an energy treats patterns separately, so what counts is written and read as without them.

    Args:
        memory: the memory, whose parameters are used.
        compiler: maps a function to its compiled form.
        most: the most patterns of an episode; 0: the number does not vary.
    """

    def __init__(self, memory: EBMM, compiler: Compile, most: int = 0) -> None:
        self.memory, self.most = memory, most
        self.features = compiler(vmap(memory.energy_net.features))
        self.write_step = compiler(memory.write_steps)
        self.read_start = compiler(memory.read_start)
        self.read_step = compiler(memory.read_steps)
        self.completed = compiler(memory.completed)

    def size(self, items: int) -> int:
        """The number to which so many patterns are filled up: a multiple of a `SIZES`-th of the most."""
        unit = -(-self.most // SIZES)
        return -(-items // unit) * unit if self.most else items

    def filled(self, x: Tensor | None) -> Tensor | None:
        """X (episodes, items, ...) with as many of its items repeated as are lacking."""
        if x is None or self.size(x.shape[1]) == x.shape[1]:
            return x
        return x[:, torch.arange(self.size(x.shape[1]), device=x.device) % x.shape[1]]

    def write(self, patterns: Tensor) -> State:
        """As `EBMM.write`."""
        all_patterns: Any = self.filled(patterns)
        counted = None
        if self.most:
            counted = (torch.arange(all_patterns.shape[1], device=patterns.device) < patterns.shape[1]).to(patterns)
        state = {name: weight.contiguous() for name, weight in self.memory.initial_state(len(patterns)).items()}
        features = self.features(all_patterns)
        for rates in self.memory.writing.rates().split(1):
            state = self.write_step(all_patterns, features, state, rates.clone(), counted)
        return state

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `EBMM.read`."""
        moves: Any = self.filled(mask)
        x, context = self.read_start(self.filled(queries), moves, state)
        x = x if x.requires_grad else x.clone().requires_grad_()
        velocity, iterates = torch.zeros_like(x, requires_grad=True), []
        for sizes in zip(*(rates.split(1) for rates in self.memory.reading.schedule()), strict=True):
            (x,), velocity = self.read_step(x, velocity, moves, context, state, *(size.clone() for size in sizes))
            iterates.append(x)
        return self.completed(torch.stack(iterates), moves, context)[:, :, : queries.shape[1]]

    def meta_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor | None = None, keep: Keep = as_is) -> Tensor:
        """As `AssociativeMemory.meta_loss`."""
        return reading_error(self.read(keep(self.write(patterns)), queries, mask), patterns)
