"""How alike queries and stored patterns are, on all values or on the known ones alone.

Each function takes queries (episodes, items, d), stored patterns (episodes, slots, d) and `known`, bool like the
queries, True where a value counts (None: everywhere), and returns (episodes, items, slots): more is more alike.
"""

from __future__ import annotations

import torch
from torch import Tensor


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


def nearest(queries: Tensor, stored: Tensor, filled: Tensor, mask: Tensor | None = None) -> Tensor:
    """The slot (episodes, items), int64, whose pattern has the least squared distance to each query.

    Queries and mask are (episodes, items, *shape), stored patterns (episodes, slots, d). Only slots that are `filled`,
    (episodes, 1, slots), count; of an episode with none, the first is returned. Values that the mask says were
    corrupted do not count.
    """
    scores = euclidean(queries.flatten(2), stored, None if mask is None else ~mask.flatten(2))
    return scores.masked_fill(~filled, -torch.inf).argmax(-1)


def pick(stored: Tensor, index: Tensor) -> Tensor:
    """Rows (episodes, items, d) of stored patterns (episodes, slots, d) at index (episodes, items)."""
    return stored.gather(1, index[:, :, None].expand(-1, -1, stored.shape[-1]))
