"""Patterns that are stored several times: are they remembered better, and at whose cost?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from matplotlib.figure import Figure

from lightning_ebm.experiments.analysis import Analysis, Answer
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import per_episode
from lightning_ebm.metrics import pattern_errors, unit
from lightning_ebm.reporting.figures.lines import Lines, error_lines
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.training.trainer import Run


@dataclass
class RepetitionConfig:
    """Settings of `Repetition`.

    Attributes:
        times: how often the repeated patterns are stored.
        share: share of the patterns that are repeated, between 0 and 1.
    """

    times: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    share: float = 0.25


class Repetition(Analysis):
    """The error of patterns that are stored k times, and of the others beside them.

    Args:
        times: as in `RepetitionConfig`.
        share: as in `RepetitionConfig`.

    Raises:
        ValueError: if a setting is out of range.
    """

    config = RepetitionConfig

    def __init__(self, times: list[int], share: float) -> None:
        if not times or min(times) < 1:
            raise ValueError(f"analysis.times must be whole numbers from 1, got {times}")
        if not 0 < share < 1:
            raise ValueError(f"analysis.share must lie between 0 and 1, both excluded, got {share}")
        self.times, self.share = sorted(times), share

    @classmethod
    def from_config(cls, config: RepetitionConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.times, config.share)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`."""
        spec = next(iter(runs.values())).data.source.spec
        lines: Lines = {}
        rows = []
        for label, run in runs.items():
            for times in self.times:
                for kind, values in repeated(run, times, self.share).items():
                    point = mean_and_band(values)
                    lines.setdefault(f"{label}, {kind}", []).append((times, *point))
                    rows.append([label, times, kind, *point])

        def figure(dark: bool) -> Figure:
            return error_lines(lines, "times that the repeated patterns are stored", unit(spec), dark, xscale="log")

        return Answer(
            "Patterns stored several times",
            f"Error on corrupted values ({unit(spec)}) of the {self.share:.0%} of patterns that are stored several"
            " times, and of those that are stored once beside them. The mask is unknown.",
            ["memory", "times", "patterns", "error", "5th percentile", "95th percentile"],
            rows,
            figure,
        )


def repeated(run: Run, times: int, share: float) -> dict[str, list[float]]:
    """Errors on corrupted values of each episode, of the patterns stored `times` times and of those stored once."""
    errors: dict[str, list[float]] = {"repeated": [], "once": []}
    with torch.no_grad():
        for batch in test_loader(run, run.config.episodes.items):
            count = max(1, round(share * batch.patterns.shape[1]))
            copies = [batch.patterns[:, :count]] * (times - 1)
            answer = run.memory.read(run.memory.write(torch.cat([batch.patterns, *copies], 1)), batch.queries)[-1]
            each = pattern_errors(answer, batch.patterns, run.data.source.spec, batch.mask)
            errors["repeated"] += per_episode(each[:, :count])
            errors["once"] += per_episode(each[:, count:])
    return errors
