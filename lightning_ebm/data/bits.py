"""Random bits: patterns without any structure, so that a memory can only remember, not guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from lightning_ebm.data.episodes import ANY, PatternSource, Sampling, Split
from lightning_ebm.memory import PatternSpec


@dataclass
class RandomBitsConfig:
    """Settings of `RandomBits`.

    Attributes:
        size: bits of a pattern, at least 1.
    """

    size: int = 128


class RandomBits(PatternSource):
    """Independent bits, 0 or 1 with equal chances.

    The splits have one distribution. They differ because an episode's generator depends on its split.

    Args:
        size: as in `RandomBitsConfig`.

    Raises:
        ValueError: if `size` is less than 1.
    """

    config = RandomBitsConfig
    citation = "Bartunov, Rae, Osindero, Lillicrap: Meta-Learning Deep Energy-Based Memory Models. ICLR 2020"

    def __init__(self, size: int = 128) -> None:
        if size < 1:
            raise ValueError(f"data.size must be at least 1 bit, got {size}")
        self.spec = PatternSpec((size,), binary=True)

    @classmethod
    def from_config(cls, config: RandomBitsConfig) -> Self:
        """See `PatternSource.from_config`."""
        return cls(config.size)

    def draw(self, split: Split, count: int, random: np.random.Generator, sampling: Sampling = ANY) -> np.ndarray:
        """Draws (count, size) bits. See `PatternSource.draw`; there are always enough, each drawn for itself.

        Raises:
            ValueError: if they are to come from some classes.
        """
        if sampling.classes:
            raise ValueError(f"episodes.classes must be 0, as random bits have no classes, got {sampling.classes}")
        return random.integers(2, size=(count, *self.spec.shape)).astype(np.float32)
