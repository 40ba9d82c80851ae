"""Writing in portions (online) against writing all patterns at once."""

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
class PortionsConfig:
    """Settings of `Portions`.

    Attributes:
        portions: numbers of portions of equal size that an episode's patterns are written in, one after the other.
    """

    portions: list[int] = field(default_factory=lambda: [1, 2, 4, 8])


class Portions(Analysis):
    """What is lost when patterns come in portions: by `update`, each portion on top of those before.

    Args:
        portions: as in `PortionsConfig`.

    Raises:
        ValueError: if a number is less than 1.
    """

    config = PortionsConfig

    def __init__(self, portions: list[int]) -> None:
        if not portions or min(portions) < 1:
            raise ValueError(f"analysis.portions must be whole numbers from 1, got {portions}")
        self.portions = sorted(portions)

    @classmethod
    def from_config(cls, config: PortionsConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.portions)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`."""
        spec = next(iter(runs.values())).data.source.spec
        lines: Lines = {}
        rows = []
        for label, run in runs.items():
            for portions in (p for p in self.portions if p <= run.config.episodes.items):
                try:
                    errors = in_portions(run, portions)
                except NotImplementedError:
                    continue  # it writes all at once
                for name, values in errors.items():
                    point = mean_and_band(values)
                    rows.append([label, portions, name, *point])
                    if name == "all":
                        lines.setdefault(label, []).append((portions, *point))
        if not lines:
            raise ValueError("analysis=portions: none of these memories can add to a state")

        def figure(dark: bool) -> Figure:
            return error_lines(lines, "portions", unit(spec), dark, xscale="log")

        return Answer(
            "Writing in portions",
            f"Error on corrupted values ({unit(spec)}) after an episode's patterns were written in portions, one after"
            " the other; on all patterns, and on those of the first and the last portion. The mask is unknown.",
            ["memory", "portions", "patterns", "error", "5th percentile", "95th percentile"],
            rows,
            figure,
        )


def in_portions(run: Run, portions: int) -> dict[str, list[float]]:
    """Errors on corrupted values of each episode: of all patterns, of the first and of the last portion."""
    errors: dict[str, list[float]] = {"all": [], "first portion": [], "last portion": []}
    with torch.no_grad():
        for batch in test_loader(run, run.config.episodes.items):
            parts = batch.patterns.tensor_split(portions, 1)
            state = run.memory.write(parts[0])
            for part in parts[1:]:
                state = run.memory.update(state, part)
            answer = run.memory.read(state, batch.queries)[-1]
            each = pattern_errors(answer, batch.patterns, run.data.source.spec, batch.mask)
            errors["all"] += per_episode(each)
            errors["first portion"] += per_episode(each[:, : parts[0].shape[1]])
            errors["last portion"] += per_episode(each[:, -parts[-1].shape[1] :])
    return errors
