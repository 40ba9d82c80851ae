"""Lines and bars with bands, one for each memory: the figures that most analyses end in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator

from lightning_ebm.reporting.figures.style import INK, draw_line, from_zero, legend, look, new_figure, write_out_ticks

MOST = 12
"""Labels that fit below a figure, and markers that fit on a line."""
APART = 1.15
"""Factor by which neighbouring labels on a logarithmic axis differ at least, so that they do not overlap."""

Lines = dict[str, list[tuple[float, float, float, float]]]
"""Label -> points: place on the axis; mean, 5th, 95th percentile of what is measured there."""


def error_lines(
    lines: Mapping[str, Sequence[tuple[float, float, float, float]]],
    horizontal: str,
    unit: str,
    dark: bool = False,
    **axes_settings: Any,
) -> Figure:
    """Means as lines, bands around them, of `Lines` over a horizontal axis; errors are in `unit`.

    `axes_settings` are those of `Axes.set`. With `xscale="log"` the horizontal axis has a tick at each point, or at 1
    and 3 of each power of ten where that would be too many.
    """
    with new_figure(6.4, 4.2 + 0.12 * len(lines), dark) as figure:
        axes = figure.subplots()
        for rank, (label, points) in enumerate(lines.items()):
            crowded = {"marker": ""} if len(points) > MOST else {}
            draw_line(axes, points, label=label, **look(rank, dark) | crowded)
        axes.set(xlabel=horizontal, ylabel=f"error ({unit})", **axes_settings)
        if axes.get_xscale() == "log":
            ticks = spread(place for points in lines.values() for place, *_ in points)
            write_out_ticks(axes.xaxis, FixedLocator(ticks) if len(ticks) <= MOST else LogLocator(subs=(1, 3)))
        from_zero(axes)
        legend(figure)
    return figure


def spread(places: Iterable[float]) -> list[float]:
    """Those of some places above 0, in ascending order, that are at least a factor of `APART` above the one before."""
    found: list[float] = []
    for place in sorted(places):
        if not found or place >= APART * found[-1]:
            found.append(place)
    return found


def error_bars(bars: Mapping[str, Mapping[str, tuple[float, float, float]]], unit: str, dark: bool = False) -> Figure:
    """Means as bars, bands as lines, of label -> kind of test -> mean, 5th, 95th percentile of the error in `unit`."""
    kinds = list(dict.fromkeys(kind for of_label in bars.values() for kind in of_label))
    height = 0.8 / len(bars)
    with new_figure(6.8, 1.2 + 0.28 * len(kinds) * (1 + 0.5 * len(bars)), dark) as figure:
        axes = figure.subplots()
        for rank, (label, of_label) in enumerate(bars.items()):
            places = [kinds.index(kind) + (rank - (len(bars) - 1) / 2) * height for kind in of_label]
            means, lows, highs = (list(values) for values in zip(*of_label.values(), strict=True))
            axes.barh(places, means, height, color=look(rank, dark)["color"], label=label)
            axes.hlines(places, lows, highs, color=INK[dark], linewidth=1)
        axes.set_yticks(np.arange(len(kinds)), kinds)
        axes.invert_yaxis()
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.set_xlabel(f"error on corrupted values ({unit})")
        legend(figure)
    return figure
