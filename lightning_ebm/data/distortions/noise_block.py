"""A block of noise, as the EBMM paper distorts images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.distortions.filling import with_noise
from lightning_ebm.data.distortions.places import block_size, blocks
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class NoiseBlockConfig:
    """Settings of `NoiseBlock`.

    Attributes:
        size: side of the block in pixels, from 1 to the shorter side of an image, or length of a stretch of a
            vector; or a range [low, high].
    """

    size: Any = 16


class NoiseBlock(Distortion):
    """Fills a square block, somewhere in the image, with noise, in all channels; in a vector, a stretch.

    Bartunov et al., "Meta-Learning Deep Energy-Based Memory Models", ICLR 2020, images. All positions where
    the block lies inside the image are equally likely. The noise is uniform, or bits for binary patterns.

    Args:
        spec: what the patterns look like: vectors, or images (channels, height, width).
        size: as in `NoiseBlockConfig`.

    Raises:
        ValueError: if the patterns are neither, or `size` is out of range.
    """

    config = NoiseBlockConfig

    def __init__(self, spec: PatternSpec, size: Any = 16) -> None:
        self.size, self.binary = block_size(size, spec, "noise_block"), spec.binary

    @classmethod
    def from_config(cls, config: NoiseBlockConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.size)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        mask = blocks(patterns.shape[1:], self.size.draw(len(patterns), random), random)
        return with_noise(patterns, mask, self.binary, random), mask
