"""Write rate and read step size, found by trying a grid of them on a few episodes.

An objective that starts the memory (`objectives`) fixes the direction of what writing changes and leaves its scale
open. The scale is that of the energy, which nothing fixes either, so no default fits. Every pair of the grid is tried:
with a write for each write rate and a read for each pair, this takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_ebm.ebmm.memory import EBMM

WRITE_RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

STEP_SIZES = (0.03, 0.1, 0.3, 1.0, 3.0)


@torch.no_grad()
def grid_errors(
    memory: EBMM,
    patterns: Tensor,
    queries: Tensor,
    mask: Tensor | None = None,
    write_rates: Sequence[float] = WRITE_RATES,
    step_sizes: Sequence[float] = STEP_SIZES,
) -> Tensor:
    """The recall error of each pair of write rate and read step size.

    Args:
        memory: the memory, left with the last pair; all other rates, decays and momenta stay as they are.
        patterns: (episodes, items, *shape), values in [0, 1].
        queries: the same shape.
        mask: as for `memory.read`.
        write_rates: initial rates of the energy term, the same for all layers and write steps, above 0.
        step_sizes: γ₁, above 0.

    Returns:
        (write rates, step sizes), squared error of the last read step summed over a pattern's values, averaged over
        patterns; infinite where it is not a number.
    """
    errors = patterns.new_empty(len(write_rates), len(step_sizes))
    for row, rate in enumerate(write_rates):
        memory.writing.set_rate(rate)
        state = memory.write(patterns)
        for column, step_size in enumerate(step_sizes):
            memory.reading.set_step_size(step_size)
            answer = memory.read(state, queries, mask)[-1]
            errors[row, column] = (answer - patterns).square().flatten(2).sum(2).mean()
    return errors.nan_to_num(torch.inf, torch.inf)


def set_best(
    memory: EBMM,
    errors: Tensor,
    write_rates: Sequence[float] = WRITE_RATES,
    step_sizes: Sequence[float] = STEP_SIZES,
) -> tuple[float, float]:
    """Gives the memory the pair with the least error.

    Args:
        memory: the memory whose write rate and read step size are set.
        errors: what `grid_errors` returned for the same grid.
        write_rates: its rows.
        step_sizes: its columns.

    Returns:
        The write rate and the step size.
    """
    row, column = divmod(int(errors.argmin()), len(step_sizes))
    memory.writing.set_rate(write_rates[row])
    memory.reading.set_step_size(step_sizes[column])
    return write_rates[row], step_sizes[column]
