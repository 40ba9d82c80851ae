"""How many patterns the episodes of each update hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from lightning_ebm.data.episodes import Split


@dataclass(frozen=True)
class Curriculum:
    """Draws N, patterns in an episode, from a range whose upper end may rise: few patterns first, then more.

    Before the rise begins, all N of the range are drawn: an objective of pretraining needs no start with few.

    N is a pure function of the attributes and an episode's index, and the same for all episodes of one update. It
    therefore does not matter how many devices share them, or where training was interrupted.

    Attributes:
        low: the least N.
        high: the greatest.
        batch: episodes of one update, over all devices; episode i belongs to update i // batch.
        rising: updates over which the upper end rises linearly from low to high; 0: it is high from the start.
        seed: of the episodes.
        split: of the episodes.
        start: update in which the rise begins.
    """

    low: int
    high: int
    batch: int
    rising: int = 0
    seed: int = 0
    split: Split = "train"
    start: int = 0

    def __call__(self, index: int) -> int:
        """N of the episode of this index; all numbers of the range that its update has are equally likely."""
        update = index // self.batch
        # the spawn key makes these draws independent of those of `episode_random`
        entropy = np.random.SeedSequence((self.seed, get_args(Split).index(self.split), update), spawn_key=(1,))
        return int(np.random.default_rng(entropy).integers(self.low, self.upper(update), endpoint=True))

    def upper(self, update: int) -> int:
        """The upper end of the range at an update, rounded down."""
        risen = update - self.start
        if not 0 <= risen < self.rising:
            return self.high
        return self.low + (self.high - self.low) * risen // self.rising
