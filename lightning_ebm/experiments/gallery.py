"""What a memory recalls of one episode, and the energies on the way there."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from lightning_ebm.data.episodes import Episode
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.metrics import to_numpy


def recalled(
    memory: AssociativeMemory, episode: Episode, shown: int, mask_known: bool = False
) -> dict[str, np.ndarray]:
    """Writes the first episode of a batch and reads its first `shown` queries.

    Args:
        memory: any memory; it is not changed.
        episode: a batch of at least one.
        shown: how many queries.
        mask_known: tell the memory which values were distorted.

    Returns:
        `patterns` and `queries`, (shown, *shape); `trajectory`, (steps, shown, *shape); and, of a memory that has
        energies, `energies` of pattern, query and each step, (2 + steps, shown).
    """
    patterns, queries = episode.patterns[:1], episode.queries[:1, :shown]
    mask = episode.mask[:1, :shown] if mask_known else None
    with torch.no_grad():
        state = memory.write(patterns)
        trajectory = memory.read(state, queries, mask)
        found = {"patterns": patterns[0, :shown], "queries": queries[0], "trajectory": trajectory[:, 0]}
        with contextlib.suppress(NotImplementedError):
            points = [patterns[:, :shown], queries, *trajectory]
            found["energies"] = torch.stack([memory.energy(state, point)[0] for point in points])
    return {name: to_numpy(values) for name, values in found.items()}
