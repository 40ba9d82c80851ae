"""A share of the pixels re-drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.distortions.filling import with_noise
from lightning_ebm.data.distortions.places import some_pixels
from lightning_ebm.data.distortions.strength import Strength
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class RandomPixelsConfig:
    """Settings of `RandomPixels`.

    Attributes:
        share: of the pixels that are re-drawn, from 0 to 1; or a range [low, high].
    """

    share: Any = 0.25


class RandomPixels(Distortion):
    """Re-draws a share of the pixels, all channels of a pixel together; of patterns that are no images, of the values.

    The new values are uniform, or bits for binary patterns, half of which then become wrong on average. Every
    pattern has other positions; the share is rounded to a whole number of pixels.

    Args:
        spec: what the patterns look like; of any shape.
        share: as in `RandomPixelsConfig`.

    Raises:
        ValueError: if `share` is out of range.
    """

    config = RandomPixelsConfig

    def __init__(self, spec: PatternSpec, share: Any = 0.25) -> None:
        self.share, self.binary = Strength.of(share, "share", 0, 1), spec.binary

    @classmethod
    def from_config(cls, config: RandomPixelsConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.share)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        pixels = some_pixels(patterns.shape[1:], self.share.draw(len(patterns), random), random)
        mask = np.broadcast_to(pixels, patterns.shape).copy()
        return with_noise(patterns, mask, self.binary, random), mask
