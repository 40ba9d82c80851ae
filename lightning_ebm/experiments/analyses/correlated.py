"""Correlated episodes: all patterns of few classes, such as alphabets or scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from matplotlib.figure import Figure

from lightning_ebm.experiments.analysis import Analysis, Answer
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import measure
from lightning_ebm.metrics import unit
from lightning_ebm.reporting.figures.lines import error_bars
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.training.trainer import Run


@dataclass
class CorrelatedConfig:
    """Settings of `Correlated`.

    Attributes:
        classes: numbers of classes that an episode's patterns come from; 0: from all of the test split.
    """

    classes: list[int] = field(default_factory=lambda: [0, 4, 2, 1])


class Correlated(Analysis):
    """The error when the patterns of an episode are alike.

    Args:
        classes: as in `CorrelatedConfig`.

    Raises:
        ValueError: if a number is negative.
    """

    config = CorrelatedConfig

    def __init__(self, classes: list[int]) -> None:
        if not classes or min(classes) < 0:
            raise ValueError(f"analysis.classes must be whole numbers from 0, got {classes}")
        self.classes = classes

    @classmethod
    def from_config(cls, config: CorrelatedConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.classes)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`.

        Raises:
            ValueError: if the data have no classes, or too few images in one.
        """
        spec = next(iter(runs.values())).data.source.spec
        bars: dict[str, dict[str, tuple[float, float, float]]] = {}
        rows = []
        for label, run in runs.items():
            for classes in self.classes:
                episodes = test_loader(run, run.config.episodes.items, classes=classes)
                found = measure(run.memory, episodes, spec, device=run.device)
                kind = f"of {classes} class{'es' if classes > 1 else ''}" if classes else "of all classes"
                bars.setdefault(label, {})[kind] = point = mean_and_band(found.error_corrupted)
                rows.append([label, kind, *point, found.exact])

        def figure(dark: bool) -> Figure:
            return error_bars(bars, unit(spec), dark)

        return Answer(
            "Patterns of few classes",
            f"Error on corrupted values ({unit(spec)}) when all patterns of an episode come from few classes; the mask"
            " is unknown. Bars are means, lines reach from the 5th to the 95th percentile of test episodes.",
            ["memory", "patterns", "error", "5th percentile", "95th percentile", "recalled exactly"],
            rows,
            figure,
        )
