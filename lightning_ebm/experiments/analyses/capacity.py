"""More patterns than a memory was trained on: the error against the number stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lightning_ebm.experiments.analysis import Analysis, AnalysisResult, Condition, errors_under, measure_run
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Capacity(Analysis):
    """How the error grows with the number of patterns, beyond that of training."""

    items: list[int] = setting([4, 8, 16, 32, 64, 128], at_least=1, min_length=1)
    """Numbers of patterns to store."""

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        """See `Analysis.result`."""

        def conditions(run: Run) -> Iterator[Condition]:
            for items in sorted(self.items):
                found = measure_run(run, items)
                yield Condition(
                    items, found.error_corrupted, [run.config.episodes.patterns_per_episode, items], found.exact
                )

        return errors_under(
            runs,
            conditions,
            "More patterns than trained on",
            "Error on corrupted values against the number of patterns stored.",
            ["trained on", "stored"],
            "patterns stored",
            xscale="log",
        )
