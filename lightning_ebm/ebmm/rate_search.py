"""Write rate and read step size, found by trying a grid of them on a few episodes.

An objective that starts the memory (`objectives`) fixes directions. It leaves the step size of reading open, that of
the keys also the write rate. The scale is that of the energy, which nothing fixes either, so no default fits: step
sizes are tried in units of the distance from query to pattern over the length of the slope. Every pair of the grid is
tried: with a write for each write rate and two reads for each pair, this takes seconds.

A low error alone does not show that a pair lets the memory work, since a reader that removes noise lowers it with any
state. What shows it is that reading errs more from the state of another episode.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.ebmm.objectives import TINY, slope
from lightning_ebm.memory import reading_error

WRITE_RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

STEPS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Step sizes over `step_unit`."""


@torch.no_grad()
def step_unit(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor | None = None) -> Tensor:
    """The step size, a scalar, that moves queries by their root-mean-square distance to the patterns.

    Distance and slope are those where reading starts from the prior state. Patterns and queries are
    (episodes, items, *shape), and the mask is as for `memory.read`.
    """
    prior = memory.initial_state(len(queries))
    start, _ = memory.read_start(queries, mask, prior)
    away = slope(memory, prior, start)
    distance, length = (x.square().mean().sqrt().clamp(min=TINY) for x in (start - patterns, away))
    return distance / length


@torch.no_grad()
def grid_errors(
    memory: EBMM,
    patterns: Tensor,
    queries: Tensor,
    mask: Tensor | None,
    write_rates: Sequence[float],
    step_sizes: Sequence[float],
) -> Tensor:
    """The recall errors of each pair of write rate and read step size.

    The memory is left with the last pair; all other rates, decays and momenta stay as they are.

    Args:
        memory: the memory.
        patterns: (episodes, items, *shape), values in [0, 1].
        queries: the same shape.
        mask: as for `memory.read`.
        write_rates: initial rates of the energy term, the same for all layers and write steps, above 0; empty: one
            row, with the rates that the memory has.
        step_sizes: γ₁, above 0.

    Returns:
        Squared errors, summed over a pattern's values, averaged over patterns, infinite where they are not numbers, of
        reading from the own state and from that of another episode, or, of a single one, from the prior state:
        (2, write rates, step sizes).
    """
    errors = patterns.new_empty(2, max(1, len(write_rates)), len(step_sizes))
    prior = memory.initial_state(len(patterns))
    for row in range(errors.shape[1]):
        if write_rates:
            memory.writing.set_rate(write_rates[row])
        own = memory.write(patterns)
        other = {name: tensor.roll(1, 0) for name, tensor in own.items()} if len(patterns) > 1 else prior
        for column, step_size in enumerate(step_sizes):
            memory.reading.set_step_size(step_size)
            for place, state in enumerate((own, other)):
                errors[place, row, column] = reading_error(memory.read(state, queries, mask)[-1:], patterns)
    return errors.nan_to_num(torch.inf, torch.inf)


def set_best(
    memory: EBMM, errors: Tensor, query_error: float, write_rates: Sequence[float], step_sizes: Sequence[float]
) -> None:
    """Gives the memory the pair that recalls the most: the largest `min(other, query_error) / own`.

    So of pairs that recall nothing from the state of another episode, the one with the least error is taken. What such
    a state spoils beyond the error of the queries themselves does not count: a write rate that is too high spoils the
    most. The errors are those of `grid_errors` for the same grid.
    """
    own, other = errors
    best = (other.clamp(max=query_error) / own.clamp(min=TINY)).argmax()
    row, column = divmod(int(best), len(step_sizes))
    if write_rates:
        memory.writing.set_rate(write_rates[row])
    memory.reading.set_step_size(step_sizes[column])
