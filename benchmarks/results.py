"""What a benchmark found, as flat rows."""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OURS = ("ours", "ours_by_episode", "ours_compiled")


@dataclass
class Row:
    """One contender in one case and setting. What was not measured is NaN.

    Attributes:
        case: name of the case.
        setting: order of the meta-gradient.
        contender: name of the contender.
        status: "waiting", "checked" or "timing" while under way; then "ok", "wrong", "not installed" or "failed".
        reason: why it is not "ok".
        error_float64: greatest difference from the reference at the small size, relative to each tensor's largest.
        error_float32: the same at full size.
        first_s: seconds of the first meta-step, compilation included.
        times: seconds of all timed meta-steps.
        peak_mib: highest memory above that before the first meta-step, MiB.
        level_mib: memory before the first meta-step, MiB.
        flops: operations of one meta-step, where they can be counted.
        gemm_flops_s: best speed of float32 matrix products on the same threads, FLOP/s.
        best_peer_s: least median of the others' tools, in this case and setting.
    """

    case: str
    setting: str
    contender: str
    status: str = "waiting"
    reason: str = ""
    error_float64: float = math.nan
    error_float32: float = math.nan
    first_s: float = math.nan
    times: list[float] = field(default_factory=list)
    peak_mib: float = math.nan
    level_mib: float = math.nan
    flops: float = math.nan
    gemm_flops_s: float = math.nan
    best_peer_s: float = math.nan

    @property
    def median_s(self) -> float:
        """Median of the timed meta-steps."""
        return statistics.median(self.times) if self.times else math.nan

    @property
    def share_of_peak(self) -> float:
        """Speed of the counted operations, over that of large matrix products."""
        return self.flops / self.median_s / self.gemm_flops_s

    @property
    def ratio_to_best_peer(self) -> float:
        """Median over that of the fastest of the others' tools: below 1 is faster."""
        return self.median_s / self.best_peer_s

    def flat(self) -> dict[str, Any]:
        """The row of bench.csv; spread is from least to greatest."""
        return {
            "case": self.case,
            "setting": self.setting,
            "contender": self.contender,
            "status": self.status,
            "reason": self.reason,
            "median_s": self.median_s,
            "low_s": min(self.times, default=math.nan),
            "high_s": max(self.times, default=math.nan),
            "rounds": len(self.times),
            "first_s": self.first_s,
            "peak_mib": self.peak_mib,
            "level_mib": self.level_mib,
            "flops": self.flops,
            "share_of_peak": self.share_of_peak,
            "ratio_to_best_peer": self.ratio_to_best_peer,
            "error_float64": self.error_float64,
            "error_float32": self.error_float32,
        }


@dataclass(frozen=True)
class GrowthRow:
    """Time of one contender at one value of one size.

    Attributes:
        contender: name of the contender.
        size: "items", "write_steps", "read_steps" or "episodes".
        value: of that size; all others are at the base.
        median_s: median time of a meta-step.
        slope: of log time against log value, over all values of this size: 1 is proportional.
    """

    contender: str
    size: str
    value: int
    median_s: float
    slope: float


def compare_peers(rows: Sequence[Row]) -> None:
    """Tells each row the best median of the others' tools, of those in its case and setting."""
    for row in rows:
        peers = [r for r in rows if (r.case, r.setting) == (row.case, row.setting) and r.contender not in OURS]
        row.best_peer_s = min((r.median_s for r in peers if r.times), default=math.nan)


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows of equal keys, at least one; what was not measured is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: cell(value) for key, value in row.items()})


def cell(value: Any) -> Any:
    """A float with six digits; nothing for NaN."""
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"
