"""Perfect slots, a bound: the best that a memory can do which keeps S whole patterns."""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.slots import SlotMemory, nearest
from lightning_ebm.memory import PatternSpec, State, keep_known
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class PerfectSlotsConfig(Settings):
    """Settings of `PerfectSlots`."""

    slots: int = setting(64, at_least=1)
    """Patterns that there is room for; of more, the last ones are kept."""


class PerfectSlots(SlotMemory):
    """The last S patterns, and an oracle that has seen all of them and says which one a query is of.

    A pattern that is kept is answered without error. For one that is lost the answer is the query, so that with P
    patterns and half of a query's c re-drawn bits wrong, the error is max(0, (P - S) / P) · c / 2 bits.

    The oracle takes the nearest of all patterns, of the known values if it gets the mask.

    State: as of `SlotMemory`, with rows of d values; `all_patterns` (episodes, items, d), bookkeeping for the oracle.
    """

    config = PerfectSlotsConfig
    citation = (
        "S. Bartunov, J. Rae, S. Osindero and T. Lillicrap, Meta-Learning Deep Energy-Based Memory Models, ICLR"
        " 2020, arXiv:1910.02720 (the task; the line itself is arithmetic)"
    )
    bookkeeping = SlotMemory.bookkeeping | {"all_patterns"}

    def __init__(self, spec: PatternSpec, config: PerfectSlotsConfig = PerfectSlotsConfig()) -> None:
        super().__init__(spec, config.slots, spec.size)

    def initial_state(self, episodes: int) -> State:
        """Empty slots, and an oracle that has seen nothing."""
        state = super().initial_state(episodes)
        return state | {"all_patterns": state["slots"][:, :0]}

    def update(self, state: State, patterns: Tensor) -> State:
        """Keeps the last of the old and the new patterns."""
        new, rows = super().update(state, patterns), patterns.flatten(2).to(state["slots"])
        return new | {"all_patterns": torch.cat([state["all_patterns"], rows], 1)}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Asks the oracle, and looks into the slot."""
        everything, room = state["all_patterns"].to(queries), state["slots"].shape[1]
        seen = everything.shape[1]
        if seen == 0:
            return queries[None]
        all_count = torch.ones(1, 1, seen, dtype=torch.bool, device=queries.device)
        item = nearest(queries, everything, all_count, mask)
        kept = state["slots"].to(queries).take_along_dim(item % room, 1)
        answer = torch.where(item < seen - room, queries.flatten(2), kept).view_as(queries)
        return keep_known(answer, queries, mask)[None]
