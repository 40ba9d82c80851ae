"""What memories with a row for each pattern share: slots, the oldest of which is overwritten when all are full."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_ebm.memory import AssociativeMemory, State


class SlotMemory(AssociativeMemory):
    """Base class of memories whose state is one row of `width` values for each pattern.

    As long as no row is overwritten, the order of the patterns does not matter; hence `order_invariant`.

    State: `slots` (episodes, slots, width), and `written` (episodes), int64, the number of patterns written.

    Args:
        shape: shape of one pattern.
        slots: rows that there is room for; one more overwrites the oldest. None: as many as are written, so
            that the state grows with the number of patterns.
        width: values in a row.

    Raises:
        ValueError: if `slots` or `width` is less than 1.
    """

    order_invariant = True
    bookkeeping = frozenset({"written"})
    reference: Tensor

    def __init__(self, shape: Sequence[int], slots: int | None, width: int) -> None:
        super().__init__()
        if slots is not None and slots < 1:
            raise ValueError(f"slots must be at least 1, or null for one a pattern, got {slots}")
        if width < 1:
            raise ValueError(f"a slot must have at least 1 value, got {width}")
        self.shape, self.slots, self.width = tuple(shape), slots, width
        # An empty buffer, so that .to() and .double() decide where and in which precision a state begins.
        self.register_buffer("reference", torch.empty(0), persistent=False)

    @abstractmethod
    def rows(self, patterns: Tensor, what: str = "patterns") -> Tensor:
        """What is stored of patterns (episodes, items, *shape) in [0, 1]: (episodes, items, width).

        Args:
            patterns: what is stored.
            what: how an error message calls them.

        Raises:
            ValueError: if they cannot be stored.
        """

    def initial_state(self, episodes: int) -> State:
        """Empty slots; a single one if the state grows."""
        return {
            "slots": self.reference.new_zeros(episodes, self.slots or 1, self.width),
            "written": torch.zeros(episodes, dtype=torch.int64, device=self.reference.device),
        }

    def write(self, patterns: Tensor) -> State:
        """Writes the patterns into the first slots, one each; see the base class."""
        return self.update(self.initial_state(len(patterns)), patterns)

    def update(self, state: State, patterns: Tensor) -> State:
        """Writes patterns into the next slots, over the oldest ones if none is free; see the base class."""
        rows = self.rows(patterns)
        slots = self.slots or int(state["written"].max()) + rows.shape[1]
        old = F.pad(state["slots"], (0, 0, 0, slots - state["slots"].shape[1]))
        turn = state["written"][:, None] + torch.arange(rows.shape[1], device=rows.device)
        # Of more patterns than slots only the last ones stay, so that no slot is written twice.
        rows, turn = rows[:, -slots:], turn[:, -slots:]
        index = (turn % slots)[:, :, None].expand_as(rows)
        return {"slots": old.scatter(1, index, rows.to(old)), "written": state["written"] + patterns.shape[1]}

    def filled(self, state: State) -> Tensor:
        """Which slots hold a pattern: bool, (episodes, 1, slots), to be laid over scores (episodes, items, slots)."""
        places = torch.arange(state["slots"].shape[1], device=state["slots"].device)
        return places < state["written"][:, None, None]
