"""More or fewer steps than a memory was trained with: does reading stay at what it reached, does writing improve?"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_ebm.ebmm import EBMM
from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, measure_run, test_episodes
from lightning_ebm.experiments.measure import per_episode
from lightning_ebm.metrics import pattern_errors
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Steps(ErrorAnalysis):
    """The error after every read step, when answers are read again and again; and by the number of write steps.

    A further reading restarts the schedule of step sizes. Write steps beyond those of training have the rates of
    the last one.
    """

    readings: int = setting(8, at_least=1)
    """How often a memory reads, each time from its last answer; 1 is what it was trained for."""
    write_steps: list[int] = setting([1, 2, 3, 5, 8, 12, 20], at_least=1)
    """Numbers of write steps to try in an EBMM."""

    title = "More and fewer steps than in training"
    caption = (
        "Error on corrupted values after each read step of {readings} readings, each of the last answer, and by number"
        " of write steps."
    )
    columns = ("kind of step", "steps")
    axis = "steps"
    xscale = "linear"

    def conditions(self, run: Run) -> Iterator[Condition]:
        for step, errors in enumerate(read_on(run, self.readings), start=1):
            yield Condition(step, errors, ["read", step], line=", read steps")
        if isinstance(run.memory, EBMM):
            for steps in sorted(self.write_steps):
                found = measure_run(replace(run, memory=with_write_steps(run.memory, steps)))
                yield Condition(steps, found.error_corrupted, ["write", steps], line=", write steps")


def read_on(run: Run, readings: int) -> list[list[float]]:
    """Errors on corrupted values of each episode, after each read step of all readings."""
    errors: dict[int, list[float]] = {}
    with test_episodes(run) as episodes:
        for batch in episodes:
            state, queries = run.memory.write(batch.patterns), batch.queries
            trajectory: list[Tensor] = []
            for _ in range(readings):
                trajectory += run.memory.read(state, queries).unbind(0)
                queries = trajectory[-1]
            for step, answer in enumerate(trajectory):
                each = pattern_errors(answer, batch.patterns, run.data.source.spec, batch.mask)
                errors.setdefault(step, []).extend(per_episode(each))
    return list(errors.values())


def with_write_steps(memory: EBMM, steps: int) -> EBMM:
    """A copy that writes with another number of steps; further ones have the rates of the last."""
    other = copy.deepcopy(memory)
    rates = other.writing.learned_rates
    if len(rates) > 1:  # each step has its own
        taken = torch.arange(steps, device=rates.device).clamp_max(len(rates) - 1)
        other.writing.learned_rates = torch.nn.Parameter(rates.detach()[taken])
    other.writing.steps = steps
    return other
