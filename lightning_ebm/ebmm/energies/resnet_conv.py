"""The paper's energy for images with convolutional memory layers (appendix B.3 and B.4)."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_ebm.ebmm.energies.restored import RestoredEnergy
from lightning_ebm.layers import LayerNorm, ResBlock, gated_hops, he_init, image_grid
from lightning_ebm.memory import PatternSpec
from lightning_ebm.restoration import RestorationConfig
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class ResNetConvConfig(RestorationConfig):
    """Settings of `ResNetConv`; the defaults are the paper's for 32x32 images.

    Its large form for 64x64 images: channels [64, 128], inner 128, width 256, strides [2, 2].
    """

    written_units: int = setting(8, at_least=1, below="width")
    """d, written channels of each bottleneck; the state has len(strides) · (9 · inner + 1) · d floats."""
    channels: list[int] = setting([32, 64], at_least=1, min_length=1)
    """Widths of the ResBlocks; each halves the image."""
    inner: int = setting(64, at_least=1)
    """Channels between the convolutions of a bottleneck."""
    width: int = 128
    """Channels of the bottlenecks' output and of the recurrent state."""
    strides: list[int] = setting([1, 2], one_of=(1, 2), min_length=1)
    """Stride of each bottleneck."""
    hops: int = setting(3, at_least=1)
    """Recurrent steps."""
    head: int = setting(1024, at_least=1)
    """Width of the layer before the energy."""


class Bottleneck(nn.Module):
    """A residual block, part of whose convolution is written.

    y = tanh(LN(reduce(x))), then tanh(LN([memory(y), static(y)])) and a skip path.

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
        # the paper's skip path: 3x3 average pooling where it is strided, then a 1x1 convolution
        pool = nn.AvgPool2d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.shortcut = nn.Sequential(OrderedDict(pool=pool, conv=nn.Conv2d(channels, width, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels, height, width); height and width are divided by the stride."""
        y = torch.tanh(self.norm1(self.reduce(x)))
        y = torch.tanh(self.norm2(torch.cat([self.memory(y), self.static(y)], 1)))
        return y + self.shortcut(x)


class ResNetConv(RestoredEnergy):
    """Energy of an image: ResBlocks, bottlenecks with written channels, convolutional gated hops.

    With r the bottlenecks' output, each hop computes on z = [r, state]

        c = tanh(LN(candidate(z))),   u = σ(LN(gate(z))),   state ← u · c + (1 − u) · state,

    and E = w · tanh(head(state)). Only the `memory` convolutions are written: 1154 d floats in the paper's
    form for 32x32 images, 2306 d in the large one.
    """

    config = ResNetConvConfig

    def __init__(self, spec: PatternSpec, config: ResNetConvConfig = ResNetConvConfig()) -> None:
        super().__init__()
        self.hops, width, strides = config.hops, config.width, config.strides
        grid = image_grid(spec.shape, len(config.channels) + strides.count(2), "energy.channels")
        self.blocks = nn.Sequential(*(ResBlock(a, b) for a, b in pairwise([spec.shape[0], *config.channels])))
        inputs = [config.channels[-1]] + [width] * (len(strides) - 1)
        self.bottlenecks = nn.Sequential(
            *(Bottleneck(a, config.inner, width, config.written_units, b) for a, b in zip(inputs, strides, strict=True))
        )
        self.memory_layers = tuple(f"bottlenecks.{i}.memory" for i in range(len(strides)))
        self.candidate = nn.Conv2d(2 * width, width, 3, padding=1)
        self.candidate_norm = LayerNorm(width)
        self.gate = nn.Conv2d(2 * width, width, 1)
        self.gate_norm = LayerNorm(width)
        self.head = nn.Linear(width * grid[0] * grid[1], config.head)
        self.output = nn.Linear(config.head, 1, bias=False)  # a bias would never get a gradient
        he_init(self)
        self.restore(spec, config)

    def features(self, x: Tensor) -> Tensor:
        """What writing leaves unchanged: the ResBlocks' output."""
        return self.blocks(2 * x - 1)

    def writing_energy(self, features: Tensor) -> Tensor:
        """Energies (items,) from what `features` returned."""
        state = gated_hops(
            self.bottlenecks(features),
            self.hops,
            lambda z: torch.tanh(self.candidate_norm(self.candidate(z))),
            lambda z: self.gate_norm(self.gate(z)),
        )
        return self.output(torch.tanh(self.head(state.flatten(1)))).squeeze(1)
