"""Nearest pattern, a bound: the stored pattern nearest to the query, of all patterns, kept as they are."""

import torch
from torch import Tensor

from baselines.slots import SlotMemory, nearest
from lightning_ebm.memory import PatternSpec, State, keep_known
from lightning_ebm.settings import Settings


class NearestPattern(SlotMemory):
    """Nearest-neighbour search among all patterns (Cover and Hart 1967), by squared distance.

    With a mask, the distance is that of the known values. Its errors are those of queries that are nearer to
    another pattern than to their own: no memory that keeps less can be asked to make fewer.

    State: as of `SlotMemory`, with rows of all values of a pattern; it grows with the number of patterns.
    """

    config = Settings
    citation = "T. Cover and P. Hart, Nearest Neighbor Pattern Classification, IEEE Trans. Information Theory 13, 1967"

    def __init__(self, spec: PatternSpec, config: Settings = Settings()) -> None:
        super().__init__(spec, None, spec.size)

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Finds the nearest pattern. Where nothing was written, the query is the answer."""
        slots, filled = state["slots"].to(queries), self.filled(state)
        found = slots.take_along_dim(nearest(queries, slots, filled, mask), 1)
        answer = torch.where(filled.any(-1, keepdim=True), found, queries.flatten(2)).view_as(queries)
        return keep_known(answer, queries, mask)[None]
