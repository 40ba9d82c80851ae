"""The paper's energy for small images with a fully connected memory layer (appendix B.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_ebm.ebmm.energies.restored import RestoredEnergy
from lightning_ebm.layers import ImageEncoder, LayerNorm, gated_hops, he_init
from lightning_ebm.memory import PatternSpec
from lightning_ebm.restoration import RestorationConfig
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class ResNetFCConfig(RestorationConfig):
    """Settings of `ResNetFC`; the defaults are the paper's."""

    written_units: int = setting(32, at_least=1, below="hidden")
    """d, outputs of the written layer, below `hidden`; the state has (code_dim + 1) · d floats."""
    channels: list[int] = setting([32, 64, 96], at_least=1, min_length=1)
    """Widths of the encoder's ResBlocks; each halves the image."""
    code_dim: int = setting(256, at_least=1)
    """Size of the encoder's output."""
    hidden: int = 512
    """Width of the recurrent state."""
    hops: int = setting(3, at_least=1)
    """Recurrent steps."""
    head: int = setting(1024, at_least=1)
    """Width of the layer before the energy."""


class ResNetFC(RestoredEnergy):
    """Energy of an image: convolutional encoder, a written linear layer, gated hops.

    With e = encoder(x) and r = tanh([memory(e), static(e)]), each hop computes on z = [r, state]

        c = LayerNorm(tanh(candidate(z))),   u = σ(gate(z)),   state ← u · c + (1 − u) · state,

    and E = w · tanh(head(state)). Only `memory` is written: (code_dim + 1) · d floats, 257 d in the paper.
    """

    config = ResNetFCConfig
    memory_layers = ("memory",)

    def __init__(self, spec: PatternSpec, config: ResNetFCConfig = ResNetFCConfig()) -> None:
        super().__init__()
        self.hops, hidden = config.hops, config.hidden
        self.encoder = ImageEncoder(spec.shape, config.channels, config.code_dim, "energy.channels")
        self.memory = nn.Linear(config.code_dim, config.written_units)
        self.static = nn.Linear(config.code_dim, hidden - config.written_units)
        self.candidate = nn.Linear(2 * hidden, hidden)
        self.norm = LayerNorm(hidden)
        self.gate = nn.Linear(2 * hidden, hidden)
        self.head = nn.Linear(hidden, config.head)
        self.output = nn.Linear(config.head, 1, bias=False)  # a bias would never get a gradient
        he_init(self)
        self.restore(spec, config)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What writing leaves unchanged: the code and what the static layer makes of it."""
        code = self.encoder(2 * x - 1)
        return code, self.static(code)

    def writing_energy(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """Energies (items,) from what `features` returned."""
        code, static = features
        recalled = torch.tanh(torch.cat([self.memory(code), static], 1))
        state = gated_hops(recalled, self.hops, lambda z: self.norm(torch.tanh(self.candidate(z))), self.gate)
        return self.output(torch.tanh(self.head(state))).squeeze(1)
