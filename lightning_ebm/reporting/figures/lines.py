"""Lines with bands, one for each memory: the figure that most analyses end in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from lightning_ebm.reporting.figures.style import COLOURS, DASHES, MARKERS, new_figure, write_out_ticks

Lines = dict[str, list[tuple[float, float, float, float]]]
"""Label -> points: place on the axis; mean, 5th, 95th percentile of what is measured there."""


def error_lines(
    lines: Mapping[str, Sequence[tuple[float, float, float, float]]],
    horizontal: str,
    unit: str,
    dark: bool = False,
    **axes_settings: Any,
) -> Figure:
    """Means as lines, bands around them.

    Args:
        lines: as `Lines`.
        horizontal: name of the horizontal axis; logarithmic with `xscale="log"` among `axes_settings`, which then
            has a tick at each point.
        unit: unit of the errors.
        dark: whether it is shown on a dark background.
        axes_settings: what `Axes.set` takes.
    """
    with new_figure(6.4, 4.2 + 0.12 * len(lines), dark) as figure:
        axes = figure.subplots()
        for rank, (label, points) in enumerate(lines.items()):
            places, means, lows, highs = zip(*points, strict=True)
            colour = COLOURS[dark][rank % len(COLOURS[dark])]
            marker, dashes = MARKERS[rank % len(MARKERS)], DASHES[rank // 8 % len(DASHES)]
            axes.plot(places, means, label=label, color=colour, marker=marker, linestyle=dashes)
            axes.fill_between(places, lows, highs, color=colour, alpha=0.12, linewidth=0)
        axes.set(xlabel=horizontal, ylabel=f"error ({unit})", **axes_settings)
        if axes.get_xscale() == "log":
            each = sorted({place for points in lines.values() for place, *_ in points})
            write_out_ticks(axes.xaxis, FixedLocator(each))
        axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(3, len(lines)))
    return figure
