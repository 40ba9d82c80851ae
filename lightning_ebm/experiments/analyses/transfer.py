"""Other data than in training: Omniglot to MNIST, CIFAR to ImageNet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_ebm.experiments.analysis import Analysis, AnalysisResult, Condition, errors_under, measure_run, spec_of
from lightning_ebm.registry import choices, datasets
from lightning_ebm.reporting.record import PRIOR
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Transfer(Analysis):
    """The error on data that a memory was not trained on, beside that on its own; with the prior state as control."""

    data: list[Any] = choices(datasets)
    """Data sets to test on, by name, each with its settings; their patterns have the same shape and kind."""

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        """See `Analysis.result`.

        Raises:
            ValueError: if no data set is named, or its patterns are of another kind.
        """
        if not self.data:
            raise ValueError("analysis.data must name at least one data set")
        sources = {choice.name: datasets.build(choice) for choice in self.data}
        for name, source in sources.items():
            if source.spec != spec_of(runs):
                raise ValueError(f"analysis.data: {name} has patterns of {source.spec}, training had {spec_of(runs)}")

        def conditions(run: Run) -> Iterator[Condition]:
            own = run.config.data.name
            for name, source in ({own: run.data.source} | sources).items():
                for state in ("written", PRIOR):
                    found = measure_run(run, prior=state == PRIOR, source=source)
                    line = f", {PRIOR}" if state == PRIOR else ""
                    yield Condition(name, found.error_corrupted, [state, own, name], found.exact, line)

        return errors_under(
            runs,
            conditions,
            "Other data than in training",
            "Error on corrupted values on test episodes of each data set.",
            ["state", "trained on", "tested on"],
        )
