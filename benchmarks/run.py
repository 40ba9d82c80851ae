"""Checks that all contenders compute the same, then times them in turn."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np

from benchmarks.cases import Case
from benchmarks.config import BenchConfig, case_of
from benchmarks.contenders import REFERENCE
from benchmarks.process import ContenderError, Process
from benchmarks.results import Row, compare_peers
from benchmarks.worker import Result

TOLERANCES = {"float64": 1e-9, "float32": 1e-4}
NEGLIGIBLE = 1e-6  # a gradient this much smaller than the largest of all is rounding, and has no scale of its own

Report = Callable[[list[Row]], None]


def run(config: BenchConfig, report: Report) -> list[Row]:
    """Checks and times all contenders in all cases and settings.

    Args:
        config: what to time.
        report: called with all rows whenever one has changed.

    Raises:
        ContenderError: if the reference fails: then there is nothing to compare with.
    """
    rows: list[Row] = []
    with Process(REFERENCE, config.threads, config.timeout) as reference:
        peak = reference.ask("gemm_peak", config.device)
        for name in config.cases:
            for setting in config.settings:
                group = [Row(name, setting, contender, gemm_flops_s=peak) for contender in config.contenders]
                rows += group
                measure(config, case_of(config, name, setting), group, reference, partial(report, rows))
    return rows


def measure(config: BenchConfig, case: Case, rows: list[Row], reference: Process, changed: Callable[[], None]) -> None:
    """Fills the rows of one case and setting; `reference` is a process that computes what is right."""
    changed()
    exact = computed(reference, case.small(), "float64", config.device)
    for row in rows:
        with attempt(row), Process(row.contender, config.threads, config.timeout) as process:
            row.error_float64 = difference(computed(process, case.small(), "float64", config.device), exact)
            judge(row, row.error_float64, "float64")
        changed()
    single = computed(reference, case, "float32", config.device)
    with ExitStack() as stack:
        processes: dict[str, Process] = {}
        for row in (row for row in rows if row.status == "checked"):
            process = stack.enter_context(Process(row.contender, config.threads, config.timeout))
            with attempt(row):
                begin(config, case, row, process, single)
                processes[row.contender] = process
            changed()
        for round_number in range(config.rounds):
            for row in (row for row in rows if row.status == "timing"):
                with attempt(row):
                    row.times.append(processes[row.contender].ask("step"))
            if round_number + 1 < config.rounds:
                changed()
        for row in (row for row in rows if row.status == "timing"):
            with attempt(row):
                row.peak_mib, row.level_mib = processes[row.contender].ask("peak_mib")
                row.status = "ok"
            row.flops = count_flops(row, processes[row.contender])
    compare_peers(rows)
    changed()


def begin(config: BenchConfig, case: Case, row: Row, process: Process, single: Result) -> None:
    """The first meta-step, whose time and result are kept, and one to warm up."""
    first = computed(process, case, "float32", config.device)
    row.first_s, row.error_float32 = first.seconds, difference(first, single)
    judge(row, row.error_float32, "float32")
    process.ask("step")
    row.status = "timing"


def count_flops(row: Row, process: Process) -> float:
    """Operations of a meta-step; NaN if they cannot be counted. A failure here leaves the times as they are."""
    try:
        return process.ask("flops") or math.nan
    except ContenderError as error:
        row.reason = row.reason or f"operations not counted: {error.reason}"
        return math.nan


def computed(process: Process, case: Case, dtype: str, device: str) -> Result:
    """What the contender of a process makes of a case that it has not seen yet."""
    process.ask("prepare", case, dtype, device)
    result: Result = process.ask("result")
    return result


@contextmanager
def attempt(row: Row) -> Iterator[None]:
    """Inside, a contender that fails or is wrong is marked as such in its row, and the others continue."""
    try:
        yield
    except ContenderError as error:
        row.status, row.reason, row.times = error.status, error.reason, []


def judge(row: Row, error: float, dtype: str) -> None:
    """Marks a row as checked.

    Raises:
        ContenderError: if its results differ too much from the reference's.
    """
    if not error <= TOLERANCES[dtype]:  # written so that NaN fails too
        raise ContenderError("wrong", f"differs from {REFERENCE} by {error:.1e} in {dtype}")
    row.status = "checked"


def difference(got: Result, expected: Result) -> float:
    """Greatest difference in the loss or a gradient, relative to the largest entry of the expected tensor.

    A tensor whose gradient is negligible compared with others has no scale of its own: it is measured on that
    of the others. A parameter that is missing differs infinitely.
    """
    if got.gradients.keys() != expected.gradients.keys():
        return math.inf
    scales = {name: float(np.abs(value).max(initial=0)) for name, value in expected.gradients.items()}
    least = NEGLIGIBLE * max(scales.values())
    differences = [abs(got.loss - expected.loss) / abs(expected.loss)]
    for name, value in expected.gradients.items():
        differences.append(np.abs(got.gradients[name] - value).max(initial=0) / max(scales[name], least))
    return float(np.max(differences))  # of NumPy, so that a NaN is not passed over
