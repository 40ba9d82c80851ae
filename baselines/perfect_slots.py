"""Perfect slots, a bound: the best that a memory can do which keeps S whole patterns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.slots import nearest, pick
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, check_patterns, keep_known
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class PerfectSlotsConfig(Settings):
    """Settings of `PerfectSlots`."""

    slots: int = setting(64, at_least=1)
    """Patterns that there is room for; of more, the last ones are kept."""


class PerfectSlots(AssociativeMemory):
    """The last S patterns, and an oracle that has seen all of them and says which one a query is of.

    A pattern that is kept is answered without error. For one that is lost the answer is the query, so that with P
    patterns and half of a query's c re-drawn bits wrong, the error is max(0, (P - S) / P) · c / 2 bits.

    The oracle takes the nearest of all patterns, of the known values if it gets the mask.

    State: `slots` (episodes, S, d), zero where there were fewer patterns; `all_patterns` (episodes, items, d), for the
    oracle, is bookkeeping.
    """

    config = PerfectSlotsConfig
    citation = (
        "S. Bartunov, J. Rae, S. Osindero and T. Lillicrap, Meta-Learning Deep Energy-Based Memory Models, ICLR"
        " 2020, arXiv:1910.02720 (the task; the line itself is arithmetic)"
    )
    order_invariant = True
    bookkeeping = frozenset({"all_patterns"})
    reference: Tensor

    def __init__(self, spec: PatternSpec, config: PerfectSlotsConfig = PerfectSlotsConfig()) -> None:
        super().__init__()
        self.shape, self.slots, self.size = spec.shape, config.slots, spec.size
        # An empty buffer, so that .to() and .double() decide where and in which precision a state begins.
        self.register_buffer("reference", torch.empty(0), persistent=False)

    def initial_state(self, episodes: int) -> State:
        """Empty slots, and an oracle that has seen nothing."""
        return {
            "slots": self.reference.new_zeros(episodes, self.slots, self.size),
            "all_patterns": self.reference.new_zeros(episodes, 0, self.size),
        }

    def update(self, state: State, patterns: Tensor) -> State:
        """Keeps the last of the old and the new patterns."""
        check_patterns(patterns, "patterns", self.shape)
        everything = torch.cat([state["all_patterns"], patterns.flatten(2).to(state["slots"])], dim=1)
        kept = everything[:, -self.slots :]
        slots = torch.zeros_like(state["slots"])
        slots[:, : kept.shape[1]] = kept
        return {"slots": slots, "all_patterns": everything}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Asks the oracle, and looks into the slot."""
        check_patterns(queries, "queries", self.shape)
        everything = state["all_patterns"].to(queries)
        seen = everything.shape[1]
        if seen == 0:
            return queries[None]
        all_count = torch.ones(1, 1, seen, dtype=torch.bool, device=queries.device)
        slot = nearest(queries, everything, all_count, mask) - max(0, seen - self.slots)  # negative: lost
        kept = pick(state["slots"].to(queries), slot.clamp_min(0))
        answer = torch.where(slot[:, :, None] >= 0, kept, queries.flatten(2)).view_as(queries)
        return keep_known(answer, queries, mask)[None]
