"""What memories with a row for each pattern share: slots, which of them is overwritten, and which is nearest."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_ebm.memory import AssociativeMemory, Keep, PatternSpec, State, as_is, informative, keep_known


class SlotMemory(AssociativeMemory):
    """Base class of memories whose state is one row of `width` values for each pattern.

    When all slots are full, the oldest pattern is overwritten, or by reservoir sampling (Vitter 1985, algorithm R)
    pattern t takes the place j drawn from 0 to t if that is a slot. j is a hash of t and the pattern's values, so
    writing remains a function of what is written. As long as no row is overwritten, the order of the patterns does
    not matter; hence `order_invariant`.

    State: `slots` (episodes, slots, width), and `written` (episodes), int64, the number of patterns written. With slots
    None there are as many as are written, so that the state grows with the number of patterns.
    """

    order_invariant = True
    bookkeeping = frozenset({"written"})
    reference: Tensor

    def __init__(self, spec: PatternSpec, slots: int | None, width: int, overwrite: str = "oldest") -> None:
        super().__init__()
        self.shape, self.slots, self.width, self.overwrite = spec.shape, slots, width, overwrite
        # An empty buffer, so that .to() and .double() decide where and in which precision a state begins.
        self.register_buffer("reference", torch.empty(0), persistent=False)

    def rows(self, patterns: Tensor) -> Tensor:
        """What is stored of patterns (episodes, items, *shape) in [0, 1], here all values: (episodes, items, width)."""
        return patterns.flatten(2)

    def initial_state(self, episodes: int) -> State:
        """Empty slots; a single one if the state grows."""
        return {
            "slots": self.reference.new_zeros(episodes, self.slots or 1, self.width),
            "written": torch.zeros(episodes, dtype=torch.int64, device=self.reference.device),
        }

    def update(self, state: State, patterns: Tensor) -> State:
        """Writes patterns into the next slots, over others by the rule of `overwrite`."""
        rows = self.rows(patterns)
        slots = self.slots or int(state["written"].max()) + rows.shape[1]
        old = F.pad(state["slots"], (0, 0, 0, slots - state["slots"].shape[1]))
        items = torch.arange(rows.shape[1], device=rows.device)
        turn = state["written"][:, None] + items
        if self.overwrite == "oldest":
            place = turn % slots
        else:
            place = torch.where(turn < slots, turn, scramble(fingerprint(patterns) + turn) % (turn + 1))
        # Several patterns may be meant for one slot: the last of them stays. Places beyond the slots are dropped.
        last = torch.full((len(rows), slots + 1), -1, device=rows.device)
        last = last.scatter_reduce(1, place.clamp(max=slots), items.expand_as(place), "amax")[:, :-1, None]
        new = rows.to(old).take_along_dim(last.clamp(min=0), 1)
        return {"slots": torch.where(last >= 0, new, old), "written": state["written"] + patterns.shape[1]}

    def filled(self, state: State) -> Tensor:
        """Which slots hold a pattern: bool, (episodes, 1, slots), to be laid over scores (episodes, items, slots)."""
        places = torch.arange(state["slots"].shape[1], device=state["slots"].device)
        return places < state["written"][:, None, None]


class CodeMemory(SlotMemory):
    """Base class of memories whose rows are codes of single patterns: a query is answered by the nearest decoded one.

    With a mask, "nearest" means on the known values, and these are kept. Codes and decoder are meta-trained on the
    patterns alone; queries play no part in it.
    """

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Patterns (..., values) of codes (..., width)."""

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Decodes all slots and finds the nearest. Empty slots hold the pattern of code 0."""
        decoded = self.decode(state["slots"].to(queries))
        found = decoded.take_along_dim(nearest(queries, decoded, self.filled(state), mask), 1).view_as(queries)
        return keep_known(found.clamp(0, 1), queries, mask)[None]

    def meta_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor | None = None, keep: Keep = as_is) -> Tensor:
        """The squared error of the patterns as their codes have them, summed over values."""
        decoded = self.decode(keep({"slots": self.rows(patterns)})["slots"])
        return (decoded - patterns.flatten(2)).square().sum(-1).mean()


def scramble(x: Tensor) -> Tensor:
    """Hash of integers to integers below 2^32: multiplications, and shifts, of the low 32 bits."""
    low = 0xFFFFFFFF
    x = x & low
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) & low
    return x ^ (x >> 16)


def fingerprint(patterns: Tensor) -> Tensor:
    """Integers (episodes, items) that differ between patterns (episodes, items, *shape) of 256 grey levels."""
    values = (255 * patterns.detach().flatten(2)).round().long()
    return (values * scramble(torch.arange(1, values.shape[-1] + 1, device=values.device))).sum(-1)


def dot(queries: Tensor, stored: Tensor, known: Tensor | None = None) -> Tensor:
    """The inner product."""
    return (queries if known is None else queries * known) @ stored.mT


def cosine(queries: Tensor, stored: Tensor, known: Tensor | None = None) -> Tensor:
    """The cosine of the angle between them, from -1 to 1; 0 if one of them is zero."""
    counted = torch.ones_like(queries) if known is None else known.to(queries)
    norms = (counted * queries.square()).sum(-1, keepdim=True) * (counted @ stored.square().mT)
    return dot(queries, stored, known) * norms.clamp_min(torch.finfo(norms.dtype).tiny).rsqrt()


def euclidean(queries: Tensor, stored: Tensor, known: Tensor | None = None) -> Tensor:
    """Minus the squared Euclidean distance."""
    counted = torch.ones_like(queries) if known is None else known.to(queries)
    squares = (counted * queries.square()).sum(-1, keepdim=True) + counted @ stored.square().mT
    return 2 * dot(queries, stored, known) - squares


def manhattan(queries: Tensor, stored: Tensor, known: Tensor | None = None) -> Tensor:
    """Minus the sum of absolute differences; one query at a time, for a difference has d values for each slot."""
    distances = []
    for item, query in enumerate(queries.unbind(1)):
        differences = (query[:, None] - stored).abs()
        distances.append((differences if known is None else differences * known[:, item, None]).sum(-1))
    return -torch.stack(distances, dim=1)


SIMILARITIES = {"dot": dot, "cosine": cosine, "euclidean": euclidean, "manhattan": manhattan}
"""Functions from queries (episodes, items, d), stored patterns (episodes, slots, d) and `known`, bool like the queries,
True where a value counts (None: everywhere), to (episodes, items, slots): more is more alike."""


def nearest(queries: Tensor, stored: Tensor, filled: Tensor, mask: Tensor | None = None) -> Tensor:
    """The slot (episodes, items, 1), int64, whose pattern has the least squared distance to each query.

    Queries and mask are (episodes, items, *shape), stored patterns (episodes, slots, d). Only slots that are `filled`,
    (episodes, 1, slots), count; of an episode with none, the first is returned. Values that the mask says were
    corrupted do not count, unless all of a query are.
    """
    known = None if mask is None else ~informative(mask, 2).flatten(2)
    scores = euclidean(queries.flatten(2).double(), stored.double(), known)  # two squares that nearly cancel
    return scores.masked_fill(~filled, -torch.inf).argmax(-1, keepdim=True)
