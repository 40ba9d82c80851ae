"""What a sweep found: a table of its runs, the best command, and a figure of parallel coordinates."""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lightning_ebm.reporting.figures.style import COLOURS, FAINT, new_figure, save
from lightning_ebm.sweeping.file import Sweep
from lightning_ebm.sweeping.run import described, short
from lightning_ebm.sweeping.space import Parameter, Point, varied
from lightning_ebm.sweeping.trial import Outcome, Trial

COLUMNS = ("run", "state", "error", "update", "validations", "seconds")
BEST = 3  # runs that the figure shows in colour


def ranked(trials: Sequence[Trial]) -> list[tuple[Trial, Outcome]]:
    """The runs that have ended, the least error first, failed ones last."""
    ended = [(trial, outcome) for trial in trials if (outcome := trial.outcome())]
    return sorted(ended, key=lambda pair: (pair[1].state == "failed", pair[1].error, pair[0].folder.name))


def write_report(sweep: Sweep, trials: Sequence[Trial], folder: Path) -> str:
    """Writes sweep.csv, sweep.md, and sweep.png, where at least one run has an error.

    Returns:
        The table, in Markdown.
    """
    runs = ranked(trials)
    columns = [*COLUMNS, *(parameter.name for parameter in varied(sweep.parameters))]
    rows = [row(sweep, trial, outcome) for trial, outcome in runs]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    (folder / "sweep.csv").write_text(text.getvalue(), encoding="utf-8")
    lines = [columns, ["---"] * len(columns), *([short(cell) for cell in cells] for cells in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    page = [f"# {sweep.path.name}", f"{len(runs)} runs, {sweep.method}; error: the least val/error of a run.", table]
    page += [f"{trial.folder.name} failed: {outcome.words}" for trial, outcome in runs if outcome.state == "failed"]
    good = [(trial, outcome) for trial, outcome in runs if math.isfinite(outcome.error)]
    if good:
        # without the folder of the run, the command is the user's own
        page += ["The best run again:", f"```bash\n{shlex.join(good[0][0].command[:-1])}\n```"]
        save(parallel_coordinates(sweep, good), folder / "sweep")
    (folder / "sweep.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
    return table


def row(sweep: Sweep, trial: Trial, outcome: Outcome) -> list[object]:
    """The cells of a run, as in `COLUMNS`, then its values."""
    numbers = (outcome.error, outcome.update, outcome.validations, outcome.seconds)
    return [trial.folder.name, outcome.state, *numbers, *(trial.values[one.name] for one in varied(sweep.parameters))]


def parallel_coordinates(sweep: Sweep, runs: Sequence[tuple[Trial, Outcome]], dark: bool = False) -> Figure:
    """A line for each run through its values and its error, the best ones in colour.

    Args:
        sweep: the sweep.
        runs: runs with a finite error, the best one first, at least one.
        dark: whether it is shown on a dark background.
    """
    shown = varied(sweep.parameters)
    errors = [outcome.error for _, outcome in runs]
    with new_figure(2.4 + 1.3 * len(shown), 4.0, dark) as figure:
        axes = figure.subplots()
        for rank, (trial, outcome) in reversed(list(enumerate(runs))):
            heights = [height(one, trial.values, runs) for one in shown]
            heights.append(between(outcome.error, min(errors), max(errors)))
            best = rank < BEST
            axes.plot(
                heights,
                color=COLOURS[dark][rank] if best else FAINT[dark],
                alpha=1.0 if best else 0.35,
                linewidth=1.8 if best else 0.9,
                zorder=2 + best,
                marker="o",
                markersize=3.5,
                label=f"{outcome.error:.4g}: {described(sweep, trial.values)}" if best else None,
            )
        for rank, parameter in enumerate(shown):
            for value in marks(parameter, runs):
                where = height(parameter, {parameter.name: value}, runs)
                axes.annotate(short(value), (rank, where), (5, 3), textcoords="offset points", fontsize=7.5)
        for value in {min(errors), max(errors)}:
            where = between(value, min(errors), max(errors))
            axes.annotate(short(value), (len(shown), where), (5, 3), textcoords="offset points", fontsize=7.5)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xticks(range(len(shown) + 1), [*(one.name.replace(".", ".\n") for one in shown), "val/error"])
        axes.set(yticks=[], ylim=(-0.05, 1.08), xlim=(-0.1, len(shown) + 0.35))
        axes.spines["left"].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside lower left", fontsize=8)
    return figure


def marks(parameter: Parameter, runs: Sequence[tuple[Trial, Outcome]]) -> list[object]:
    """The values that are written beside a parameter's axis: a short list of them, else the ends."""
    values = [trial.values[parameter.name] for trial, _ in runs]
    if parameter.distribution == "categorical":
        return [value for value in parameter.values if value in values]
    return sorted({min(values), max(values)})


def height(parameter: Parameter, values: Point, runs: Sequence[tuple[Trial, Outcome]]) -> float:
    """Where a value is on its axis, from 0 to 1: by place in a list of values, else from the least to the greatest."""
    value = values[parameter.name]
    if parameter.distribution == "categorical":
        return between(parameter.values.index(value), 0, len(parameter.values) - 1)
    found = [trial.values[parameter.name] for trial, _ in runs]
    scale = math.log if "log" in parameter.distribution and min(found) > 0 else float
    return between(scale(value), scale(min(found)), scale(max(found)))


def between(value: float, low: float, high: float) -> float:
    """The share of the way from low to high; the middle if they are one."""
    return (value - low) / (high - low) if high > low else 0.5
