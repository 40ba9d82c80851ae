"""Error against the size of the state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, LogLocator
from matplotlib.transforms import ScaledTranslation

from lightning_ebm.reporting.figures.series import Point, controls, draw_published, looks, name_axes, point
from lightning_ebm.reporting.figures.style import BACKGROUND, FAINT, new_figure, write_out_ticks
from lightning_ebm.reporting.record import CONTROL, Comparison, Result
from lightning_ebm.reporting.tables import Measure, mean, of_setting, setting_name, settings

MANY = 12
"""Lines that one figure may hold before nobody can follow them."""

WIDE = 20.0
"""Ratio of mean errors beyond which the smaller ones could not be told apart on a linear axis."""


def error_against_size(comparison: Comparison, dark: bool = False, measure: Measure = "error_corrupted") -> Figure:
    """Error against the size of the state, one panel for each setting.

    Points are means, bars reach from the 5th to the 95th percentile of the test episodes. The sizes of one row are
    joined by a line. Of more than `MANY` lines, those of rounded states are left to the table.
    Controls, and memories without a state, have no size and are dashed horizontals: of all memories with nothing
    written, only the best. Published lines over sizes are laid over the error on all values, which is what they count.
    With them, or where means differ by more than a factor of `WIDE`, the errors' axis is logarithmic, for ratios are
    what is read off, unless a mean error is 0. Bars that reach to 0 then end at the lower edge.

    Args:
        comparison: what to draw.
        dark: whether it is shown on a dark background.
        measure: which of the two errors.
    """
    groups = settings(comparison.results)
    masks, items = sorted({mask for _, mask in groups}), sorted({count for count, _ in groups})
    lines = _size_lines(comparison.results)
    if len(lines) > MANY:
        lines = {name: line for name, line in lines.items() if line[0].precision == "float32"}
    published = comparison.published if measure == "error" else None
    if published and published.axis != "floats":
        published = None
    styles = looks(((name, results[0].memory) for name, results in lines.items()), dark)
    handles: dict[str, Artist] = {}
    drawn = [point(result.floats, result, measure) for results in lines.values() for result in results]
    means = [error for _, error, *_ in drawn if math.isfinite(error)]
    ratios = min(means, default=0.0) > 0 and (published is not None or max(means) > WIDE * min(means))
    positive = [value for _, *values in drawn for value in values if value > 0]
    sizes = [result.floats for results in lines.values() for result in results]
    sizes += [size for points in (published.lines.values() if published else ()) for size, *_ in points]
    with new_figure(6.4 if len(masks) == 1 else 9.2, 1.2 + 3.4 * len(items), dark) as figure:
        panels = figure.subplots(len(items), len(masks), squeeze=False, sharex=True, sharey=True)
        _size_axis(panels[0, 0], sizes)
        for (row, column), axes in np.ndenumerate(panels):
            setting = items[row], masks[column]
            axes.set_title(setting_name(*setting))
            alone: list[int] = []  # sizes of the lines that have but one point
            for name, results in lines.items():
                points = [point(result.floats, result, measure) for result in of_setting(results, *setting)]
                rank = 0
                if len(points) == 1:
                    rank = sum(abs(math.log(points[0][0] / size)) < 0.03 for size in alone)
                    alone.append(points[0][0])
                if points:
                    handles[name] = _draw_bars(figure, axes, points, styles[name], rank)
            _draw_controls(axes, of_setting(comparison.results, *setting), dark, measure)
            if published:
                handles |= draw_published(axes, published, dark)
            if ratios:
                axes.set_yscale("log")
                axes.set_ylim(bottom=min(positive) / 1.5)
                write_out_ticks(axes.yaxis)
            else:
                axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # a marker at zero is seen whole
        name_axes(panels, "floats of state (log scale)", comparison.unit, measure)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=max(1, min(3, len(handles))))
    return figure


def has_size_sweep(comparison: Comparison) -> bool:
    """Whether any memory was tried in several sizes."""
    return any(len({result.floats for result in line}) > 1 for line in _size_lines(comparison.results).values())


def _size_lines(results: list[Result]) -> dict[str, list[Result]]:
    """Results that have a size, by the line they are points of, along it."""
    lines: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.floats):
        if result.memory != CONTROL and result.floats:
            lines.setdefault(result.series or result.label, []).append(result)
    return {name: lines[name] for name in dict.fromkeys(r.series or r.label for r in results) if name in lines}


def _draw_bars(figure: Figure, axes: Axes, points: Sequence[Point], look: dict[str, Any], rank: int) -> Artist:
    """Means and bars of one line; the n-th lone point at a size stands aside, not to hide the first."""
    sizes, means, lows, highs = zip(*points, strict=True)
    inches = (rank + 1) // 2 * (-1) ** rank * 7 / 72
    place = axes.transData + ScaledTranslation(inches, 0, figure.dpi_scale_trans)
    # Not `errorbar`: it refuses a mean outside of the band, as when all but a few episodes are without error.
    axes.vlines(sizes, lows, highs, color=look["color"], alpha=0.55, linewidth=1.4, transform=place)
    axes.update_datalim([(sizes[0], bound) for bound in (*means, *lows, *highs)])  # a shift hides them
    axes.autoscale_view()
    return axes.plot(sizes, means, zorder=3, transform=place, **look)[0]


def _draw_controls(axes: Axes, results: list[Result], dark: bool, measure: Measure) -> None:
    """Dashed horizontals; the highest is named above its line and others below, so that names do not meet."""
    without_size = {kind: result for kind, (result,) in controls(results, measure).items()}
    without_size |= {result.label: result for result in results if result.memory != CONTROL and not result.floats}
    levels = sorted(((mean(result, measure), label) for label, result in without_size.items()), reverse=True)
    for rank, (level, label) in enumerate(levels):
        axes.axhline(level, color=FAINT[dark], linestyle=(0, (4, 3)), linewidth=1.1)
        axes.annotate(
            label, (1 - 0.34 * (rank // 2), level), (0, -3 if rank else 3), fontsize=8, color=FAINT[dark],
            xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            ha="right", va="top" if rank else "bottom", zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground=BACKGROUND[dark])],  # read where lines run through it
        )  # fmt: skip


def _size_axis(axes: Axes, sizes: list[int]) -> None:
    """A logarithmic axis with its ticks written out; a size that is alone stands in the middle."""
    axes.set_xscale("log")
    span = max(sizes) / min(sizes) if sizes else 1.0
    ticks = (1,) if span > 1000 else (1, 3) if span > 100 else (1, 2, 5) if span > 12 else (1, 1.5, 2, 3, 4, 6)
    alone = len(set(sizes)) == 1
    write_out_ticks(axes.xaxis, FixedLocator(sizes[:1]) if alone else LogLocator(subs=ticks, numticks=20))
    if sizes and min(sizes) > 0:
        axes.set_xlim(min(sizes) / 1.35, max(sizes) * 1.35)
