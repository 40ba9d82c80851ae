"""An EBMM whose single write step and read step are compiled, instead of all steps as one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.memory import AssociativeMemory, State

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


class Stepwise:
    """Writes and reads as an EBMM does, step by step through functions that are compiled once each.

    All T write steps are equal but for their rates, and so are all K read steps. A graph of one step with its own
    derivatives compiles in a T-th of the time of the whole, and the backward pass of the steps is chained by autograd.
    Everything that depends on an episode is an argument of the steps; all steps get tensors of the same strides, all of
    which need a gradient or none, so that no step is compiled twice.

    Args:
        memory: the memory, whose parameters are used.
        compile: maps a function to its compiled form. Tensors in positional arguments have items on axis 1; those in
            keyword arguments have no such axis.
    """

    def __init__(self, memory: EBMM, compile: Compile) -> None:
        self.memory = memory
        self.features = compile(vmap(memory.energy_net.features))
        self.write_step = compile(memory.write_steps)
        self.read_start = compile(memory.read_start)
        self.read_step = compile(memory.read_steps)

    def write(self, patterns: Tensor) -> State:
        """As `EBMM.write`."""
        state = {name: weight.contiguous() for name, weight in self.memory.initial_state(len(patterns)).items()}
        features = self.features(patterns)
        for rates in self.memory.writing.rates().split(1):
            state = self.write_step(patterns, features, state=state, rates=rates.clone())
        return state

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `EBMM.read`."""
        x, moves, soft_mask = self.read_start(queries, mask)
        x = x if x.requires_grad else x.clone().requires_grad_()
        velocity, iterates = torch.zeros_like(x, requires_grad=True), []
        for sizes in zip(*(rates.split(1) for rates in self.memory.reading.schedule()), strict=True):
            step_sizes, momenta = (size.clone() for size in sizes)
            (x,), velocity = self.read_step(
                x, velocity, moves, soft_mask, state=state, step_sizes=step_sizes, momenta=momenta
            )
            iterates.append(x)
        return torch.stack(iterates)

    meta_loss = AssociativeMemory.meta_loss
