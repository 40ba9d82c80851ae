"""Correlated episodes: all patterns of few classes, such as alphabets or scripts."""

from collections.abc import Iterator
from dataclasses import dataclass

from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, measure_run
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Correlated(ErrorAnalysis):
    """The error when the patterns of an episode are alike. Needs data with classes, and enough images in each."""

    classes: list[int] = setting([0, 4, 2, 1], at_least=0, min_length=1)
    """Numbers of classes that an episode's patterns come from; 0: from all of the test split."""

    title = "Patterns of few classes"
    caption = "Error on corrupted values when all patterns of an episode come from few classes."
    columns = ("patterns",)

    def conditions(self, run: Run) -> Iterator[Condition]:
        for classes in self.classes:
            found = measure_run(run, test_loader(run, classes=classes))
            kind = f"of {classes} class{'es' if classes > 1 else ''}" if classes else "of all classes"
            yield Condition(kind, found.error_corrupted, exact=found.exact)
