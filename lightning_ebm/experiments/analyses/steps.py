"""More or fewer steps than a memory was trained with: does reading stay at what it reached, does writing go on?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lightning_ebm.experiments.analysis import Analysis, Answer
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import measure, per_episode
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.metrics import pattern_errors, unit
from lightning_ebm.reporting.figures.lines import Lines, error_lines
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.training.trainer import Run


@dataclass
class StepsConfig:
    """Settings of `Steps`.

    Attributes:
        readings: how often a memory reads, each time from its last answer; 1 is what it was trained for.
        write_steps: numbers of write steps to try in memories that write by steps.
    """

    readings: int = 8
    write_steps: list[int] = field(default_factory=lambda: [1, 2, 3, 5, 8, 12, 20])


class Steps(Analysis):
    """The error after every read step, when answers are read again and again; and by the number of write steps.

    A further reading starts the schedule of step sizes anew. Of write steps beyond those of training, each has the
    rates of the last one.

    Args:
        readings: as in `StepsConfig`.
        write_steps: as in `StepsConfig`.

    Raises:
        ValueError: if a number is less than 1.
    """

    config = StepsConfig

    def __init__(self, readings: int, write_steps: list[int]) -> None:
        if readings < 1:
            raise ValueError(f"analysis.readings must be at least 1, got {readings}")
        if any(steps < 1 for steps in write_steps):
            raise ValueError(f"analysis.write_steps must be whole numbers from 1, got {write_steps}")
        self.readings, self.write_steps = readings, sorted(write_steps)

    @classmethod
    def from_config(cls, config: StepsConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.readings, config.write_steps)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`."""
        spec = next(iter(runs.values())).data.source.spec
        lines: Lines = {}
        rows = []
        for label, run in runs.items():
            for step, values in enumerate(read_on(run, self.readings), start=1):
                point = mean_and_band(values)
                lines.setdefault(f"{label}, read steps", []).append((step, *point))
                rows.append([label, "read", step, *point])
            for steps in self.write_steps if writes_by_steps(run.memory) else ():
                memory = with_write_steps(run.memory, steps)
                found = measure(memory, test_loader(run, run.config.episodes.items), spec, device=run.device)
                point = mean_and_band(found.error_corrupted)
                lines.setdefault(f"{label}, write steps", []).append((steps, *point))
                rows.append([label, "write", steps, *point])

        def figure(dark: bool) -> Figure:
            return error_lines(lines, "steps", unit(spec), dark)

        return Answer(
            "More and fewer steps than in training",
            f"Error on corrupted values ({unit(spec)}) after each read step, where answers were read again"
            f" {self.readings - 1} times, and by number of write steps. The mask is unknown.",
            ["memory", "kind of step", "steps", "error", "5th percentile", "95th percentile"],
            rows,
            figure,
        )


def read_on(run: Run, readings: int) -> list[list[float]]:
    """Errors on corrupted values of each episode, after each read step of all readings."""
    errors: dict[int, list[float]] = {}
    with torch.no_grad():
        for batch in test_loader(run, run.config.episodes.items):
            state, queries = run.memory.write(batch.patterns), batch.queries
            trajectory: list[Tensor] = []
            for _ in range(readings):
                trajectory += run.memory.read(state, queries).unbind(0)
                queries = trajectory[-1]
            for step, answer in enumerate(trajectory):
                each = pattern_errors(answer, batch.patterns, run.data.source.spec, batch.mask)
                errors.setdefault(step, []).extend(per_episode(each))
    return list(errors.values())


def writes_by_steps(memory: AssociativeMemory) -> bool:
    """Whether a memory has a writing rule with rates for its steps, as EBMM has."""
    writing: Any = getattr(memory, "writing", None)
    return hasattr(writing, "steps") and hasattr(writing, "raw_rates")


def with_write_steps(memory: AssociativeMemory, steps: int) -> AssociativeMemory:
    """A copy that writes with another number of steps; further ones have the rates of the last."""
    other: Any = copy.deepcopy(memory)
    rates = other.writing.raw_rates
    if len(rates) > 1:  # each step has its own
        taken = torch.arange(steps).clamp_max(len(rates) - 1)
        other.writing.raw_rates = torch.nn.Parameter(rates.detach()[taken])
    other.writing.steps = steps
    changed: AssociativeMemory = other
    return changed
