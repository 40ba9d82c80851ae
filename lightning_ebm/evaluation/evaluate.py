"""Measuring a memory: test episodes in, errors, sizes and times out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_ebm.data.episodes import Episode
from lightning_ebm.evaluation.metrics import pattern_errors
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State

T = TypeVar("T")


@dataclass(frozen=True)
class Measurement:
    """What a memory did on a set of episodes.

    Attributes:
        error: error of each episode, averaged over its patterns, on all values; in `metrics.unit`.
        error_corrupted: the same, on the distorted values only.
        floats: float32 values in the state of one episode, as the literature counts them.
        floats_strict: the same, of everything in that state.
        write_ms: median milliseconds to write one episode.
        read_ms: median milliseconds to read all queries of one episode.
    """

    error: list[float]
    error_corrupted: list[float]
    floats: int
    floats_strict: int
    write_ms: float
    read_ms: float


def measure(
    memory: AssociativeMemory,
    batches: Iterable[Episode],
    spec: PatternSpec,
    *,
    mask_known: bool = False,
    nothing_written: bool = False,
) -> Measurement:
    """Writes and reads each episode.

    Args:
        memory: any memory; it is not changed.
        batches: the test episodes.
        spec: kind of the patterns.
        mask_known: tell the memory which values were distorted.
        nothing_written: read from the unwritten state instead: what the reader can do without memory.

    Raises:
        ValueError: if the memory recalls something that is not finite.
    """
    errors: list[float] = []
    corrupted: list[float] = []
    write_ms: list[float] = []
    read_ms: list[float] = []
    state: State = {}
    with torch.no_grad():
        for batch in batches:
            episodes = len(batch.patterns)
            if nothing_written:
                state = memory.initial_state(episodes)
                write_ms.append(0.0)
            else:
                state, milliseconds = timed(memory.write, batch.patterns)
                write_ms.append(milliseconds / episodes)
            mask = batch.mask if mask_known else None
            trajectory, milliseconds = timed(memory.read, state, batch.queries, mask)
            read_ms.append(milliseconds / episodes)
            answer = trajectory[-1]
            if not answer.isfinite().all():
                raise ValueError(f"{type(memory).__name__} recalled values that are not finite")
            errors += per_episode(pattern_errors(answer, batch.patterns, spec))
            corrupted += per_episode(pattern_errors(answer, batch.patterns, spec, batch.mask))
    literature, strict = count_floats(memory, state)
    return Measurement(errors, corrupted, literature, strict, median(write_ms), median(read_ms))


def query_error(batches: Iterable[Episode], spec: PatternSpec) -> tuple[list[float], list[float]]:
    """Errors of the queries themselves, on all and on distorted values: what a memory starts from."""
    errors: list[float] = []
    corrupted: list[float] = []
    for batch in batches:
        errors += per_episode(pattern_errors(batch.queries, batch.patterns, spec))
        corrupted += per_episode(pattern_errors(batch.queries, batch.patterns, spec, batch.mask))
    return errors, corrupted


def count_floats(memory: AssociativeMemory, state: State) -> tuple[int, int]:
    """Size of one episode's state in float32 values, that is, in words of 32 bits of whatever it holds, rounded up.

    Returns:
        As the literature counts (without bookkeeping), and all of it.
    """
    sizes = {name: tensor[0].nbytes for name, tensor in state.items()}
    counted = sum(size for name, size in sizes.items() if name not in memory.bookkeeping)
    return math.ceil(counted / 4), math.ceil(sum(sizes.values()) / 4)


def per_episode(errors: Tensor) -> list[float]:
    """Errors (episodes, items) averaged over items."""
    means: list[float] = errors.double().mean(1).tolist()
    return means


def timed(work: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """What `work(*arguments)` returns, and the milliseconds it took."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = work(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, 1000 * (time.perf_counter() - start)
