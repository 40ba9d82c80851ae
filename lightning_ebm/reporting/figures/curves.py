"""Learning curves: the validation error against updates and against seconds."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lightning_ebm.reporting.figures.style import legend, look, new_figure, write_out_ticks
from lightning_ebm.reporting.record import Curve


def read_curve(label: str, folder: Path) -> Curve:
    """The learning curve of a run, from the metrics that each of its starts left in its folder; empty without any."""
    points: dict[int, tuple[float, float]] = {}
    starts = sorted(folder.glob("metrics/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    for path in starts:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a kill or a full disk may have cut the last row short
        for line in csv.DictReader(whole.decode(errors="replace").splitlines()):
            if line.get("val/error") and line.get("train/seconds"):
                try:
                    points[int(line["step"]) + 1] = float(line["train/seconds"]), float(line["val/error"])
                except ValueError:
                    warnings.warn(f"{path} is damaged: its curve lacks points", stacklevel=2)
    return Curve(label, [(update, *points[update]) for update in sorted(points)])


def learning_curves(curves: Sequence[Curve], unit: str, dark: bool = False) -> Figure:
    """The error on validation episodes against updates (left) and seconds of training (right), all axes logarithmic.

    Curves without points are skipped. Errors of zero are drawn at a tenth of the smallest error above zero.
    """
    curves = [curve for curve in curves if curve.points]
    floor = min((error for curve in curves for *_, error in curve.points if error > 0), default=1.0) / 10
    with new_figure(9.8, 4.0 + 0.16 * len(curves), dark) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for rank, curve in enumerate(curves):
            updates, seconds, errors = zip(*curve.points, strict=True)
            for axes, axis in zip(panels, (updates, seconds), strict=True):
                heights = [max(floor, error) for error in errors]
                axes.plot(axis, heights, label=curve.label, **look(rank, dark) | {"marker": "."})
        for axes, name in zip(panels, ("updates", "seconds of training"), strict=True):
            axes.set(xscale="log", yscale="log", xlabel=name)
            for axis in (axes.xaxis, axes.yaxis):
                write_out_ticks(axis)
        panels[0].set_ylabel(f"validation error\n({unit})")
        legend(figure)
    return figure
