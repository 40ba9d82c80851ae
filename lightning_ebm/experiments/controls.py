"""Controls of a table: the query itself, which a memory has to improve on, and slots that are filled exactly."""

from typing import Self

from torch import Tensor
from torch.func import vmap

from lightning_ebm.ebmm import EBMM
from lightning_ebm.ebmm.rows import RowMixture
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State
from lightning_ebm.settings import Settings


class QueryItself(AssociativeMemory):
    """Stores nothing and answers with the query. The state is empty; there are no settings."""

    config = Settings
    citation = "none"
    order_invariant = True

    @classmethod
    def from_config(cls, config: Settings, spec: PatternSpec) -> Self:
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


class ExactSlots(AssociativeMemory):
    """A trained EBMM whose energy is a `RowMixture`, without its writing: each pattern's code is a row, exactly.

    Reading is the EBMM's. What this control errs less than the EBMM, writing by gradient loses. Where both err alike,
    the memory is a list of codes, and its error that of coding and finding them. The state is that of the EBMM: one row
    for each pattern, the last ones if there are more patterns than rows.

    Raises:
        ValueError: if the memory is another.
    """

    config = Settings
    citation = "none"

    def __init__(self, memory: AssociativeMemory) -> None:
        super().__init__()
        if not (isinstance(memory, EBMM) and isinstance(memory.energy_net, RowMixture)):
            raise ValueError(f"only an EBMM whose energy has rows of codes can be filled exactly, not {memory}")
        self.memory, self.energy_net = memory, memory.energy_net

    def initial_state(self, episodes: int) -> State:
        """That of the EBMM."""
        return self.memory.initial_state(episodes)

    def write(self, patterns: Tensor) -> State:
        """Puts the codes of patterns (episodes, items, *shape) into rows; see the base class."""
        state: State = vmap(lambda x: self.energy_net.filled(self.energy_net.features(x)))(patterns)
        return state

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """As the EBMM reads."""
        return self.memory.read(state, queries, mask)

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """That of the EBMM."""
        return self.memory.energy(state, patterns)
