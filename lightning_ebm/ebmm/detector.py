"""An estimate of which values of a query are distorted, for reading when the mask is not told."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.layers import check_sides

CELL = 4
"""Pixels on a side of the square that one window decides about."""
WINDOW = 16
"""Pixels on a side of a window, whose centre is the cell."""
OUTLINES = 256
"""Hidden units that see the windows' estimates of a whole image."""


class Detector(nn.Module):
    """How likely each value of an image is distorted: two tanh layers on overlapping windows, then one on the whole.

    What a window cannot tell, such as where on blank paper a block of random bits ends, its other sides do: the net on
    the whole image learns what outlines distortions have.

    Args:
        shape: shape of an image, (channels, height, width), sides divisible by 4.
        channels: hidden units of a window.

    Raises:
        ValueError: if patterns are no images, or their sides are not divisible by 4.
    """

    def __init__(self, shape: Sequence[int], channels: int) -> None:
        super().__init__()
        check_sides(shape, CELL, "energy.detector")
        self.shape = tuple(shape)
        self.windows = nn.Linear(shape[0] * WINDOW**2, channels)
        self.mixed = nn.Linear(channels, channels)
        self.cells = nn.Linear(channels, CELL**2)
        pixels = shape[1] * shape[2]
        self.inner = nn.Linear(pixels, OUTLINES)
        self.outer = nn.Linear(OUTLINES, pixels)
        nn.init.normal_(self.outer.weight, std=0.01)

    def forward(self, queries: Tensor) -> Tensor:
        """Queries (items, *shape) in [0, 1]; returns likelihoods of the same shape, equal over channels."""
        return self.logits(queries).sigmoid().expand_as(queries)

    def logits(self, queries: Tensor) -> Tensor:
        """The likelihoods' logits (items, 1, height, width)."""
        windows = F.unfold(2 * queries - 1, WINDOW, padding=(WINDOW - CELL) // 2, stride=CELL).transpose(1, 2)
        cells = self.cells(torch.tanh(self.mixed(torch.tanh(self.windows(windows)))))
        local = F.fold(cells.transpose(1, 2), self.shape[1:], CELL, stride=CELL)
        whole = self.outer(F.gelu(self.inner(local.flatten(1))))
        return local + whole.view_as(local)

    def loss(self, queries: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy (items,), in nats, with which pixels were distorted, even if they came out right."""
        target = mask.any(1, keepdim=True).to(queries)
        return F.binary_cross_entropy_with_logits(self.logits(queries), target, reduction="none").flatten(1).sum(1)
