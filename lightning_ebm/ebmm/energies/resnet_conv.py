"""The paper's energy for images with convolutional memory layers (appendix B.3 and B.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from lightning_ebm.layers import LayerNorm, ResBlock, Shortcut, he_init, image_grid
from lightning_ebm.memory import PatternSpec, image_shape


@dataclass
class ResNetConvConfig:
    """Settings of `ResNetConv`; the defaults are the paper's for 32x32 images.

    Its large form for 64x64 images: channels [64, 128], inner 128, width 256, strides [2, 2].

    Attributes:
        memory: d, written channels of each bottleneck, below `width`; the state has
            len(strides) · (9 · inner + 1) · d floats.
        channels: widths of the ResBlocks; each halves the image.
        inner: channels between the convolutions of a bottleneck.
        width: channels of the bottlenecks' output and of the recurrent state.
        strides: stride of each bottleneck, 1 or 2.
        hops: recurrent steps.
        head: width of the layer before the energy.
    """

    memory: int = 8
    channels: list[int] = field(default_factory=lambda: [32, 64])
    inner: int = 64
    width: int = 128
    strides: list[int] = field(default_factory=lambda: [1, 2])
    hops: int = 3
    head: int = 1024


class Bottleneck(nn.Module):
    """A residual block, part of whose convolution is written.

    y = tanh(LN(reduce(x))), then tanh(LN([memory(y), static(y)])) beside the skip path.

    Args:
        channels: channels of the input.
        inner: channels between the convolutions.
        width: channels of the output.
        memory: how many of them the written convolution makes.
        stride: 1 or 2.
    """

    def __init__(self, channels: int, inner: int, width: int, memory: int, stride: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.norm1 = LayerNorm(inner)
        self.memory = nn.Conv2d(inner, memory, 3, stride, padding=1)
        self.static = nn.Conv2d(inner, width - memory, 3, stride, padding=1)
        self.norm2 = LayerNorm(width)
        self.shortcut = Shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels, height, width); height and width are divided by the stride."""
        y = torch.tanh(self.norm1(self.reduce(x)))
        y = torch.tanh(self.norm2(torch.cat([self.memory(y), self.static(y)], 1)))
        return y + self.shortcut(x)


class ResNetConv(nn.Module):
    """Energy of an image: ResBlocks, bottlenecks with written channels, convolutional gated hops.

    With r the bottlenecks' output, each hop computes on z = [r, state]

        c = tanh(LN(candidate(z))),   u = σ(LN(gate(z))),   state ← u · c + (1 − u) · state,

    and E = w · tanh(head(state)). Only the `memory` convolutions are written: 1154 d floats in the paper's
    form for 32x32 images, 2306 d in the large one.

    Args:
        shape: (channels, height, width) of an image.
        memory: d, written channels of each bottleneck.
        channels: widths of the ResBlocks.
        inner: channels between the convolutions of a bottleneck.
        width: channels of the bottlenecks' output and of the recurrent state.
        strides: stride of each bottleneck.
        hops: recurrent steps.
        head: width of the layer before the energy.

    Raises:
        ValueError: if a size is out of range or the image cannot be halved that often.
    """

    config = ResNetConvConfig

    def __init__(
        self,
        shape: Sequence[int],
        memory: int = 8,
        channels: Sequence[int] = (32, 64),
        inner: int = 64,
        width: int = 128,
        strides: Sequence[int] = (1, 2),
        hops: int = 3,
        head: int = 1024,
    ) -> None:
        super().__init__()
        if not 1 <= memory < width:
            raise ValueError(f"energy.memory must lie between 1 and width - 1 = {width - 1}, got {memory}")
        if not strides or any(stride not in (1, 2) for stride in strides):
            raise ValueError(f"energy.strides must be a list of 1s and 2s, got {list(strides)}")
        if hops < 1:
            raise ValueError(f"energy.hops must be at least 1, got {hops}")
        self.hops = hops
        grid = image_grid(shape[1], shape[2], len(channels) + list(strides).count(2))
        sizes = [shape[0], *channels]
        self.blocks = nn.Sequential(*(ResBlock(a, b, 2) for a, b in pairwise(sizes)))
        inputs = [channels[-1]] + [width] * (len(strides) - 1)
        self.bottlenecks = nn.Sequential(
            *(Bottleneck(a, inner, width, memory, stride) for a, stride in zip(inputs, strides, strict=True))
        )
        self.memory_layers = tuple(f"bottlenecks.{i}.memory" for i in range(len(strides)))
        self.candidate = nn.Conv2d(2 * width, width, 3, padding=1)
        self.candidate_norm = LayerNorm(width)
        self.gate = nn.Conv2d(2 * width, width, 1)
        self.gate_norm = LayerNorm(width)
        self.head = nn.Linear(width * grid[0] * grid[1], head)
        self.output = nn.Linear(head, 1, bias=False)  # a bias would never get a gradient
        he_init(self)

    @classmethod
    def from_config(cls, config: ResNetConvConfig, spec: PatternSpec) -> Self:
        """Builds the energy for images of `spec`."""
        return cls(
            image_shape(spec),
            config.memory,
            config.channels,
            config.inner,
            config.width,
            config.strides,
            config.hops,
            config.head,
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels, height, width) in [0, 1]; returns energies (items,)."""
        return self.above(self.below(x))

    def below(self, x: Tensor) -> Tensor:
        """What writing leaves unchanged: the ResBlocks' output."""
        return self.blocks(2 * x - 1)

    def above(self, features: Tensor) -> Tensor:
        """Energies (items,) from what `below` returned."""
        features = self.bottlenecks(features)
        state = torch.zeros_like(features)
        for _ in range(self.hops):
            z = torch.cat([features, state], 1)
            candidate = torch.tanh(self.candidate_norm(self.candidate(z)))
            update = torch.sigmoid(self.gate_norm(self.gate(z)))
            state = update * candidate + (1 - update) * state
        return self.output(torch.tanh(self.head(state.flatten(1)))).squeeze(1)
