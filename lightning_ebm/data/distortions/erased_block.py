"""A block set to one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.distortions.filling import erased
from lightning_ebm.data.distortions.places import block_size, blocks
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class ErasedBlockConfig:
    """Settings of `ErasedBlock`.

    Attributes:
        size: side of the block in pixels, from 1 to the shorter side of an image, or length of a stretch of a
            vector; or a range [low, high].
        value: what the block is set to: 0, 0.5 or 1.
    """

    size: Any = 16
    value: float = 0.5


class ErasedBlock(Distortion):
    """Sets a square block, somewhere in the image, to one value, in all channels; in a vector, a stretch.

    All positions where the block lies inside the image are equally likely. With the value 0.5, queries of binary
    patterns are no longer binary.

    Args:
        spec: what the patterns look like: vectors, or images (channels, height, width).
        size: as in `ErasedBlockConfig`.
        value: as in `ErasedBlockConfig`.

    Raises:
        ValueError: if the patterns are neither, or a setting is out of range.
    """

    config = ErasedBlockConfig

    def __init__(self, spec: PatternSpec, size: Any = 16, value: float = 0.5) -> None:
        self.size = block_size(size, spec, "erased_block")
        self.value = np.float32(erased(value, "value"))

    @classmethod
    def from_config(cls, config: ErasedBlockConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.size, config.value)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        mask = blocks(patterns.shape[1:], self.size.draw(len(patterns), random), random)
        return np.where(mask, self.value, patterns), mask
