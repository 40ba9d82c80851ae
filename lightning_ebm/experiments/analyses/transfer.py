"""Other data than in training: Omniglot to MNIST, CIFAR to ImageNet."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_ebm.data.episodes import PatternSource
from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, measure_run
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.registry import choices, datasets
from lightning_ebm.reporting.record import PRIOR
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Transfer(ErrorAnalysis):
    """The error on data that a memory was not trained on, and on its own data; the prior state is the control."""

    data: list[Any] = choices(datasets)
    """Data sets to test on, by name, each with its settings; their patterns have the same shape and kind."""

    title = "Other data than in training"
    caption = "Error on corrupted values on test episodes of each data set."
    columns = ("state", "trained on", "tested on")

    @cached_property
    def sources(self) -> list[PatternSource]:
        """The data sets, which the analyses of all memories share."""
        if not self.data:
            raise ValueError("analysis.data must name at least one data set")
        return [datasets.build(choice) for choice in self.data]

    def conditions(self, run: Run) -> Iterator[Condition]:
        own, spec = run.config.data, run.data.source.spec
        others = [pair for pair in zip(self.data, self.sources, strict=True) if pair[0] != own]
        names = Counter([own.name, *(choice.name for choice, _ in others)])
        for choice, source in [(own, run.data.source), *others]:
            if source.spec != spec:
                raise ValueError(f"analysis.data: {choice.name} has patterns of {source.spec}, training had {spec}")
            name = choice.name if choice == own or names[choice.name] == 1 else str(choice)
            for state, line in (("written", ""), (PRIOR, f", {PRIOR}")):
                found = measure_run(run, test_loader(run, source=source), nothing_written=state == PRIOR)
                yield Condition(name, found.error_corrupted, [state, own.name, name], found.exact, line)
