"""A share of the pixels set to white or black."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.distortions.filling import noise
from lightning_ebm.data.distortions.places import some_pixels
from lightning_ebm.data.distortions.strength import Strength
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class SaltAndPepperConfig:
    """Settings of `SaltAndPepper`.

    Attributes:
        share: of the pixels that are set, from 0 to 1; or a range [low, high].
    """

    share: Any = 0.25


class SaltAndPepper(Distortion):
    """Sets a share of the pixels to 1 (salt) or 0 (pepper), with equal chances, the same in all channels.

    Of patterns that are no images, it sets a share of the values. Every pattern has other positions; the share is
    rounded to a whole number of pixels. For binary patterns of one channel it is the same as `random_pixels`.

    Args:
        spec: what the patterns look like; of any shape.
        share: as in `SaltAndPepperConfig`.

    Raises:
        ValueError: if `share` is out of range.
    """

    config = SaltAndPepperConfig

    def __init__(self, spec: PatternSpec, share: Any = 0.25) -> None:
        self.share = Strength.of(share, "share", 0, 1)

    @classmethod
    def from_config(cls, config: SaltAndPepperConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.share)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        pixels = some_pixels(patterns.shape[1:], self.share.draw(len(patterns), random), random)
        mask = np.broadcast_to(pixels, patterns.shape).copy()
        return np.where(mask, noise(pixels.shape, True, random), patterns), mask
