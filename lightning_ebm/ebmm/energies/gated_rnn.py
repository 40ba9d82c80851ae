"""The paper's energy for binary vectors: a gated recurrent net (appendix B.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.layers import he_init
from lightning_ebm.memory import PatternSpec


@dataclass
class GatedRNNConfig:
    """Settings of `GatedRNN`; the defaults are the paper's.

    Attributes:
        hidden: width of the recurrent state.
        memory: outputs of the written layer, at most `hidden`.
        hops: recurrent steps.
    """

    hidden: int = 1024
    memory: int = 64
    hops: int = 5


class GatedRNN(nn.Module):
    """Energy of a vector, from a gated recurrence that sees it anew at each hop.

    From state₀ = 0, each hop computes with z = [x, state]

        c = tanh([memory(x), static(z)]),   u = σ(gate(z)),   state ← u · c + (1 − u) · state,

    and E = w · state. Only `memory` is written: (dim + 1) · memory floats, 8256 with the defaults. The paper
    leaves the scale of the inputs open; here they are mapped to ±1.

    Args:
        dim: values in a pattern.
        hidden: width of the recurrent state.
        memory: outputs of the written layer.
        hops: recurrent steps.

    Raises:
        ValueError: if `memory` is not between 1 and `hidden`, or `hops` is below 1.
    """

    config = GatedRNNConfig
    memory_layers = ("memory",)

    def __init__(self, dim: int, hidden: int = 1024, memory: int = 64, hops: int = 5) -> None:
        super().__init__()
        if not 1 <= memory < hidden:
            raise ValueError(f"energy.memory must lie between 1 and hidden - 1 = {hidden - 1}, got {memory}")
        if hops < 1:
            raise ValueError(f"energy.hops must be at least 1, got {hops}")
        self.hops = hops
        self.memory = nn.Linear(dim, memory)
        self.static = nn.Linear(dim + hidden, hidden - memory)
        self.gate = nn.Linear(dim + hidden, hidden)
        self.output = nn.Linear(hidden, 1, bias=False)  # a bias would never get a gradient
        he_init(self)

    @classmethod
    def from_config(cls, config: GatedRNNConfig, spec: PatternSpec) -> Self:
        """Builds the energy for patterns of `spec`, flattened."""
        return cls(spec.size, config.hidden, config.memory, config.hops)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, *shape) in [0, 1] with `dim` values; returns energies (items,)."""
        return self.above(self.below(x))

    def below(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What writing leaves unchanged: x in ±1 (items, dim), and the share of x in each hop's static and gate."""
        x = 2 * x.flatten(1) - 1
        static, gate = (
            F.linear(x, layer.weight[:, : x.shape[1]], layer.bias)  # the same at all hops, so computed once
            for layer in (self.static, self.gate)
        )
        return x, static, gate

    def above(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Energies (items,) from what `below` returned."""
        x, static, gate = features
        recalled = self.memory(x)
        from_static, from_gate = (layer.weight[:, x.shape[1] :] for layer in (self.static, self.gate))
        state = torch.sigmoid(gate) * torch.tanh(torch.cat([recalled, static], 1))  # the first hop, from zero
        for _ in range(self.hops - 1):
            candidate = torch.tanh(torch.cat([recalled, static + F.linear(state, from_static)], 1))
            update = torch.sigmoid(gate + F.linear(state, from_gate))
            state = state + update * (candidate - state)
        return self.output(state).squeeze(1)
