"""More patterns than a memory was trained on: the error against the number stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from matplotlib.figure import Figure

from lightning_ebm.experiments.analysis import Analysis, Answer
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import measure
from lightning_ebm.metrics import unit as error_unit
from lightning_ebm.reporting.figures.lines import Lines, error_lines
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.training.trainer import Run


@dataclass
class CapacityConfig:
    """Settings of `Capacity`.

    Attributes:
        items: numbers of patterns to store.
    """

    items: list[int] = field(default_factory=lambda: [4, 8, 16, 32, 64, 128])


class Capacity(Analysis):
    """How the error grows with the number of patterns, beyond that of training.

    Args:
        items: as in `CapacityConfig`.

    Raises:
        ValueError: if a number is less than 1.
    """

    config = CapacityConfig

    def __init__(self, items: list[int]) -> None:
        if not items or min(items) < 1:
            raise ValueError(f"analysis.items must be numbers of patterns from 1, got {items}")
        self.items = sorted(items)

    @classmethod
    def from_config(cls, config: CapacityConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.items)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`."""
        lines: Lines = {}
        rows = []
        for label, run in runs.items():
            for items in self.items:
                found = measure(run.memory, test_loader(run, items), run.data.source.spec, device=run.device)
                point = mean_and_band(found.error_corrupted)
                lines.setdefault(label, []).append((items, *point))
                rows.append([label, run.config.episodes.items, items, *point, found.exact])
        unit = error_unit(next(iter(runs.values())).data.source.spec)

        def figure(dark: bool) -> Figure:
            return error_lines(lines, "patterns stored", unit, dark, xscale="log")

        return Answer(
            "More patterns than trained on",
            f"Error on corrupted values ({unit}) against the number of patterns stored; the mask is unknown. Lines are"
            " means, bands reach from the 5th to the 95th percentile of test episodes.",
            ["memory", "trained on", "stored", "error", "5th percentile", "95th percentile", "recalled exactly"],
            rows,
            figure,
        )
