"""Error against bits: what each memory recalls when its state is kept at lower precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from matplotlib.figure import Figure

from lightning_ebm.experiments.analysis import Analysis, Answer
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import measure
from lightning_ebm.metrics import unit
from lightning_ebm.reporting.figures.lines import Lines, error_lines
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.schema import PRECISIONS
from lightning_ebm.training.trainer import Run


@dataclass
class RateConfig:
    """Settings of `Rate`.

    Attributes:
        precisions: how states are kept: float32, float16, int8, int4.
    """

    precisions: list[str] = field(default_factory=lambda: list(PRECISIONS))


class Rate(Analysis):
    """The error against bits of state for each pattern, and for each of its values.

    For random bits, the bound of rate-distortion theory is drawn in: n (1 - H(e / n)) bits for each pattern of n bits
    that is recalled with e of them wrong, H being the binary entropy (Shannon 1959). It holds for what is
    known from the state alone; the intact part of a query tells n - c further bits, c of them corrupted, so that the
    line is that for c bits of which e are wrong.

    Args:
        precisions: as in `RateConfig`.

    Raises:
        ValueError: if one is unknown.
    """

    config = RateConfig

    def __init__(self, precisions: list[str]) -> None:
        if not precisions or not set(precisions) <= set(PRECISIONS):
            raise ValueError(f"analysis.precisions must be some of {', '.join(PRECISIONS)}, got {precisions}")
        self.precisions = precisions

    @classmethod
    def from_config(cls, config: RateConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.precisions)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`."""
        spec = next(iter(runs.values())).data.source.spec
        lines: Lines = {}
        rows = []
        for label, run in runs.items():
            items = run.config.episodes.items
            for precision in self.precisions:
                found = measure(run.memory, test_loader(run, items), spec, precision=precision, device=run.device)
                point = mean_and_band(found.error_corrupted)
                bits = found.bits / items
                lines.setdefault(label, []).append((bits, *point))
                rows.append([label, precision, found.bits, bits, bits / spec.size, *point])
        if next(iter(runs.values())).config.data.name == "bits":
            lines["least for random bits"] = bound(next(iter(runs.values())))

        def figure(dark: bool) -> Figure:
            return error_lines(lines, "bits of state for each pattern", unit(spec), dark, xscale="log")

        heads = ["memory", "precision", "bits", "bits per pattern", "bits per value"]
        return Answer(
            "Error against bits",
            f"Error on corrupted values ({unit(spec)}) when the state is kept at lower precision, against its bits for"
            " each pattern (scales included). The mask is unknown.",
            [*heads, "error", "5th percentile", "95th percentile"],
            rows,
            figure,
        )


def bound(run: Run) -> list[tuple[float, float, float, float]]:
    """Bits for each pattern that its corrupted bits need at least, against how many of them stay wrong."""
    corrupted = float(np.mean([batch.mask.flatten(2).sum(2).float().mean() for batch in test_loader(run, 4)]))
    share = np.linspace(0.001, 0.45, 40)
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    wrong, bits = (corrupted * share).tolist(), (corrupted * (1 - entropy)).tolist()
    return [(rate, errors, errors, errors) for rate, errors in zip(bits, wrong, strict=True)]
