"""What stands in the distorted part of an image, from its surroundings and from what a memory holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.layers import check_sides

BLOCK = 2
"""Pixels on a side of the square that is one position of the convolutions, which makes them four times as cheap."""
LAYERS = 5


class Completion(nn.Module):
    """Convolutions that mend a recalled image where a query is distorted, so that strokes go on across the border.

    A code of few values cannot hold an image to the pixel, but where a query is right, it tells by how much the
    recalled image is wrong, and what its neighbourhood looks like.

    Args:
        shape: shape of an image, (channels, height, width), sides divisible by 2.
        channels: of the hidden convolutions, 3x3 over squares of 2x2 pixels.

    Raises:
        ValueError: if patterns are no images, or their sides are not divisible by 2.
    """

    def __init__(self, shape: Sequence[int], channels: int) -> None:
        super().__init__()
        check_sides(shape, BLOCK, "energy.completion")
        area = BLOCK**2
        sizes = [3 * shape[0] * area, *[channels] * (LAYERS - 1), shape[0] * area]
        layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes)]
        nn.init.normal_(layers[-1].weight, std=0.01)  # at first, next to nothing is changed
        self.layers = nn.ModuleList(layers)

    def forward(self, logits: Tensor, queries: Tensor, missing: Tensor) -> Tensor:
        """The logits of the completed images.

        Args:
            logits: of what was recalled, (items, channels, height, width).
            queries: the same shape, in [0, 1].
            missing: the same shape, in [0, 1], how little each value of a query is to be trusted.
        """
        x = torch.cat([logits.tanh(), (2 * queries - 1) * (1 - missing), missing], 1)
        x = F.pixel_unshuffle(x, BLOCK)
        for layer in self.layers[:-1]:
            x = F.gelu(layer(x))
        return logits + F.pixel_shuffle(self.layers[-1](x), BLOCK)
