"""Runs that promise little are stopped early: the brackets of Hyperband, as Weights & Biases sets them.

Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar (2018), "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization". An iteration is a validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Hyperband:
    """Settings of `early_terminate`; either `min_iter`, or `max_iter` with `s`.

    Attributes:
        min_iter: the first bracket; the others are eta times as long as the one before.
        max_iter: iterations of a whole run.
        s: number of brackets, at max_iter / eta, max_iter / eta² and so on.
        eta: a run goes on if it is among the best 1 / eta, above 1.
    """

    min_iter: int = 0
    max_iter: int = 0
    s: int = 0
    eta: float = 3

    def brackets(self, iterations: int) -> list[int]:
        """The iterations, up to a number of them, at which runs are compared, rising."""
        if self.max_iter:
            ends = [int(self.max_iter / self.eta**power) for power in range(1, self.s + 1)]
            return sorted({end for end in ends if 1 <= end <= iterations})
        ends = []
        end = float(self.min_iter)
        while end <= iterations:
            ends.append(int(end))
            end *= self.eta
        return sorted(set(ends))


def stops(settings: Hyperband, errors: Sequence[float], all_errors: Sequence[Sequence[float]]) -> bool:
    """Whether a run should stop.

    Args:
        settings: of the sweep.
        errors: of the run, one for each validation so far.
        all_errors: those of all runs of the sweep, this one among them, whether they go on or not.

    Returns:
        True if, at the last bracket that it has reached, its best error is worse than that of rank n / eta (rounded
        down, from 0) of the n runs that have reached it.
    """
    reached = settings.brackets(len(errors))
    if not reached:
        return False
    bracket = reached[-1]
    ranked = sorted(min(other[:bracket]) for other in all_errors if len(other) >= bracket)
    return min(errors[:bracket]) > ranked[int(len(ranked) / settings.eta)]
