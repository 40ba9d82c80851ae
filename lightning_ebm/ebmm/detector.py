"""An estimate of which values of a query are distorted, for reading when the mask is not told."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CELL = 4
"""Pixels on a side of the square that one window decides about."""
WINDOW = 12
"""Pixels on a side of a window, whose centre is the cell."""
BLUR = 5
"""Pixels on a side of the square over which the share of changed values is taken as the target."""


class Detector(nn.Module):
    """Two tanh layers on overlapping windows of an image: how likely each value of their centre is distorted.

    A value that a distortion happened to leave right counts as distorted too: what it says is no evidence. So the
    target is the share of changed values around it, over `changed`, the share that a distortion changes.

    Args:
        shape: shape of an image, (channels, height, width), sides divisible by 4.
        channels: hidden units of a window.
        changed: share of distorted values that differ from the pattern's: 0.5 for bits drawn anew.

    Raises:
        ValueError: if patterns are no images, or their sides are not divisible by 4.
    """

    def __init__(self, shape: Sequence[int], channels: int, changed: float) -> None:
        super().__init__()
        if len(shape) != 3 or shape[1] % CELL or shape[2] % CELL:
            raise ValueError(f"energy.detector needs images with sides divisible by {CELL}, got {tuple(shape)}")
        self.shape, self.changed = tuple(shape), changed
        self.windows = nn.Linear(shape[0] * WINDOW**2, channels)
        self.mixed = nn.Linear(channels, channels)
        self.cells = nn.Linear(channels, CELL**2)

    def forward(self, queries: Tensor) -> Tensor:
        """Queries (items, *shape) in [0, 1]; returns likelihoods of the same shape, equal over channels."""
        windows = F.unfold(2 * queries - 1, WINDOW, padding=(WINDOW - CELL) // 2, stride=CELL).transpose(1, 2)
        cells = self.cells(torch.tanh(self.mixed(torch.tanh(self.windows(windows))))).sigmoid()
        return F.fold(cells.transpose(1, 2), self.shape[1:], CELL, stride=CELL).expand_as(queries)

    def loss(self, patterns: Tensor, queries: Tensor) -> Tensor:
        """Cross-entropy (items,), in nats, of the share of changed values around each pixel."""
        changed = (queries != patterns).any(1, keepdim=True).to(patterns)
        share = F.avg_pool2d(changed, BLUR, 1, BLUR // 2, count_include_pad=False)
        likelihood = (self.changed * self(queries)[:, :1]).clamp(1e-5, 1 - 1e-5)
        return F.binary_cross_entropy(likelihood, share.clamp(0, 1), reduction="none").flatten(1).sum(1)
