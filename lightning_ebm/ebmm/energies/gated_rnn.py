"""The paper's energy for binary vectors: a gated recurrent net (appendix B.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.ebmm.energies.base import Energy
from lightning_ebm.layers import he_init
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class GatedRNNConfig(Settings):
    """Settings of `GatedRNN`; the defaults are the paper's."""

    hidden: int = 1024
    """Width of the recurrent state."""
    written_units: int = setting(64, at_least=1, below="hidden")
    """Outputs of the written layer, below `hidden`; the state has (values + 1) · written_units floats."""
    hops: int = setting(5, at_least=1)
    """Recurrent steps."""


class GatedRNN(Energy):
    """Energy of a vector, from a gated recurrence that sees it at each hop.

    From state₀ = 0, each hop computes with z = [x, state]

        c = tanh([memory(x), static(z)]),   u = σ(gate(z)),   state ← u · c + (1 − u) · state,

    and E = w · state. Only `memory` is written: 8256 floats for 128 bits with the defaults. The paper leaves the
    scale of the inputs open; here they are mapped to ±1. Where the mask is given, corrupted values start from 0.5,
    which the net sees as 0: random bits would be noise in the keys of a query.
    """

    config = GatedRNNConfig
    memory_layers = ("memory",)
    blank: Tensor

    def __init__(self, spec: PatternSpec, config: GatedRNNConfig = GatedRNNConfig()) -> None:
        super().__init__()
        self.hops = config.hops
        self.memory = nn.Linear(spec.size, config.written_units)
        self.static = nn.Linear(spec.size + config.hidden, config.hidden - config.written_units)
        self.gate = nn.Linear(spec.size + config.hidden, config.hidden)
        self.output = nn.Linear(config.hidden, 1, bias=False)  # a bias would never get a gradient
        self.register_buffer("blank", torch.full(spec.shape, 0.5), persistent=False)
        he_init(self)

    @property
    def mean_pattern(self) -> Tensor:
        """0.5 at every value, (*shape)."""
        return self.blank

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What writing leaves unchanged: x in ±1 (items, dim), and the share of x in each hop's static and gate."""
        x = 2 * x.flatten(1) - 1
        static, gate = (
            F.linear(x, layer.weight[:, : x.shape[1]], layer.bias)  # the same at all hops, so computed once
            for layer in (self.static, self.gate)
        )
        return x, static, gate

    def writing_energy(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Energies (items,) from what `features` returned."""
        x, static, gate = features
        recalled = self.memory(x)
        from_static, from_gate = (layer.weight[:, x.shape[1] :] for layer in (self.static, self.gate))
        state = torch.sigmoid(gate) * torch.tanh(torch.cat([recalled, static], 1))  # the first hop, from zero
        for _ in range(self.hops - 1):
            candidate = torch.tanh(torch.cat([recalled, static + F.linear(state, from_static)], 1))
            update = torch.sigmoid(gate + F.linear(state, from_gate))
            state = state + update * (candidate - state)
        return self.output(state).squeeze(1)
