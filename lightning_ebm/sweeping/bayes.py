"""Bayesian optimisation: a Gaussian process of the error, and the place of the greatest expected improvement.

The expected improvement is that of Jones, Schonlau and Welch (1998), "Efficient Global Optimization of Expensive
Black-Box Functions", equation 15.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST = 4
"""Runs that are drawn at random before there is anything to model."""
LENGTHS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Length scales of the kernel that are tried, in units of the cube's edge."""
NOISES = (1e-4, 1e-2, 1e-1)
"""Variances of the errors' noise that are tried, in units of the errors' variance."""
CANDIDATES = 2000


def propose(
    places: Array, errors: Array, running: Array, generator: np.random.Generator, centred: Callable[[Array], Array]
) -> list[float]:
    """The place of the next run.

    Args:
        places: those of the runs done, (runs, dimensions), in the unit cube.
        errors: theirs, (runs,); infinite for a run that failed, which counts as bad as the worst.
        running: places of runs without an error yet, (runs, dimensions), taken to end at the model's mean, so that
            no two explore the same.
        generator: draws candidates.
        centred: moves a place to the one that stands for all with the same values.

    Returns:
        A quantile from 0 to 1 for each dimension.
    """
    dimensions = places.shape[1]
    finite = np.isfinite(errors)
    if finite.sum() < FIRST or not dimensions:
        return np.asarray(generator.random(dimensions)).tolist()
    known = np.where(finite, errors, errors[finite].max())
    targets = (known - known.mean()) / (known.std() or 1.0)
    best = places[known.argmin()]
    near = np.clip(best + 0.1 * generator.standard_normal((CANDIDATES // 2, dimensions)), 0, 1 - 1e-9)
    candidates = np.concatenate([generator.random((CANDIDATES // 2, dimensions)), near])
    tried = np.array([centred(candidate) for candidate in candidates])
    length, noise = max(itertools.product(LENGTHS, NOISES), key=lambda pair: log_likelihood(places, targets, *pair))
    if len(running):
        mean, _ = predict(places, targets, running, length, noise)
        places, targets = np.concatenate([places, running]), np.concatenate([targets, mean])
    mean, deviation = predict(places, targets, tried, length, noise)
    return list(candidates[expected_improvement(mean, deviation, targets.min()).argmax()].tolist())


def kernel(left: Array, right: Array, length: float) -> Array:
    """The squared exponential, (left, right), of places (left, dimensions) and (right, dimensions)."""
    distances = ((left[:, None] - right[None]) ** 2).sum(-1)
    return np.asarray(np.exp(-distances / (2 * length**2)))


def log_likelihood(places: Array, targets: Array, length: float, noise: float) -> float:
    """The log marginal likelihood of standardised errors (Rasmussen and Williams 2006, equation 2.30)."""
    lower = np.linalg.cholesky(kernel(places, places, length) + noise * np.eye(len(places)))
    white = np.linalg.solve(lower, targets)
    return float(-0.5 * white @ white - np.log(np.diag(lower)).sum() - 0.5 * len(targets) * math.log(2 * math.pi))


def predict(places: Array, targets: Array, at: Array, length: float, noise: float) -> tuple[Array, Array]:
    """Mean and deviation of the process, (at,) each (Rasmussen and Williams 2006, equations 2.25 and 2.26)."""
    lower = np.linalg.cholesky(kernel(places, places, length) + noise * np.eye(len(places)))
    cross = np.linalg.solve(lower, kernel(places, at, length))
    mean = cross.T @ np.linalg.solve(lower, targets)
    return mean, np.sqrt(np.maximum(1 - (cross**2).sum(0), 1e-12))


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """By how much an error is expected to fall below the best one."""
    scaled = (best - mean) / deviation
    density = np.exp(-(scaled**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in scaled])
    return np.asarray((best - mean) * below + deviation * density)
