"""A block of another pattern in front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.distortions.places import block_size, blocks
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class OcclusionConfig:
    """Settings of `Occlusion`.

    Attributes:
        size: side of the block in pixels, from 1 to the shorter side of an image, or length of a stretch of a
            vector; or a range [low, high].
    """

    size: Any = 16


class Occlusion(Distortion):
    """Puts a block of another pattern of the same episode, at the same place, over each pattern.

    What is put in looks like data, and leads to another stored pattern. All other patterns, and all positions
    where the block lies inside the pattern, are equally likely.

    Args:
        spec: what the patterns look like: vectors, or images (channels, height, width).
        size: as in `OcclusionConfig`.

    Raises:
        ValueError: if the patterns are neither, or `size` is out of range; when called, if there is no other pattern.
    """

    config = OcclusionConfig

    def __init__(self, spec: PatternSpec, size: Any = 16) -> None:
        self.size = block_size(size, spec, "occlusion")

    @classmethod
    def from_config(cls, config: OcclusionConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.size)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        items = len(patterns)
        if items < 2:
            raise ValueError("occlusion takes blocks from other patterns: episodes.items must be at least 2, got 1")
        mask = blocks(patterns.shape[1:], self.size.draw(items, random), random)
        others = (np.arange(items) + random.integers(1, items, size=items)) % items
        return np.where(mask, patterns[others], patterns), mask
