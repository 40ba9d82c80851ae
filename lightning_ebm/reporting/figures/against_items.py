"""Error against the number of stored patterns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_ebm.reporting.figures.series import controls, draw_published, looks, name_axes, point
from lightning_ebm.reporting.figures.style import FAINT, new_figure
from lightning_ebm.reporting.record import CONTROL, Comparison, Result
from lightning_ebm.reporting.tables import Measure


def error_against_items(comparison: Comparison, dark: bool = False, measure: Measure = "error_corrupted") -> Figure:
    """Error against the number of stored patterns, one panel for each mask setting.

    Lines are means, bands reach from 5th to 95th percentile of the test episodes. Controls are dashed: of all
    memories with nothing written, only the best is shown. Published lines over numbers of patterns are laid over the
    error on all values, which is what they count.

    Args:
        comparison: what to draw; a row is followed over the numbers of patterns by its label.
        dark: whether it is shown on a dark background.
        measure: which of the two errors.
    """
    masks = sorted({result.mask_known for result in comparison.results})
    lines: dict[str, list[Result]] = {}
    for result in comparison.results:
        if result.memory != CONTROL:
            lines.setdefault(result.label, []).append(result)
    published = comparison.published if measure == "error" else None
    if published and published.axis != "items":
        published = None
    counts = {result.items for result in comparison.results}
    counts |= {count for points in (published.lines.values() if published else ()) for count, *_ in points}
    styles = looks(((label, results[0].memory) for label, results in lines.items()), dark)
    control: dict[str, Any] = {"color": FAINT[dark], "linestyle": (0, (4, 3)), "linewidth": 1.1, "zorder": 2}
    with new_figure(6.4 if len(masks) == 1 else 9.8, 4.4, dark) as figure:
        panels = figure.subplots(1, len(masks), squeeze=False, sharex=True, sharey=True)
        for mask_known, axes in zip(masks, panels.flat, strict=True):
            axes.set_title(f"mask {'known' if mask_known else 'unknown'}")
            axes.set_xticks(sorted(counts))
            ends: list[tuple[float, str, str]] = []
            for label, results in (controls(comparison.results, measure) | lines).items():
                points = sorted(
                    point(result.items, result, measure) for result in results if result.mask_known == mask_known
                )
                if points:
                    items, means, lows, highs = zip(*points, strict=True)
                    look = {"zorder": 3, **styles[label]} if label in styles else control
                    axes.plot(items, means, label=label, **look)
                    if label in styles:
                        axes.fill_between(items, lows, highs, color=look["color"], alpha=0.12, linewidth=0)
                    ends.append((means[-1], label, look["color"]))
            if published:
                for name in draw_published(axes, published, dark):
                    ends.append((published.lines[name.removesuffix(", published")][-1][1], name, FAINT[dark]))
            axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
            _label_ends(axes, ends)
        name_axes(panels, "patterns stored", comparison.unit, measure)
    return figure


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names beside the last points, (height, name, colour), moved apart where they would overlap."""
    shown = sorted(end for end in ends if math.isfinite(end[0]))
    gap = 0.05 * (axes.get_ylim()[1] - axes.get_ylim()[0])
    heights = _apart([level for level, _, _ in shown], gap)
    beside = axes.get_yaxis_transform()  # x in parts of the axes, y in data
    for height, (level, text, colour) in zip(heights, shown, strict=True):
        axes.annotate(
            text, (0.97, level), (1.04, height), xycoords=beside, textcoords=beside,
            va="center", fontsize=8, color=colour, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (0, 0.5)},
        )  # fmt: skip


def _apart(levels: Sequence[float], gap: float) -> list[float]:
    """Sorted levels, moved as little as possible (least squares) until each is `gap` above the one before."""
    # Less the room that those below it need, no level may fall below another: such a group moves to its mean.
    groups: list[list[float]] = []
    for rank, level in enumerate(levels):
        groups.append([level - rank * gap])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    means = [max(0.0, float(np.mean(group))) for group in groups for _ in group]
    return [level + rank * gap for rank, level in enumerate(means)]
