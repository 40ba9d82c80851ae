"""Some bits re-drawn at random, as the EBMM paper distorts random patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.distortions.filling import noise
from lightning_ebm.data.distortions.places import some_of
from lightning_ebm.data.distortions.strength import Strength
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class RedrawnBitsConfig:
    """Settings of `RedrawnBits`.

    Attributes:
        count: bits that are re-drawn, from 1 to the size of a pattern; or a range [low, high].
    """

    count: Any = 64


class RedrawnBits(Distortion):
    """Re-draws some bits at random, so that half of those become wrong on average.

    Bartunov et al., "Meta-Learning Deep Energy-Based Memory Models", ICLR 2020, random binary patterns. Every
    pattern has other positions; within a pattern no position is chosen twice.

    Args:
        spec: what the patterns look like; binary, of any shape.
        count: as in `RedrawnBitsConfig`.

    Raises:
        ValueError: if the patterns are not binary, or `count` is out of range.
    """

    config = RedrawnBitsConfig

    def __init__(self, spec: PatternSpec, count: Any = 64) -> None:
        if not spec.binary:
            raise ValueError("redrawn_bits distorts binary patterns only: choose another, such as noise_block")
        self.count = Strength.of(count, "count", 1, spec.size, f"the {spec.size} bits there are", whole=True)

    @classmethod
    def from_config(cls, config: RedrawnBitsConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.count)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        counts = self.count.draw(len(patterns), random)
        mask = some_of(patterns[0].size, counts, random).reshape(patterns.shape)
        return np.where(mask, noise(patterns.shape, True, random), patterns), mask
