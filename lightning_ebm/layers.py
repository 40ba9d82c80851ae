"""Layers that energies and comparators share; every one may be differentiated three times.

The meta-gradient of EBMM is a third mixed derivative (EBMM paper, eq. 3 and 4), so nothing here has a kink (no ReLU)
and nothing uses a fused kernel whose higher derivatives are wrong.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RESIDUAL = 0.3
"""Gain of what a `ResBlock` adds to its skip path, at the start of training."""
SQUARE = 2
"""Pixels on a side of what is one position of `SquareConvolutions`."""


class LayerNorm(nn.Module):
    """Layer normalisation over all but the first axis, with a gain and an offset per channel.

    `nn.LayerNorm` has wrong third derivatives (https://github.com/pytorch/pytorch/issues/175754), because its
    saved statistics carry no graph; made from a mean and a reciprocal root, they are right.

    Args:
        channels: size of axis 1.
        gain: at the start of training.
    """

    def __init__(self, channels: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), gain))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels, *space); returns the same shape."""
        axes = tuple(range(1, x.ndim))
        centred = x - x.mean(axes, keepdim=True)
        normed = centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + 1e-5)
        per_channel = (-1,) + (1,) * (x.ndim - 2)
        return normed * self.weight.view(per_channel) + self.bias.view(per_channel)


class Patches(nn.Conv2d):
    """The skip path of a `ResBlock`: a linear map of the patches of 2x2 pixels, which do not overlap.

    It begins as an isometry, as far as it has the channels, and so does its transpose: reading pulls what an energy
    recalled back to the pixels through the transposed layers, where average pooling would leave a blur.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 2, 2)
        # in double precision: the last digits of the decomposition differ between processes
        start = nn.init.orthogonal_(torch.empty_like(self.weight, dtype=torch.float64))
        with torch.no_grad():
            self.weight.copy_(start)
            nn.init.zeros_(self.bias)  # type: ignore[arg-type]


class ResBlock(nn.Module):
    """Two 3x3 convolutions, the first with a stride of 2, and a skip path: halves height and width.

    The paper leaves the inside of its ResBlock open.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, 2, padding=1)
        self.norm1 = LayerNorm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.norm2 = LayerNorm(channels_out, RESIDUAL)
        self.shortcut = Patches(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels_in, height, width); returns (items, channels_out, height / 2, width / 2)."""
        y = torch.tanh(self.norm1(self.conv1(x)))
        y = torch.tanh(self.norm2(self.conv2(y)))
        return y + self.shortcut(x)


class UpBlock(nn.Module):
    """The transpose of a `ResBlock`: doubles height and width."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_in, 3, padding=1)
        self.norm1 = LayerNorm(channels_in)
        self.conv2 = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
        self.norm2 = LayerNorm(channels_out)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels_in, height, width); returns (items, channels_out, 2 height, 2 width)."""
        y = torch.tanh(self.norm1(self.conv1(x)))
        y = torch.tanh(self.norm2(self.conv2(y)))
        return y + F.interpolate(self.shortcut(x), scale_factor=2.0)


class SquareConvolutions(nn.Module):
    """3x3 convolutions from images to images over squares of 2x2 pixels, which makes them four times as cheap.

    What they return is close to zero at the start of training.

    Args:
        channels_in: channels of the images that come in; their sides are even.
        hidden: channels of the hidden convolutions.
        channels_out: channels of the images that go out.
        layers: convolutions, at least 2.
    """

    def __init__(self, channels_in: int, hidden: int, channels_out: int, layers: int) -> None:
        super().__init__()
        sizes = [SQUARE**2 * channels_in, *[hidden] * (layers - 1), SQUARE**2 * channels_out]
        convolutions = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes)]
        nn.init.normal_(convolutions[-1].weight, std=0.01)
        self.layers = nn.ModuleList(convolutions)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels_in, height, width); returns (items, channels_out, height, width)."""
        x = F.pixel_unshuffle(x, SQUARE)
        for layer in self.layers[:-1]:
            x = F.gelu(layer(x))
        return F.pixel_shuffle(self.layers[-1](x), SQUARE)


class SkipPerceptron(nn.Module):
    """A linear map plus a net with hidden layers; everything is learned from where the linear map starts.

    Each hidden layer but the first adds to the one before (K. He et al., Deep residual learning, CVPR 2016).

    Args:
        start: the linear map at the start of training, (size_out, size_in).
        hidden: units of a hidden layer; 0 for no such layer.
        spread: standard deviation of the last hidden layer's outgoing weights at the start: small, but at zero its
            incoming ones would get no gradient.
        activation: of the hidden layers.
        layers: hidden layers, at least 1.
    """

    def __init__(
        self, start: Tensor, hidden: int, spread: float, activation: Callable[[Tensor], Tensor], layers: int = 1
    ) -> None:
        super().__init__()
        size_out, size_in = start.shape
        self.activation = activation
        self.straight = nn.Linear(size_in, size_out)
        self.inner = nn.Linear(size_in, hidden) if hidden else None
        self.further = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers - 1) if hidden)
        self.outer = nn.Linear(hidden, size_out, bias=False) if hidden else None  # `straight` has one
        with torch.no_grad():
            self.straight.weight.copy_(start)
            self.straight.bias.zero_()
            if self.outer is not None:
                nn.init.normal_(self.outer.weight, std=spread)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, size_in); returns (items, size_out)."""
        straight: Tensor = self.straight(x)
        if self.inner is None or self.outer is None:
            return straight
        units = self.activation(self.inner(x))
        for layer in self.further:
            units = units + self.activation(layer(units))
        return straight + self.outer(units)


class ImageEncoder(nn.Module):
    """Image to code vector: strided ResBlocks, a linear layer, layer normalisation (paper, appendix B).

    Args:
        shape: (channels, height, width) of an image; a ValueError unless both sides are divisible by 2 ** len(widths).
        widths: output channels of the ResBlocks; each halves height and width.
        code: size of the code.
        key: where the configuration has the widths, for the error message.
    """

    def __init__(
        self, shape: Sequence[int], widths: Sequence[int] = (32, 64, 96), code: int = 256, key: str = "channels"
    ) -> None:
        super().__init__()
        height, width = image_grid(shape, len(widths), key)
        self.blocks = nn.Sequential(*(ResBlock(a, b) for a, b in pairwise([shape[0], *widths])))
        self.project = nn.Linear(widths[-1] * height * width, code)
        self.norm = LayerNorm(code)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels, height, width) in [0, 1]; returns (items, code)."""
        return self.norm(self.project(self.blocks(x).flatten(1)))


class ImageDecoder(nn.Module):
    """The transpose of `ImageEncoder`, with the same arguments but the key: code vector to the logits of an image."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int] = (32, 64, 96), code: int = 256) -> None:
        super().__init__()
        self.grid = (widths[-1], *image_grid(shape, len(widths)))
        self.project = nn.Linear(code, torch.Size(self.grid).numel())
        sizes = [*reversed(widths), widths[0]]
        self.blocks = nn.Sequential(*(UpBlock(a, b) for a, b in pairwise(sizes)))
        self.logits = nn.Conv2d(widths[0], shape[0], 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        """code: (items, code); returns logits (items, channels, height, width)."""
        return self.logits(self.blocks(self.project(code).unflatten(1, self.grid)))


def gated_hops(
    seen: Tensor, hops: int, candidate: Callable[[Tensor], Tensor], gate: Callable[[Tensor], Tensor]
) -> Tensor:
    """A gated recurrence that sees the same at each hop: state ← u · c + (1 − u) · state from zero, z = [seen, state].

    Args:
        seen: (items, width, ...), the shape of the state that is returned.
        hops: steps, at least 1.
        candidate: makes c from z, whose axis 1 has twice the width.
        gate: makes the logits of u from it.
    """
    state = torch.zeros_like(seen)
    for _ in range(hops):
        z = torch.cat([seen, state], 1)
        update = torch.sigmoid(gate(z))
        state = update * candidate(z) + (1 - update) * state
    return state


def image_grid(shape: Sequence[int], halvings: int, key: str = "channels") -> tuple[int, int]:
    """Height and width of an image (channels, height, width) after a number of halvings; see `check_sides`."""
    factor = 2**halvings
    check_sides(shape, factor, key)
    return shape[1] // factor, shape[2] // factor


def check_sides(shape: Sequence[int], factor: int, key: str) -> None:
    """A ValueError unless patterns are images (channels, height, width) whose sides divide; it names the key."""
    if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
        raise ValueError(f"{key} needs images with sides divisible by {factor}, got {tuple(shape)}")


def he_init(module: nn.Module) -> None:
    """He initialisation of all linear and convolutional layers (paper, section 4); biases start at zero.

    `Patches` keep their own start.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and not isinstance(layer, Patches):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def cosines(shape: Sequence[int], count: int) -> Tensor:
    """The `count` cosine waves of lowest spatial frequency, orthonormal: (channels · height · width, count)."""
    channels, height, width = shape
    # cycles over the image's width, squared: exact, as ranks of equal frequencies must not depend on rounding
    frequency = (width * torch.arange(height)[:, None]).square() + (height * torch.arange(width)).square()
    order = frequency.expand(channels, height, width).flatten().argsort(stable=True)[:count]
    channel, row, column = order // (height * width), order // width % height, order % width
    waves = cosine_matrix(height)[row][:, :, None] * cosine_matrix(width)[column][:, None]
    of_channels = torch.zeros(len(order), channels, height, width)
    of_channels[torch.arange(len(order)), channel] = waves
    return of_channels.flatten(1).T


def cosine_matrix(size: int) -> Tensor:
    """The orthonormal discrete cosine transform (type II), (size, size), one wave a row."""
    steps = torch.arange(size)
    waves = torch.cos(math.pi / size * (steps + 0.5) * steps[:, None])
    return waves / waves.norm(dim=1, keepdim=True)
