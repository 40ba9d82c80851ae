"""Gaussian noise on every value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.distortions.strength import Strength
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class GaussianConfig:
    """Settings of `Gaussian`.

    Attributes:
        deviation: standard deviation of the noise before clipping, from 0 to 10, where values lie in [0, 1]; or a
            range [low, high].
    """

    deviation: Any = 0.3


class Gaussian(Distortion):
    """Adds independent Gaussian noise to every value and clips the sum to [0, 1]. The mask is everything.

    Queries of binary patterns are real values between 0 and 1, as memories take them: half of the 0s and of the 1s
    stay, by clipping, what they are.

    Args:
        spec: what the patterns look like; of any shape.
        deviation: as in `GaussianConfig`.

    Raises:
        ValueError: if `deviation` is out of range.
    """

    config = GaussianConfig

    def __init__(self, spec: PatternSpec, deviation: Any = 0.3) -> None:
        self.deviation = Strength.of(deviation, "deviation", 0, 10)

    @classmethod
    def from_config(cls, config: GaussianConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.deviation)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        deviation = self.deviation.draw(len(patterns), random).astype(np.float32)
        deviation = deviation.reshape(-1, *[1] * (patterns.ndim - 1))
        noisy = patterns + deviation * random.standard_normal(patterns.shape, np.float32)
        return noisy.clip(0, 1), np.ones(patterns.shape, np.bool_)
