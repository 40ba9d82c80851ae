"""Writing in portions (online) against writing all patterns at once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, errors_by_group
from lightning_ebm.memory import AssociativeMemory, State
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class IncrementalWriting(ErrorAnalysis):
    """What is lost when patterns come in portions, each added by `update` to the state of those before."""

    portions: list[int] = setting([1, 2, 4, 8], at_least=1, min_length=1)
    """Numbers of portions of equal size that an episode's patterns are written in."""

    title = "Writing in portions"
    caption = (
        "Error on corrupted values after an episode's patterns were written in portions, one after the other; on all"
        " patterns, and on those of the first and of the last portion."
    )
    columns = ("portions", "patterns")
    axis = "portions"
    needs = "can add to a state"

    def conditions(self, run: Run) -> Iterator[Condition]:
        items = run.config.episodes.patterns_per_episode
        if min(self.portions) > items:
            raise ValueError(f"analysis.portions must be at most {items}, the patterns stored, got {self.portions}")
        for portions in sorted(portions for portions in self.portions if portions <= items):
            # the first of `tensor_split` take what does not divide
            groups = {
                "all": slice(None),
                "first portion": slice(math.ceil(items / portions)),
                "last portion": slice(-(items // portions), None),
            }
            for group, errors in errors_by_group(run, groups, write_in_portions, portions).items():
                yield Condition(portions, errors, [portions, group], line="" if group == "all" else f", {group}")


def write_in_portions(memory: AssociativeMemory, patterns: Tensor, portions: int) -> State:
    """The state after patterns (episodes, items, *shape) were written in so many portions, one after the other."""
    first, *others = patterns.tensor_split(portions, 1)
    state = memory.write(first)
    for part in others:
        state = memory.update(state, part)
    return state
