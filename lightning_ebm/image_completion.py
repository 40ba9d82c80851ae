"""Completes the corrupted part of an image from its surroundings and from the recalled code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_ebm.layers import SQUARE, SquareConvolutions, check_sides

LAYERS = 5


class Completion(nn.Module):
    """Convolutions that complete a recalled image where a query is corrupted, so that strokes cross the border.

    A code of few values cannot hold an image to the pixel, but where a query is right, it tells by how much the
    recalled image is wrong, and what its neighbourhood looks like. At first, next to nothing is changed.

    Args:
        shape: shape of an image, (channels, height, width), sides divisible by 2.
        channels: of the hidden convolutions.

    Raises:
        ValueError: if patterns are not images, or their sides are not divisible by 2.
    """

    def __init__(self, shape: Sequence[int], channels: int) -> None:
        super().__init__()
        check_sides(shape, SQUARE, "energy.completion")
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
