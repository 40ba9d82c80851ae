"""Distortions: what queries suffer. Each one says in its mask where it put new values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class RedrawnBitsConfig:
    """Settings of `RedrawnBits`.

    Attributes:
        count: bits that are re-drawn, from 1 to the size of a pattern.
    """

    count: int = 64


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

    def __init__(self, spec: PatternSpec, count: int = 64) -> None:
        if not spec.binary:
            raise ValueError("redrawn_bits distorts binary patterns only: choose another, such as noise_block")
        if not 1 <= count <= spec.size:
            raise ValueError(f"distortion.count must lie between 1 and the {spec.size} bits there are, got {count}")
        self.count = count

    @classmethod
    def from_config(cls, config: RedrawnBitsConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.count)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        lots = random.random((len(patterns), patterns[0].size))
        chosen = np.argpartition(lots, self.count - 1, axis=1)[:, : self.count]  # the smallest lots
        mask = np.zeros(lots.shape, np.bool_)
        np.put_along_axis(mask, chosen, True, axis=1)
        mask = mask.reshape(patterns.shape)
        return np.where(mask, noise(patterns.shape, True, random), patterns), mask


@dataclass
class NoiseBlockConfig:
    """Settings of `NoiseBlock`.

    Attributes:
        size: side of the block in pixels, from 1 to the shorter side of an image.
    """

    size: int = 16


class NoiseBlock(Distortion):
    """Fills a square block, somewhere in the image, with noise, in all channels.

    Bartunov et al., "Meta-Learning Deep Energy-Based Memory Models", ICLR 2020, images. All positions where
    the block lies inside the image are equally likely.

    Args:
        spec: what the patterns look like: images (channels, height, width).
        size: as in `NoiseBlockConfig`.

    Raises:
        ValueError: if the patterns are not images, or `size` is out of range.
    """

    config = NoiseBlockConfig

    def __init__(self, spec: PatternSpec, size: int = 16) -> None:
        if len(spec.shape) != 3:
            raise ValueError(
                "noise_block distorts images (channels, height, width) only, not patterns of shape"
                f" {spec.shape}: choose another, such as redrawn_bits"
            )
        self.height, self.width = spec.shape[1:]
        shorter = min(self.height, self.width)
        if not 1 <= size <= shorter:
            raise ValueError(f"distortion.size must lie between 1 and the shorter side, {shorter}, got {size}")
        self.size, self.binary = size, spec.binary

    @classmethod
    def from_config(cls, config: NoiseBlockConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.size)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        rows = self._stretch(self.height, len(patterns), random)
        columns = self._stretch(self.width, len(patterns), random)
        block = rows[:, None, :, None] & columns[:, None, None, :]
        mask = np.broadcast_to(block, patterns.shape).copy()
        return np.where(mask, noise(patterns.shape, self.binary, random), patterns), mask

    def _stretch(self, length: int, items: int, random: np.random.Generator) -> np.ndarray:
        """(items, length), bool: True along a random stretch of the block's size."""
        start = random.integers(length - self.size + 1, size=(items, 1))
        place = np.arange(length)
        return (start <= place) & (place < start + self.size)


def noise(shape: tuple[int, ...], binary: bool, random: np.random.Generator) -> np.ndarray:
    """Independent float32 values: 0 or 1 with equal chances if `binary`, otherwise uniform in [0, 1)."""
    values = random.random(shape, np.float32)
    return (values < 0.5).astype(np.float32) if binary else values
