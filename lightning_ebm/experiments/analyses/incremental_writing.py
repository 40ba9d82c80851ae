"""Writing in portions (online) against writing all patterns at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, test_episodes
from lightning_ebm.experiments.measure import per_episode
from lightning_ebm.memory import AssociativeMemory, State
from lightning_ebm.metrics import pattern_errors
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
        """One for each number of portions and group of patterns."""
        for portions in sorted(p for p in self.portions if p <= run.config.episodes.patterns_per_episode):
            for group, errors in in_portions(run, portions).items():
                yield Condition(portions, errors, [portions, group], line="" if group == "all" else f", {group}")


def in_portions(run: Run, portions: int) -> dict[str, list[float]]:
    """Errors on corrupted values of each episode: of all patterns, of the first and of the last portion."""
    errors: dict[str, list[float]] = {"all": [], "first portion": [], "last portion": []}
    with test_episodes(run) as episodes:
        for batch in episodes:
            parts = batch.patterns.tensor_split(portions, 1)
            answer = run.memory.read(write_in_portions(run.memory, batch.patterns, portions), batch.queries)[-1]
            each = pattern_errors(answer, batch.patterns, run.data.source.spec, batch.mask)
            errors["all"] += per_episode(each)
            errors["first portion"] += per_episode(each[:, : parts[0].shape[1]])
            errors["last portion"] += per_episode(each[:, -parts[-1].shape[1] :])
    return errors


def write_in_portions(memory: AssociativeMemory, patterns: Tensor, portions: int) -> State:
    """The state after patterns (episodes, items, *shape) were written in so many portions, one after the other."""
    first, *others = patterns.tensor_split(portions, 1)
    state = memory.write(first)
    for part in others:
        state = memory.update(state, part)
    return state
