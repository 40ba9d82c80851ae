"""Independent draws from the distributions."""

from __future__ import annotations

import numpy as np


def draw(seed: int, number: int, dimensions: int) -> list[float]:
    """The place of a run, (dimensions,) quantiles: a function of the seed and of its number alone."""
    return np.random.default_rng([seed, number]).random(dimensions).tolist()
