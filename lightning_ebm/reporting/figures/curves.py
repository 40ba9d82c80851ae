"""Learning curves: the validation error against updates and against seconds."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from lightning_ebm.reporting.figures.style import legend, look, new_figure, write_out_ticks


def read_curve(folder: Path) -> list[tuple[int, float, float]]:
    """Update, seconds and val/error of each validation, from the metrics that all starts of a run left."""
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
    return [(update, *points[update]) for update in sorted(points)]


def learning_curves(curves: Mapping[str, Sequence[tuple[int, float, float]]], unit: str) -> Figure:
    """The error on validation episodes against updates (left) and seconds of training (right), all axes logarithmic.

    Errors of zero are drawn at a tenth of the smallest error above zero.
    """
    floor = min((error for points in curves.values() for *_, error in points if error > 0), default=1.0) / 10
    with new_figure(9.8, 4.0 + 0.16 * len(curves)) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for rank, (label, points) in enumerate(curves.items()):
            updates, seconds, errors = zip(*points, strict=True)
            for axes, axis in zip(panels, (updates, seconds), strict=True):
                heights = [max(floor, error) for error in errors]
                axes.plot(axis, heights, label=label, **look(rank) | {"marker": "."})
        for axes, name in zip(panels, ("updates", "seconds of training"), strict=True):
            axes.set(xscale="log", yscale="log", xlabel=name)
            for axis in (axes.xaxis, axes.yaxis):
                write_out_ticks(axis)
        panels[0].set_ylabel(f"validation error\n({unit})")
        legend(figure)
    return figure
