"""What was measured, as plain data: a number has one shape from measuring it to showing it, the `Record`."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import importlib
import math
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from lightning_ebm.config import BOOLEANS, ConfigError
from lightning_ebm.reporting.published import Point, Published
from lightning_ebm.reporting.table import count, three_digits, write_rows

CONTROL = "control"
"""`Record.memory` of a row that measures no memory."""
QUERY = "query itself"
"""Role and label of the control that answers with the query."""
PRIOR = "prior state"
"""Role of the control that reads a state into which nothing was written; it ends the label of such a row."""
EXACT = "exact slots"
"""Role of the control whose slots are filled without writing by gradient; it ends the label of such a row."""

Item = TypeVar("Item")
Key = TypeVar("Key")
Measure = Literal["error_corrupted", "error"]
MEASURES: dict[Measure, str] = {"error_corrupted": "error on corrupted values", "error": "error on all values"}


@dataclass(frozen=True)
class Metric:
    """How tables show a field of `Record`."""

    head: str
    """Of its column; may have line breaks."""
    meaning: str
    """Definition, for "How to read this"."""
    form: Callable[[float], str] = "{:,.0f}".format
    """Value to text."""
    value: Callable[[Record], float] | None = None
    """What is shown and sorted by; NaN: a dash; None: the field itself."""
    note: Callable[[Record], str] = lambda record: ""
    """Small print below the value; empty: none."""
    brief: bool = False
    """Whether it is also shown in a terminal."""


def metric(default: Any, *shown: Any, **more: Any) -> Any:
    """A field of `Record` that tables show: its default, then the fields of `Metric`."""
    return field(default=default, metadata={"metric": Metric(*shown, **more)})


@dataclass(frozen=True, kw_only=True)
class Record:
    """One memory, or control, in one test setting.

    Fields that identify the row come first, then what was measured. `error` and `error_corrupted` hold one value for
    each test episode, which is averaged over its patterns; a record read from cells.csv holds their mean only.
    """

    label: str = ""
    """Name of the table's row."""
    series: str = ""
    """Line of a figure that the row is a point of: rows that differ only in the size of their state share it."""
    role: str = ""
    """What a control measures, `PRIOR`, `EXACT` or `QUERY`; empty for a memory."""
    memory: str = ""
    """Registered name of the memory, or `CONTROL`."""
    items: int = 0
    """Patterns stored in each episode."""
    mask_known: bool = False
    """Whether the memory was given the mask of corrupted values."""
    precision: str = "float32"
    """How the state was kept between writing and reading, as in `schema.PRECISIONS`."""
    data: str = ""
    """Name of the data set."""
    distortion: str = ""
    """Name of the distortion, with its settings."""
    unit: str = ""
    """Unit of the errors, as in `metrics.unit`."""
    seed: int = 0
    """Seed of the parameters."""
    seeds: int = 1
    """Number of seeds that were pooled; the errors of the first seed's episodes come first."""
    cell: str = ""
    """Name of the run's folder; of pooled seeds, all of them, separated by blanks."""
    commit: str = ""
    """Commit of the code that measured."""
    error_corrupted: list[float] = field(default_factory=list)
    """Error of each test episode, averaged over its patterns, on the corrupted values; in `unit`."""
    error: list[float] = field(default_factory=list)
    """The same, on all values."""
    floats: int = metric(
        0, "floats", "Values of 32 bits in the written state, the only path from an episode to reading. The strict "
        "count, given where it differs from the literature's, adds everything else that reading needs per episode.",
        value=lambda record: math.nan if record.is_control else record.floats, brief=True,
        note=lambda record: "" if record.floats_strict == record.floats or record.is_control
        else f"(strict {record.floats_strict:,})",
    )  # fmt: skip
    """Size of the state of one episode in float32 values, as the literature counts."""
    floats_strict: int = 0
    """The same, of everything in that state."""
    bits: int = metric(
        0, "bits per\npattern", "Bits of the written state, at the precision it was kept in, divided by the number of "
        "stored patterns.", value=lambda record: math.nan if record.is_control else record.bits_per_pattern,
    )  # fmt: skip
    """Bits of the state of one episode, as the literature counts, at `precision`."""
    write_ms: float = metric(0.0, "write\nms", "Median milliseconds to write one episode.", three_digits)
    read_ms: float = metric(
        0.0, "read\nms", "Median milliseconds to read all queries of one episode.", three_digits, brief=True
    )
    exact: float = metric(
        math.nan, "recalled\nexactly", "Share of patterns without a wrong value; of grey and colour images, without a "
        "visible error.", "{:.1%}".format,
    )  # fmt: skip
    """As `metrics.recalled` counts."""
    mse: float = metric(
        math.nan, "PSNR\ndB", "Peak signal-to-noise ratio of the answers.",
        lambda value: f"{value:.1f}" if math.isfinite(value) else "∞", lambda record: record.psnr,
    )  # fmt: skip
    """Squared error of a value, averaged over all values of all episodes."""
    ssim: float = metric(math.nan, "SSIM", "Structural similarity of the answers to the patterns.", "{:.3f}".format)
    """Structural similarity, averaged over all patterns; NaN where patterns are not images."""
    updates: int = metric(0, "updates", "Steps of meta-training.", count)
    """0 for a memory that is not trained."""
    train_seconds: float = metric(0.0, "training\nseconds", "Seconds of meta-training.", three_digits)
    parameters: int = metric(
        0, "parameters", "Values found by meta-training, which all episodes share. They are not part of the state.",
        count,
    )  # fmt: skip

    @property
    def is_control(self) -> bool:
        """Whether it measures no memory; such rows do not compete."""
        return self.memory == CONTROL

    @property
    def setting(self) -> tuple[int, bool]:
        """What it was tested with, (items, mask_known): only rows of one setting compare."""
        return self.items, self.mask_known

    @property
    def episodes(self) -> int:
        """Number of test episodes."""
        return len(self.error)

    @property
    def bits_per_pattern(self) -> float:
        """Bits of state for each stored pattern."""
        return self.bits / self.items

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in decibels, of the mean squared error; infinite without an error."""
        return -10 * math.log10(self.mse) if self.mse else math.inf

    def band(self, measure: Measure = "error_corrupted") -> tuple[float, float, float]:
        """Mean, 5th and 95th percentile of the error over the test episodes."""
        return mean_and_band(getattr(self, measure))

    def mean(self, measure: Measure = "error_corrupted") -> float:
        """Mean error over the test episodes."""
        return self.band(measure)[0]

    def by_seed(self, measure: Measure = "error_corrupted") -> list[float]:
        """Mean error of each seed."""
        return [float(np.mean(part)) for part in np.split(np.array(getattr(self, measure)), self.seeds)]

    def spread(self, measure: Measure = "error_corrupted") -> float:
        """Half the 95 % interval of the mean error over seeds; NaN for one seed."""
        return spread(self.by_seed(measure))

    def to_plain(self) -> dict[str, Any]:
        """Its fields, as JSON keeps them."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_plain(values: dict[str, Any]) -> Record:
        """The record of `to_plain`, or of an older version's file.

        Raises:
            TypeError, KeyError, ValueError: if these are not the fields of a record, or of other types.
        """
        if missing := {"role", "memory", "items", "error", "error_corrupted"} - values.keys():
            raise KeyError(f"a record needs {', '.join(sorted(missing))}")
        record = Record(**values)
        for name, kind in KINDS.items():
            value, is_list = getattr(record, name), kind == list[float]
            if type(value) is not (list if is_list else kind) or (is_list and any(type(x) is not float for x in value)):
                raise TypeError(f"{name} must be a {kind}")
        if not record.error or len(record.error) != len(record.error_corrupted):
            raise ValueError("error and error_corrupted must have a value for each episode")
        return record


METRICS: dict[str, Metric] = {
    one.name: one.metadata["metric"] for one in dataclasses.fields(Record) if "metric" in one.metadata
}
"""Field -> how tables show it, in the order of their columns."""


def mean_and_band(values: list[float]) -> tuple[float, float, float]:
    """Mean, 5th and 95th percentile over test episodes: the paper's error bars."""
    with np.errstate(invalid="ignore"):  # between infinite errors there is no percentile: NaN is the right answer
        low, high = np.percentile(values, [5, 95])
    return float(np.mean(values)), float(low), float(high)


def spread(by_seed: list[float]) -> float:
    """Half the 95 % interval of the mean over seeds, by Student's t; NaN for less than two seeds."""
    if len(by_seed) < 2:
        return math.nan
    return students_t(len(by_seed) - 1) * float(np.std(by_seed, ddof=1)) / math.sqrt(len(by_seed))


def students_t(freedom: int, probability: float = 0.95) -> float:
    """The value that |t| stays below with a probability.

    With t = √freedom · tan a, the density of the angle a is proportional to cos(a)^(freedom - 1): Gauss's quadrature.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)

    def within(angle: float) -> float:
        return angle * float(weights @ np.cos(angle * (1 + nodes) / 2) ** (freedom - 1))

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < probability * within(math.pi / 2) else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """The items of each key, in the order in which keys first occur."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def by_setting(records: Iterable[Record]) -> dict[tuple[int, bool], list[Record]]:
    """The records of each setting (items, mask_known), those without the mask first."""
    return grouped(sorted(records, key=lambda one: one.setting[::-1]), lambda one: one.setting)


def best(records: Iterable[Record]) -> list[Record]:
    """The memories of least error on corrupted values: several if they tie, none if all diverged; no controls."""
    means = [(record.mean(), record) for record in records if not record.is_control]
    least = min((value for value, _ in means if math.isfinite(value)), default=math.nan)
    return [record for value, record in means if value == least]


def size_lines(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The memories that have a size, by the line they are points of, along it."""
    sized = (record for record in records if not record.is_control and record.floats)
    lines = grouped(sized, lambda record: record.series or record.label)
    return {name: sorted(line, key=lambda record: record.floats) for name, line in lines.items()}


def has_size_sweep(records: Iterable[Record]) -> bool:
    """Whether any memory was tried in several sizes."""
    return any(len({record.floats for record in line}) > 1 for line in size_lines(records).values())


def pooled(records: Iterable[Record]) -> list[Record]:
    """Records that differ only in their seed, as one: all episodes together, the mean of what is measured as float."""
    same = attrgetter("label", "memory", "setting", "precision", "data", "distortion", "episodes")
    together = []
    for members in grouped(records, same).values():
        changes: dict[str, Any] = {"seeds": len(members), "cell": " ".join(dict.fromkeys(one.cell for one in members))}
        for name, kind in KINDS.items():
            values = [getattr(member, name) for member in members]
            if kind == list[float]:
                changes[name] = [value for one in values for value in one]
            elif kind is float:
                changes[name] = float(np.mean(values))
        together.append(dataclasses.replace(members[0], **changes))
    return together


KINDS: dict[str, Any] = typing.get_type_hints(Record)
"""Field -> its type."""
PREFIXES = {"error": "error", "error_corrupted": "corrupted"}
"""Field -> how its columns begin in the flat table."""
NEEDED = {
    *("label", "series", "memory", "items", "mask_known", "floats", "error_mean", "corrupted_mean"),
    *("unit", "data", "distortion", "seed", "cell"),
}
"""Columns without which a file is no cells.csv; that of an older version may lack others."""


def row(record: Record) -> dict[str, str | int | float | bool]:
    """One line of the flat table: the fields of `Record`, errors as mean and percentiles, then what is derived."""
    values = {name: getattr(record, name) for name in KINDS if name not in PREFIXES}
    for name, prefix in PREFIXES.items():
        numbers = mean_and_band(getattr(record, name))
        values |= {f"{prefix}_{part}": value for part, value in zip(("mean", "p5", "p95"), numbers, strict=True)}
    return values | {name: getattr(record, name) for name in ("episodes", "bits_per_pattern", "psnr")}


COLUMNS = tuple(row(Record(items=1, error=[0.0], error_corrupted=[0.0])))
"""Columns of results.csv and cells.csv."""


def write_csv(records: Iterable[Record], path: Path) -> None:
    """Writes the flat table, one line for each record."""
    write_rows(path, COLUMNS, (row(record).values() for record in records))


def write_cells(records: Sequence[Record], folder: Path) -> None:
    """Writes every record of every cell, seeds apart: cells.csv, and cells.parquet where PyArrow is installed."""
    write_csv(records, folder / "cells.csv")
    with contextlib.suppress(ModuleNotFoundError):
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
        parquet.write_table(arrow.Table.from_pylist([row(record) for record in records]), folder / "cells.parquet")


def read_csv(path: Path) -> list[Record]:
    """The records of a cells.csv, of this version or an older one; of their errors, the means only.

    Raises:
        ConfigError: if it cannot be read, or is not such a file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {path}: {reason}; `lightning-ebm compare` writes it") from None
    if not lines or not lines[0].keys() >= NEEDED or any(None in line or None in line.values() for line in lines):
        raise ConfigError(f"{path} must be a cells.csv with the columns {', '.join(sorted(NEEDED))}")
    records = []
    for number, line in enumerate(lines, start=2):
        values: dict[str, Any] = {}
        try:
            for name, kind in KINDS.items():
                if name in PREFIXES:
                    values[name] = [float(line[f"{PREFIXES[name]}_mean"])]
                elif name in line:
                    values[name] = BOOLEANS.get(line[name].lower()) if kind is bool else kind(line[name])
                    if values[name] is None:
                        raise ValueError(f"{name} must be true or false, got {line[name]!r}")
            if values["items"] < 1 or values["floats"] < 0:
                raise ValueError(
                    f"items must be at least 1 and floats at least 0, got {line['items']}, {line['floats']}"
                )
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        if values["memory"] == CONTROL and not values.get("role"):
            values["role"] = QUERY if values["label"] == QUERY else PRIOR
        records.append(Record(**values))
    return records


class Recall(NamedTuple):
    """What a memory recalled of a test episode, or of its first patterns. All but energies are values in [0, 1]."""

    patterns: np.ndarray
    """(items, *shape)."""
    queries: np.ndarray
    """The same, corrupted."""
    trajectory: np.ndarray
    """(steps, items, *shape); the last step is the answer."""
    energies: np.ndarray | None = None
    """Of pattern, query and each step, (2 + steps, items); None without an energy."""


@dataclass(frozen=True)
class Comparison:
    """Everything that one `compare` found."""

    title: str
    """What was compared, in a few words."""
    unit: str
    """Of the errors, such as "wrong bits of 128"."""
    results: list[Record]
    """One for each memory, number of items, and mask setting."""
    gallery: dict[str, Recall]
    """Label -> what this row recalled of one test episode, the same for all; empty: nothing is shown."""
    config: str
    """The resolved configuration, as YAML text."""
    provenance: dict[str, str]
    """Command line, versions, commit, hardware, seed, date: name to value."""
    curves: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)
    """How rows were trained: label -> (update, seconds until then, error on the validation episodes in `unit`)."""
    failed: dict[str, str] = field(default_factory=dict)
    """Rows that could not be finished, and why: label to message."""
    runs: dict[str, str] = field(default_factory=dict)
    """Configuration of each run, as YAML text, by its folder's name, as in `Record.cell`."""
    published: Published | None = None
    """A paper's numbers, to lay over these."""

    @property
    def counts(self) -> list[int]:
        """The numbers of patterns that occur."""
        return sorted({record.items for record in self.results})

    @property
    def masks(self) -> list[bool]:
        """The values of `mask_known` that occur."""
        return sorted({record.mask_known for record in self.results})

    def published_lines(self, axis: str, measure: Measure = "error") -> dict[str, list[Point]]:
        """The lines of `published` along an axis; often none. They count all values, not the corrupted ones only."""
        found = self.published
        return found.named() if found and found.axis == axis and measure == "error" else {}
