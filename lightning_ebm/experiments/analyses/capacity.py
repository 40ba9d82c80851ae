"""More patterns than a memory was trained on: the error against the number stored."""

from collections.abc import Iterator
from dataclasses import dataclass

from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, measure_run
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Capacity(ErrorAnalysis):
    """How the error grows with the number of patterns, beyond that of training."""

    patterns_per_episode: list[int] = setting([4, 8, 16, 32, 64, 128], at_least=1, min_length=1)
    """Numbers of patterns to store."""

    title = "More patterns than trained on"
    caption = "Error on corrupted values against the number of patterns stored."
    columns = ("trained on", "stored")
    axis = "patterns stored"

    def conditions(self, run: Run) -> Iterator[Condition]:
        for items in sorted(self.patterns_per_episode):
            found = measure_run(run, test_loader(run, items))
            cells = [run.config.episodes.patterns_per_episode, items]
            yield Condition(items, found.error_corrupted, cells, found.exact)
