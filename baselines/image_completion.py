"""Completes the corrupted part of an image from its surroundings and from the recalled code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.layers import SQUARE, SquareConvolutions, check_sides

LAYERS = 5
EMPHASIS = 2.0
"""Weight of a completed value, relative to a decoded one: recall is measured on completed values."""


class Completion(nn.Module):
    """Convolutions that complete a recalled image where a query is corrupted, so that strokes cross the border.

    A code of few values cannot hold an image to the pixel, but where a query is right, it tells by how much the
    recalled image is wrong, and what its neighbourhood looks like. At first, next to nothing is changed.

    Args:
        shape: shape of an image, (channels, height, width), sides divisible by 2.
        channels: of the hidden convolutions.
        key: where the configuration has them, for the error message.

    Raises:
        ValueError: if patterns are not images, or their sides are not divisible by 2.
    """

    def __init__(self, shape: Sequence[int], channels: int, key: str = "energy.completion") -> None:
        super().__init__()
        check_sides(shape, SQUARE, key)
        self.mend = SquareConvolutions(3 * shape[0], channels, shape[0], LAYERS)

    def forward(self, logits: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """The logits of the completed images.

        Args:
            logits: of what was recalled, (items, channels, height, width).
            queries: the same shape, in [0, 1].
            soft_mask: the same shape, in [0, 1], how little each value of a query is to be trusted.
        """
        change: Tensor = self.mend(torch.cat([logits.tanh(), (2 * queries - 1) * (1 - soft_mask), soft_mask], 1))
        return logits + change

    def loss(self, logits: Tensor, x: Tensor, soft_mask: Tensor) -> Tensor:
        """How badly patterns are completed where they are masked: cross-entropy (items,), in nats, times `EMPHASIS`.

        Args:
            logits: of what was recalled, (items, *shape).
            x: the patterns, the same shape, in [0, 1]; their other values are shown.
            soft_mask: the same shape, in [0, 1].
        """
        nats = F.binary_cross_entropy_with_logits(self(logits, x, soft_mask), x, reduction="none")
        return EMPHASIS * (nats * soft_mask).flatten(1).sum(1)
