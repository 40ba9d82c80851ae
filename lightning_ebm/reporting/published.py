"""Published numbers, laid over those of a comparison: `compare.paper_results`."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent.parent / "published"
PAPER = "Bartunov et al., Meta-Learning Deep Energy-Based Memory Models, ICLR 2020"
NAMES = {
    "figure3-omniglot": ("figure3.csv", "omniglot", f"{PAPER}, figure 3: 64 Omniglot images", "wrong pixels of 1024"),
    "figure3-cifar": (
        "figure3.csv",
        "cifar",
        f"{PAPER}, figure 3: 64 CIFAR images",
        "squared error, summed over the pattern",
    ),
    "table1": ("table1.csv", "", f"{PAPER}, table 1", "wrong bits of 128"),
}
"""Name -> its file, the data set there, where the numbers are from, what errors count, as `metrics.unit` says it."""
SIZES = ["dataset", "memory", "memory_size", "error_mean", "error_p5", "error_p95"]

Point = tuple[int, float, float, float]
"""Size of the state or number of patterns; mean, 5th and 95th percentile of the error."""


@dataclass(frozen=True)
class Published:
    """Lines of one figure or table of a paper. Errors are on all values; the mask is not stated."""

    source: str
    """Where the numbers are from, and what they count."""
    axis: Literal["floats", "items"]
    """What the points of a line differ in: floats of the state, or number of stored patterns."""
    lines: dict[str, list[Point]]
    """Memory -> points along the axis. What is not published is NaN."""
    items: int = 0
    """Stored patterns of all points where the axis is floats; 0 where that is not known."""
    unit: str = ""
    """What errors count, as `metrics.unit` says it; empty where that is not known."""

    def check(self, unit: str) -> None:
        """A ValueError if errors of this unit are no errors of the same patterns."""
        if self.unit and self.unit != unit:
            raise ValueError(f"its errors are {self.unit}, and these are {unit}")

    def named(self) -> dict[str, list[Point]]:
        """The lines, under names that distinguish them from one's own."""
        return {f"{label}, published": points for label, points in self.lines.items()}


def published(name: str) -> Published:
    """The numbers that a setting `paper_results` names: one of `NAMES`, or the path of a CSV file.

    Its columns are `SIZES`, for one data set, or memory, then numbers of patterns.

    Raises:
        ValueError: if there is no such name or file, or the file has other columns or holds no numbers.
    """
    if name not in NAMES and not name.endswith(".csv"):
        raise ValueError(f"must be one of {', '.join(NAMES)}, or a CSV file, got {name!r}")
    file, dataset, source, unit = NAMES.get(name, (name, "", Path(name).name, ""))
    source += f": {unit}" if unit else ""
    path = FOLDER / file if name in NAMES else Path(file)
    try:
        with path.open(newline="", encoding="utf-8") as opened:
            head, *rows = csv.reader(opened)
        if head == SIZES:
            rows = [row for row in rows if not dataset or row[0] == dataset]
            if len({row[0] for row in rows}) > 1:
                raise ValueError("it must hold one data set only")
            lines: dict[str, list[Point]] = {}
            for _, memory, size, *errors in rows:
                mean, low, high = map(value, errors)
                if int(size) < 1:
                    raise ValueError(f"memory_size must be at least 1, got {size}")
                lines.setdefault(memory, []).append((int(size), mean, low, high))
            along = {memory: sorted(points) for memory, points in lines.items()}
            return Published(source, "floats", along, 64 if name in NAMES else 0, unit)
        if head[:1] == ["memory"] and len(head) > 1 and all(count.isdigit() for count in head[1:]):
            counts = [int(count) for count in head[1:]]
            cells = {row[0]: zip(counts, row[1:], strict=True) for row in rows}
            lines = {label: [(n, value(text), math.nan, math.nan) for n, text in row] for label, row in cells.items()}
            return Published(source, "items", lines, unit=unit)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    raise ValueError(f"the columns of {path} must be {','.join(SIZES)}, or memory and numbers of patterns")


def value(text: str) -> float:
    """A number; NaN for an empty cell."""
    return float(text) if text.strip() else math.nan
