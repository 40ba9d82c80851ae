"""What a comparison found, as plain data: the one thing that tables, plots and the report are made from."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Result:
    """One memory on one set of test episodes.

    Attributes:
        label: name of the table's row.
        memory: registered name of the memory, or "control".
        items: patterns stored in each episode.
        mask_known: whether the memory was told which values were distorted.
        floats: float32 values in the state, as the literature counts them.
        floats_strict: the same, with everything that reading needs per episode.
        error: error of each test episode, averaged over its patterns, on all values; in `Comparison.unit`.
        error_corrupted: the same, on the distorted values only.
        write_ms: median milliseconds to write one episode.
        read_ms: median milliseconds to read all queries of one episode.
        updates: meta-training updates; 0 for a memory that is not trained.
        train_seconds: seconds of meta-training.
        parameters: number of meta-trained values, which all episodes share.
    """

    label: str
    memory: str
    items: int
    mask_known: bool
    floats: int
    floats_strict: int
    error: list[float]
    error_corrupted: list[float]
    write_ms: float
    read_ms: float
    updates: int = 0
    train_seconds: float = 0.0
    parameters: int = 0

    @property
    def bits_per_pattern(self) -> float:
        """Bits of state for each stored pattern, at 32 bits a float."""
        return 32 * self.floats / self.items


def mean_and_band(values: list[float]) -> tuple[float, float, float]:
    """Mean, 5th and 95th percentile over test episodes: the paper's error bars."""
    with np.errstate(invalid="ignore"):  # between infinite errors there is no percentile: NaN is the right answer
        low, high = np.percentile(values, [5, 95])
    return float(np.mean(values)), float(low), float(high)


@dataclass(frozen=True)
class Recall:
    """What one memory recalled in the gallery's episode.

    Attributes:
        label: row name, as in `Result`.
        trajectory: (steps, items, *shape), values in [0, 1]; the last step is the answer.
    """

    label: str
    trajectory: np.ndarray


@dataclass(frozen=True)
class Gallery:
    """One test episode (or its first patterns), and what each memory made of it.

    Attributes:
        patterns: (items, *shape), values in [0, 1].
        queries: the same, distorted.
        recalls: one for each memory.
    """

    patterns: np.ndarray
    queries: np.ndarray
    recalls: list[Recall]


@dataclass(frozen=True)
class Curve:
    """How a memory learned.

    Attributes:
        label: row name, as in `Result`.
        points: (update, seconds of training until then, error on the validation episodes in `Comparison.unit`).
    """

    label: str
    points: list[tuple[int, float, float]]


@dataclass(frozen=True)
class Comparison:
    """Everything that one `compare` found.

    Attributes:
        title: what was compared, in a few words.
        unit: unit of the errors, such as "wrong bits of 128".
        results: one for each memory, number of items, and mask setting.
        gallery: recalled patterns; None where patterns are no pictures.
        command: the command line that made it.
        config: the resolved configuration, as YAML text.
        provenance: versions, commit, hardware, seed, date: name to value.
        curves: learning curves of the rows that were trained.
    """

    title: str
    unit: str
    results: list[Result]
    gallery: Gallery | None
    command: str
    config: str
    provenance: dict[str, str] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)


COLUMNS = (
    "label", "memory", "items", "mask_known", "floats", "floats_strict", "bits_per_pattern",
    "error_mean", "error_p5", "error_p95", "corrupted_mean", "corrupted_p5", "corrupted_p95",
    "episodes", "write_ms", "read_ms", "updates", "train_seconds", "parameters",
)  # fmt: skip


def row(result: Result) -> dict[str, str | int | float | bool]:
    """One flat row of the table, keyed by `COLUMNS`."""
    error, corrupted = mean_and_band(result.error), mean_and_band(result.error_corrupted)
    values = (
        result.label, result.memory, result.items, result.mask_known, result.floats, result.floats_strict,
        result.bits_per_pattern, *error, *corrupted, len(result.error), result.write_ms, result.read_ms,
        result.updates, result.train_seconds, result.parameters,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def write_csv(comparison: Comparison, path: Path) -> None:
    """Writes the flat table, one line for each result."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for result in comparison.results:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row(result).items()})
