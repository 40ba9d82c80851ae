"""Other data than in training: Omniglot to MNIST, CIFAR to ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from matplotlib.figure import Figure

from lightning_ebm.experiments.analysis import Analysis, Answer
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import measure
from lightning_ebm.metrics import unit
from lightning_ebm.registry import choices, datasets
from lightning_ebm.reporting.figures.lines import error_bars
from lightning_ebm.reporting.record import PRIOR, mean_and_band
from lightning_ebm.training.trainer import Run


@dataclass
class TransferConfig:
    """Settings of `Transfer`.

    Attributes:
        data: data sets to test on beside that of training, by name, each with its settings; their patterns have the
            same shape and kind.
    """

    data: list[Any] = choices(datasets)


class Transfer(Analysis):
    """The error on data that a memory was not trained on, beside that on its own; with the unwritten state as control.

    Args:
        chosen: as `TransferConfig.data`.

    Raises:
        ValueError: if there is none.
    """

    config = TransferConfig

    def __init__(self, chosen: list[Any]) -> None:
        if not chosen:
            raise ValueError("analysis.data must name at least one data set")
        self.chosen = chosen

    @classmethod
    def from_config(cls, config: TransferConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.data)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`."""
        spec = next(iter(runs.values())).data.source.spec
        sources = {choice.name: datasets.build(choice) for choice in self.chosen}
        for name, source in sources.items():
            if source.spec != spec:
                raise ValueError(f"analysis.data: {name} has patterns of {source.spec}, training had {spec}")
        bars: dict[str, dict[str, tuple[float, float, float]]] = {}
        rows = []
        for label, run in runs.items():
            own = {run.config.data.name: run.data.source}
            for name, source in (own | sources).items():
                for nothing_written in (False, True):
                    episodes = test_loader(run, run.config.episodes.items, source=source)
                    found = measure(run.memory, episodes, spec, nothing_written=nothing_written, device=run.device)
                    row = f"{label}, {PRIOR}" if nothing_written else label
                    bars.setdefault(row, {})[name] = point = mean_and_band(found.error_corrupted)
                    rows.append([row, run.config.data.name, name, *point, found.exact])

        def figure(dark: bool) -> Figure:
            return error_bars(bars, unit(spec), dark)

        return Answer(
            "Other data than in training",
            f"Error on corrupted values ({unit(spec)}) on test episodes of each data set; the mask is unknown. Bars are"
            " means, lines reach from the 5th to the 95th percentile of test episodes.",
            ["memory", "trained on", "tested on", "error", "5th percentile", "95th percentile", "recalled exactly"],
            rows,
            figure,
        )
