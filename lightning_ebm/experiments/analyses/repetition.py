"""Patterns that are stored several times: are they remembered better, and at whose cost?"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, errors_by_group
from lightning_ebm.memory import AssociativeMemory, State
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Repetition(ErrorAnalysis):
    """The error of patterns that are stored k times, and of the other patterns."""

    times: list[int] = setting([1, 2, 4, 8], at_least=1, min_length=1)
    """How often the repeated patterns are stored."""
    share: float = setting(0.25, above=0, below=1)
    """Share of the patterns that are repeated."""

    title = "Patterns stored several times"
    caption = (
        "Error on corrupted values of the {share:.0%} of patterns that are stored several times, and of those that are"
        " stored once."
    )
    columns = ("times", "patterns")
    axis = "times that the repeated patterns are stored"

    def conditions(self, run: Run) -> Iterator[Condition]:
        items = run.config.episodes.patterns_per_episode
        count = max(1, round(self.share * items))
        if count == items:
            raise ValueError(f"analysis.share={self.share:g} leaves none of {items} patterns that is stored once")
        groups = {"repeated": slice(count), "once": slice(count, None)}
        for times in sorted(self.times):
            for kind, errors in errors_by_group(run, groups, write_repeated, count, times).items():
                yield Condition(times, errors, [times, kind], line=f", {kind}")


def write_repeated(memory: AssociativeMemory, patterns: Tensor, count: int, times: int) -> State:
    """The state after patterns (episodes, items, *shape) were written, the first `count` of them `times` times."""
    return memory.write(torch.cat([patterns, *[patterns[:, :count]] * (times - 1)], 1))
