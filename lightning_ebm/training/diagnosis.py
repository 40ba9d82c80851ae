"""Does an energy-based memory remember at all? What tells, besides the error."""

import torch
from torch import Tensor

from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.ebmm.objectives import centred, cosines_within, slope
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.metrics import pattern_errors

PATIENCE = 300
"""Updates after which a memory should have started."""


@torch.no_grad()
def diagnose(
    memory: EBMM,
    spec: PatternSpec,
    state: State,
    patterns: Tensor,
    queries: Tensor,
    mask: Tensor | None,
    corrupted: Tensor,
) -> dict[str, Tensor]:
    """What a state holds of its patterns. A reader that has learned to remove noise without remembering cannot pass.

    The state is what writing the patterns (episodes, items, *shape) made, and the mask is as for `memory.read`. Of the
    same shape, `corrupted`, bool, is True where a query was corrupted.

    Returns:
        Scalars, averaged over patterns.
        write_cosine: cosine between what writing changed in the descent direction where reading starts and the
            query's own pattern (minus the patterns' mean), both within the corrupted values: elsewhere a change that
            copies the query has a cosine too, whatever was written.
        write_top1: share of queries whose own pattern has the largest cosine, by chance 1 / items.
        error_prior: error of reading the prior state, in which nothing is written, in the unit of `val/error`.
        write_rate: mean rate of the energy term over layers and steps.
        step_size: γ₁.
        held: of binary patterns, share of the values of stored patterns at which descent does not lead away from them.
    """
    prior = memory.initial_state(len(patterns))
    start, _ = memory.read_start(queries, mask, prior)
    change = (slope(memory, prior, start) - slope(memory, state, start)).flatten(2)
    cosines = cosines_within(change, centred(patterns), corrupted.flatten(2).to(change))
    own = torch.arange(cosines.shape[2], device=cosines.device)
    answer = memory.read(prior, queries, mask)[-1]
    found = {
        "write_cosine": cosines.diagonal(dim1=1, dim2=2).mean(),
        "write_top1": (cosines.argmax(-1) == own).float().mean(),
        "error_prior": pattern_errors(answer, patterns, spec).mean(),
        "write_rate": memory.writing.rates()[:, :, 0].mean(),
        "step_size": memory.reading.schedule()[0][0],
    }
    if spec.binary:
        outwards = (1 - 2 * patterns) * slope(memory, state, patterns)
        found["held"] = (outwards >= 0).float().mean()
    return found


def has_started(error: float, error_prior: float, write_top1: float, items: float) -> bool:
    """Whether writing helps: what is written lowers the error by 2 %, or finds patterns twice as often as chance."""
    return error < 0.98 * error_prior or write_top1 > 2 / items
