"""Measures a memory: test episodes in, errors, sizes and times out; and what it recalls of one episode."""

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from statistics import mean, median
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_ebm.data.episodes import Episode
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State
from lightning_ebm.metrics import pattern_errors, recalled, similarity, to_numpy, unit
from lightning_ebm.quantization import rounded, state_bits
from lightning_ebm.reporting.record import Recall, Record

T = TypeVar("T")
Written = list[tuple[State, float]]
"""For each batch of test episodes, the written state and the milliseconds per episode."""
CPU = torch.device("cpu")
KEPT = 2**28
"""Most bytes of states kept for reading again in other settings."""


def measure(
    memory: AssociativeMemory,
    batches: Iterable[Episode],
    spec: PatternSpec,
    *,
    mask_known: bool = False,
    nothing_written: bool = False,
    precision: str = "float32",
    written: Written | None = None,
    device: torch.device = CPU,
) -> Record:
    """Writes and reads each episode. The record has no label yet.

    Args:
        memory: any memory, on the CPU; it is not changed.
        batches: the test episodes.
        spec: kind of the patterns.
        mask_known: give the memory the mask of corrupted values.
        nothing_written: read from the unwritten state instead: what the reader can do without memory.
        precision: keep the state at this precision between writing and reading.
        written: states that an earlier measurement of the same memory and episodes wrote, to be reused; filled up to
            `KEPT`.
        device: where to measure.

    Raises:
        ValueError: if the memory recalls something that is not finite.
    """
    found: dict[str, list[float]] = defaultdict(list)  # field of the record -> a number for each episode or batch
    state: State = {}
    with torch.no_grad(), placed(memory, device):
        for index, loaded in enumerate(batches):
            batch = loaded.to(device)
            episodes = len(batch.patterns)
            if nothing_written:
                state, milliseconds = memory.initial_state(episodes), 0.0
            elif written and index < len(written):
                state, milliseconds = written[index]
            else:
                state, milliseconds = timed(memory.write, batch.patterns)
                milliseconds /= episodes
                size = (index + 1) * sum(tensor.nbytes for tensor in state.values())
                if written is not None and index == len(written) and size <= KEPT:
                    written.append((state, milliseconds))
            found["write_ms"].append(milliseconds)
            state = rounded(state, precision)
            trajectory, milliseconds = timed(memory.read, state, batch.queries, batch.mask if mask_known else None)
            found["read_ms"].append(milliseconds / episodes)
            answer = trajectory[-1]
            if not answer.isfinite().all():
                raise ValueError(f"{type(memory).__name__} recalled values that are not finite")
            found["error"] += per_episode(pattern_errors(answer, batch.patterns, spec))
            found["error_corrupted"] += per_episode(pattern_errors(answer, batch.patterns, spec, batch.mask))
            found["mse"] += per_episode((answer - batch.patterns).square().flatten(2).mean(2))
            found["ssim"] += per_episode(similarity(answer, batch.patterns))
            found["exact"] += per_episode(recalled(answer, batch.patterns, spec))
    literature, strict = count_floats(memory, state)
    return Record(
        items=batch.patterns.shape[1],
        mask_known=mask_known,
        unit=unit(spec),
        error=found["error"],
        error_corrupted=found["error_corrupted"],
        floats=literature,
        floats_strict=strict,
        write_ms=median(found["write_ms"]),
        read_ms=median(found["read_ms"]),
        precision=precision,
        bits=state_bits(memory, state, precision),
        mse=mean(found["mse"]),
        ssim=mean(found["ssim"]),
        exact=mean(found["exact"]),
    )


def recall_first(memory: AssociativeMemory, episode: Episode, shown: int, mask_known: bool = False) -> Recall:
    """Writes the first episode of a batch and reads its first `shown` queries, with the mask or without."""
    patterns, queries = episode.patterns[:1], episode.queries[:1, :shown]
    mask = episode.mask[:1, :shown] if mask_known else None
    with torch.no_grad(), placed(memory, CPU):
        state = memory.write(patterns)
        trajectory = memory.read(state, queries, mask)
        energies = None
        with contextlib.suppress(NotImplementedError):
            points = [patterns[:, :shown], queries, *trajectory]
            energies = to_numpy(torch.stack([memory.energy(state, point)[0] for point in points]))
    return Recall(to_numpy(patterns[0, :shown]), to_numpy(queries[0]), to_numpy(trajectory[:, 0]), energies)


@contextlib.contextmanager
def placed(memory: AssociativeMemory, device: torch.device) -> Iterator[None]:
    """In the block, the memory is on this device and in evaluation mode; after it, on the CPU and in its own mode."""
    trains = memory.training
    try:
        memory.to(device).eval()
        yield
    finally:
        memory.to(CPU).train(trains)


def count_floats(memory: AssociativeMemory, state: State) -> tuple[int, int]:
    """Size of one episode's state in words of 32 bits, rounded up.

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
