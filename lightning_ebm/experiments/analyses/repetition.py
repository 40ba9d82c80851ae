"""Patterns that are stored several times: are they remembered better, and at whose cost?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, test_episodes
from lightning_ebm.experiments.measure import per_episode
from lightning_ebm.metrics import pattern_errors
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
        """One for each number of times and group of patterns."""
        for times in sorted(self.times):
            for kind, errors in repeated(run, times, self.share).items():
                yield Condition(times, errors, [times, kind], line=f", {kind}")


def repeated(run: Run, times: int, share: float) -> dict[str, list[float]]:
    """Errors on corrupted values of each episode, of the patterns stored `times` times and of those stored once."""
    errors: dict[str, list[float]] = {"repeated": [], "once": []}
    with test_episodes(run) as episodes:
        for batch in episodes:
            count = max(1, round(share * batch.patterns.shape[1]))
            copies = [batch.patterns[:, :count]] * (times - 1)
            answer = run.memory.read(run.memory.write(torch.cat([batch.patterns, *copies], 1)), batch.queries)[-1]
            each = pattern_errors(answer, batch.patterns, run.data.source.spec, batch.mask)
            errors["repeated"] += per_episode(each[:, :count])
            errors["once"] += per_episode(each[:, count:])
    return errors
