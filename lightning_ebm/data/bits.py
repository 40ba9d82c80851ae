"""Random bits: patterns without any structure, so that a memory can only remember, not guess."""

from dataclasses import dataclass

import numpy as np

from lightning_ebm.data.episodes import ANY, PatternSource, Sampling, Split
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class RandomBitsConfig(Settings):
    """Settings of `RandomBits`."""

    size: int = setting(128, at_least=1)
    """Bits of a pattern."""


class RandomBits(PatternSource):
    """Independent bits, 0 or 1 with equal chances. All splits have this distribution."""

    config = RandomBitsConfig
    citation = "Bartunov, Rae, Osindero, Lillicrap: Meta-Learning Deep Energy-Based Memory Models. ICLR 2020"

    def __init__(self, config: RandomBitsConfig = RandomBitsConfig()) -> None:
        self.spec = PatternSpec((config.size,), binary=True)

    def draw(self, split: Split, count: int, random: np.random.Generator, sampling: Sampling = ANY) -> np.ndarray:
        """See `PatternSource.draw`: (count, size) bits. There are always enough; there are no classes."""
        if sampling.classes:
            raise ValueError(f"episodes.classes must be 0, as random bits have no classes, got {sampling.classes}")
        return random.integers(2, size=(count, *self.spec.shape)).astype(np.float32)
