"""The control in every table: the query itself, which a memory has to improve on."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor

from lightning_ebm.memory import AssociativeMemory, PatternSpec, State
from lightning_ebm.settings import Settings


class QueryItself(AssociativeMemory):
    """Stores nothing and answers with the query. The state is empty; there are no settings."""

    config = Settings
    citation = "none"
    order_invariant = True

    @classmethod
    def from_config(cls, config: Any, spec: PatternSpec) -> Self:
        """Any patterns will do."""
        return cls()

    def initial_state(self, episodes: int) -> State:
        """Nothing."""
        return {}

    def update(self, state: State, patterns: Tensor) -> State:
        """Nothing is added."""
        return state

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """The queries, as a trajectory of one step."""
        return queries[None]
