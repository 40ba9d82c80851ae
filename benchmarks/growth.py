"""How the time of a meta-step grows with the numbers of patterns, steps and episodes."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.cases import CASES, Case
from benchmarks.config import BenchConfig
from benchmarks.contenders import REFERENCE
from benchmarks.process import Process
from benchmarks.results import GrowthRow

CONTENDERS = ("ours", REFERENCE)
BASE: dict[str, Any] = {"items": 16, "write_steps": 2, "read_steps": 2, "episodes": 4}
VALUES = {"items": (16, 32, 64, 128), "write_steps": (2, 4, 8), "read_steps": (2, 4, 8), "episodes": (4, 8, 16)}


def grow(config: BenchConfig, report: Callable[[str], None]) -> list[GrowthRow]:
    """Times `ours` and the reference at several values of one size, the others at `BASE`.

    Args:
        config: names the case, the number of rounds, and threads and device.
        report: called with one line for each size.

    Raises:
        ContenderError: if one of the two fails.
    """
    rows: list[GrowthRow] = []
    case = CASES[config.growth_case]
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Process(name, config.threads, config.timeout)) for name in CONTENDERS}
        for size, values in VALUES.items():
            medians = [time_all(config, processes, replace(case, **{**BASE, size: value})) for value in values]
            for contender in CONTENDERS:
                times = [median[contender] for median in medians]
                exponent = slope(values, times)
                rows += [GrowthRow(contender, size, v, t, exponent) for v, t in zip(values, times, strict=True)]
                shown = ", ".join(f"{v}: {1e3 * t:.0f} ms" for v, t in zip(values, times, strict=True))
                report(f"{contender}, {size}: {shown}; slope {exponent:.2f}")
    return rows


def time_all(config: BenchConfig, processes: Mapping[str, Process], case: Case) -> dict[str, float]:
    """Median seconds of a meta-step of each contender, timed in turn."""
    times: dict[str, list[float]] = {name: [] for name in processes}
    for process in processes.values():
        process.ask("prepare", case, "float32", config.device)
        process.ask("step")
    for _ in range(config.rounds):
        for name, process in processes.items():
            times[name].append(process.ask("step"))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def slope(values: Sequence[float], times: Sequence[float]) -> float:
    """Exponent p of the power law times ~ values ** p, by least squares of the logarithms."""
    return float(np.polyfit(np.log(values), np.log(times), 1)[0])
