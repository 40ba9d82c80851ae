"""What a comparison found, as plain data: the one thing that tables, plots and the report are made from."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import importlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lightning_ebm.reporting.published import Published

CONTROL = "control"  # what `Result.memory` says of a row that stores nothing
QUERY = "query itself"  # the label of the control that answers with the query


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
        series: the line of a figure that the row is a point of: rows that differ in the size of their state
            only share it.
        precision: how the state was kept, as in `schema.PRECISIONS`.
        bits: bits of the state of one episode, as the literature counts, at that precision.
        mse: squared error of a value, averaged over all values of all episodes.
        ssim: structural similarity of images, averaged over all patterns; NaN where patterns are no images.
        exact: share of patterns that were recalled, as in `metrics.recalled`.
        unit: what errors count, as in `metrics.unit`.
        data: name of the data set.
        distortion: name of the distortion.
        seed: seed of the parameters.
        cell: name of the run's folder; of several seeds that were pooled, all of them with blanks between.
        commit: commit of the code that measured.
        error_by_seed: mean of `error` of each seed, where several were pooled.
        corrupted_by_seed: mean of `error_corrupted` of each seed, where several were pooled.
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
    series: str = ""
    precision: str = "float32"
    bits: int = 0
    mse: float = math.nan
    ssim: float = math.nan
    exact: float = math.nan
    unit: str = ""
    data: str = ""
    distortion: str = ""
    seed: int = 0
    cell: str = ""
    commit: str = ""
    error_by_seed: list[float] = field(default_factory=list)
    corrupted_by_seed: list[float] = field(default_factory=list)

    @property
    def bits_per_pattern(self) -> float:
        """Bits of state for each stored pattern."""
        return self.bits / self.items

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in decibels, of the mean squared error; infinite without an error."""
        return -10 * math.log10(self.mse) if self.mse else math.inf


def mean_and_band(values: list[float]) -> tuple[float, float, float]:
    """Mean, 5th and 95th percentile over test episodes: the paper's error bars."""
    with np.errstate(invalid="ignore"):  # between infinite errors there is no percentile: NaN is the right answer
        low, high = np.percentile(values, [5, 95])
    return float(np.mean(values)), float(low), float(high)


def spread(by_seed: list[float]) -> float:
    """Half the 95 % interval of the mean over seeds, by Student's t; NaN for less than two seeds."""
    if len(by_seed) < 2:
        return math.nan
    quantiles = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
    t = quantiles[len(by_seed) - 2] if len(by_seed) <= 10 else 1.96
    return t * float(np.std(by_seed, ddof=1)) / math.sqrt(len(by_seed))


def pooled(results: Iterable[Result]) -> list[Result]:
    """Results that differ in their seed only, as one: episodes of all seeds together, times and sizes of the first."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        key = (
            *(result.label, result.memory, result.items, result.mask_known),
            *(result.precision, result.data, result.distortion),
        )
        groups.setdefault(key, []).append(result)
    together = []
    for members in groups.values():
        several = len(members) > 1
        together.append(
            dataclasses.replace(
                members[0],
                error=[error for member in members for error in member.error],
                error_corrupted=[error for member in members for error in member.error_corrupted],
                error_by_seed=[float(np.mean(member.error)) for member in members] if several else [],
                corrupted_by_seed=[float(np.mean(member.error_corrupted)) for member in members] if several else [],
                mse=float(np.mean([member.mse for member in members])),
                ssim=float(np.mean([member.ssim for member in members])),
                exact=float(np.mean([member.exact for member in members])),
                cell=" ".join(dict.fromkeys(member.cell for member in members)),
                train_seconds=float(np.mean([member.train_seconds for member in members])),
            )
        )
    return together


@dataclass(frozen=True)
class Recall:
    """What one memory recalled in the gallery's episode.

    Attributes:
        label: row name, as in `Result`.
        trajectory: (steps, items, *shape), values in [0, 1]; the last step is the answer.
        energies: of the stored pattern, the query and each step, (2 + steps, items); None without an energy.
    """

    label: str
    trajectory: np.ndarray
    energies: np.ndarray | None = None


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
        failed: rows that could not be finished, and why: label to message.
        runs: configuration of each run, as YAML text, by its folder's name, as in `Result.cell`.
        published: a paper's numbers, to lay over these; None: no such numbers.
    """

    title: str
    unit: str
    results: list[Result]
    gallery: Gallery | None
    command: str
    config: str
    provenance: dict[str, str] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    published: Published | None = None


COLUMNS = (
    "label", "memory", "items", "mask_known", "floats", "floats_strict", "bits_per_pattern",
    "error_mean", "error_p5", "error_p95", "corrupted_mean", "corrupted_p5", "corrupted_p95",
    "episodes", "write_ms", "read_ms", "updates", "train_seconds", "parameters",
    "series", "unit", "data", "distortion", "precision", "bits", "psnr", "ssim", "exact", "seed", "cell", "commit",
)  # fmt: skip


def row(result: Result) -> dict[str, str | int | float | bool]:
    """One flat row of the table, keyed by `COLUMNS`."""
    error, corrupted = mean_and_band(result.error), mean_and_band(result.error_corrupted)
    values = (
        result.label, result.memory, result.items, result.mask_known, result.floats, result.floats_strict,
        result.bits_per_pattern, *error, *corrupted, len(result.error), result.write_ms, result.read_ms,
        result.updates, result.train_seconds, result.parameters,
        result.series, result.unit, result.data, result.distortion, result.precision, result.bits,
        result.psnr, result.ssim, result.exact, result.seed, result.cell, result.commit,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def write_csv(results: Iterable[Result], path: Path) -> None:
    """Writes the flat table, one line for each result."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for result in results:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row(result).items()})


def write_cells(results: Iterable[Result], folder: Path) -> None:
    """Writes every result of every cell, seeds apart: cells.csv, and cells.parquet where PyArrow is installed."""
    results = list(results)
    write_csv(results, folder / "cells.csv")
    with contextlib.suppress(ModuleNotFoundError):
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
        parquet.write_table(arrow.Table.from_pylist([row(result) for result in results]), folder / "cells.parquet")
