"""The paper's energy for small images with a fully connected memory layer (appendix B.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

from lightning_ebm.layers import ImageEncoder, LayerNorm, he_init
from lightning_ebm.memory import PatternSpec, image_shape


@dataclass
class ResNetFCConfig:
    """Settings of `ResNetFC`; the defaults are the paper's.

    Attributes:
        memory: d, outputs of the written layer, below `hidden`; the state has (code + 1) · d floats.
        channels: widths of the encoder's ResBlocks; each halves the image.
        code: size of the encoder's output.
        hidden: width of the recurrent state.
        hops: recurrent steps.
        head: width of the layer before the energy.
    """

    memory: int = 32
    channels: list[int] = field(default_factory=lambda: [32, 64, 96])
    code: int = 256
    hidden: int = 512
    hops: int = 3
    head: int = 1024


class ResNetFC(nn.Module):
    """Energy of an image: convolutional encoder, a written linear layer, gated hops.

    With e = encoder(x) and r = tanh([memory(e), static(e)]), each hop computes on z = [r, state]

        c = LayerNorm(tanh(candidate(z))),   u = σ(gate(z)),   state ← u · c + (1 − u) · state,

    and E = w · tanh(head(state)). Only `memory` is written: (code + 1) · d floats, 257 d in the paper.

    Args:
        shape: (channels, height, width) of an image.
        memory: d, outputs of the written layer.
        channels: widths of the encoder's ResBlocks.
        code: size of the encoder's output.
        hidden: width of the recurrent state.
        hops: recurrent steps.
        head: width of the layer before the energy.

    Raises:
        ValueError: if a size is out of range or the image cannot be halved for each ResBlock.
    """

    config = ResNetFCConfig
    memory_layers = ("memory",)

    def __init__(
        self,
        shape: Sequence[int],
        memory: int = 32,
        channels: Sequence[int] = (32, 64, 96),
        code: int = 256,
        hidden: int = 512,
        hops: int = 3,
        head: int = 1024,
    ) -> None:
        super().__init__()
        if not 1 <= memory < hidden:
            raise ValueError(f"energy.memory must lie between 1 and hidden - 1 = {hidden - 1}, got {memory}")
        if hops < 1:
            raise ValueError(f"energy.hops must be at least 1, got {hops}")
        self.hidden, self.hops = hidden, hops
        self.encoder = ImageEncoder(shape, channels, code)
        self.memory = nn.Linear(code, memory)
        self.static = nn.Linear(code, hidden - memory)
        self.candidate = nn.Linear(2 * hidden, hidden)
        self.norm = LayerNorm(hidden)
        self.gate = nn.Linear(2 * hidden, hidden)
        self.head = nn.Linear(hidden, head)
        self.output = nn.Linear(head, 1, bias=False)  # a bias would never get a gradient
        he_init(self)

    @classmethod
    def from_config(cls, config: ResNetFCConfig, spec: PatternSpec) -> Self:
        """Builds the energy for images of `spec`."""
        return cls(
            image_shape(spec), config.memory, config.channels, config.code, config.hidden, config.hops, config.head
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels, height, width) in [0, 1]; returns energies (items,)."""
        return self.above(self.below(x))

    def below(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What writing leaves unchanged: the code and what the static layer makes of it."""
        code = self.encoder(2 * x - 1)
        return code, self.static(code)

    def above(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """Energies (items,) from what `below` returned."""
        code, static = features
        recalled = torch.tanh(torch.cat([self.memory(code), static], 1))
        state = torch.zeros_like(recalled)
        for _ in range(self.hops):
            z = torch.cat([recalled, state], 1)
            candidate = self.norm(torch.tanh(self.candidate(z)))
            update = torch.sigmoid(self.gate(z))
            state = update * candidate + (1 - update) * state
        return self.output(torch.tanh(self.head(state))).squeeze(1)
