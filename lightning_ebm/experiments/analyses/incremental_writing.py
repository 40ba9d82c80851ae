"""Writing in portions (online) against writing all patterns at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lightning_ebm.experiments.analysis import Analysis, AnalysisResult, Condition, errors_under, test_episodes
from lightning_ebm.experiments.measure import per_episode
from lightning_ebm.metrics import pattern_errors
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run

GROUPS = ("all", "first portion", "last portion")


@dataclass(frozen=True)
class IncrementalWriting(Analysis):
    """What is lost when patterns come in portions, each added by `update` to the state of those before."""

    portions: list[int] = setting([1, 2, 4, 8], at_least=1, min_length=1)
    """Numbers of portions of equal size that an episode's patterns are written in."""

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        """See `Analysis.result`.

        Raises:
            ValueError: if no memory can add to a state.
        """

        def conditions(run: Run) -> Iterator[Condition]:
            for portions in sorted(p for p in self.portions if p <= run.config.episodes.patterns_per_episode):
                for group, errors in zip(GROUPS, in_portions(run, portions), strict=True):
                    line = "" if group == "all" else f", {group}"
                    yield Condition(portions, errors, [portions, group], line=line)

        updating = {label: run for label, run in runs.items() if can_update(run)}
        if not updating:
            raise ValueError("analysis=incremental_writing: none of these memories can add to a state")
        return errors_under(
            updating,
            conditions,
            "Writing in portions",
            "Error on corrupted values after an episode's patterns were written in portions, one after the other; on"
            " all patterns, and on those of the first and of the last portion.",
            ["portions", "patterns"],
            "portions",
            xscale="log",
        )


def can_update(run: Run) -> bool:
    """Whether a memory can add patterns to a state."""
    with test_episodes(run, batch=1) as episodes:
        try:
            run.memory.update(run.memory.initial_state(1), next(episodes).patterns)
        except NotImplementedError:
            return False
    return True


def in_portions(run: Run, portions: int) -> tuple[list[float], ...]:
    """Errors on corrupted values of each episode: of all patterns, of the first and of the last portion."""
    errors: tuple[list[float], ...] = ([], [], [])
    with test_episodes(run) as episodes:
        for batch in episodes:
            parts = batch.patterns.tensor_split(portions, 1)
            state = run.memory.write(parts[0])
            for part in parts[1:]:
                state = run.memory.update(state, part)
            answer = run.memory.read(state, batch.queries)[-1]
            each = pattern_errors(answer, batch.patterns, run.data.source.spec, batch.mask)
            groups = each, each[:, : parts[0].shape[1]], each[:, -parts[-1].shape[1] :]
            for group, values in zip(errors, groups, strict=True):
                group += per_episode(values)
    return errors
