"""What the error figures share: points, controls, the look of a memory's lines, and published lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lightning_ebm.reporting.figures.style import BACKGROUND, COLOURS, DASHES, FAINT, MARKERS
from lightning_ebm.reporting.published import Published
from lightning_ebm.reporting.record import CONTROL, Result, mean_and_band
from lightning_ebm.reporting.tables import MEASURES, Measure, mean, of_setting, settings

Point = tuple[int, float, float, float]  # size or number of patterns; mean, 5th, 95th percentile of the error


def point(position: int, result: Result, measure: Measure) -> Point:
    """The point of a result: where it stands, and its error."""
    return (position, *mean_and_band(getattr(result, measure)))


def controls(results: list[Result], measure: Measure) -> dict[str, list[Result]]:
    """The controls by kind ("EBMM, nothing written" is one of "nothing written"); of each, the best per setting."""
    found: dict[str, list[Result]] = {}
    for setting in settings(results):
        best: dict[str, Result] = {}
        for result in of_setting(results, *setting):
            kind = result.label.rpartition(", ")[2]
            if result.memory == CONTROL and not mean(best.setdefault(kind, result), measure) <= mean(result, measure):
                best[kind] = result
        for kind, result in best.items():
            found.setdefault(kind, []).append(result)
    return found


def looks(lines: Iterable[tuple[str, str]], dark: bool) -> dict[str, dict[str, Any]]:
    """Colour and marker by memory, its further lines dashed and hollow; if all are one memory, by line."""
    pairs = list(lines)
    one_memory = len({memory for _, memory in pairs}) == 1
    kinds = {name: name if one_memory else memory for name, memory in pairs}
    ranks = sorted(dict.fromkeys(kinds.values()), key=lambda kind: kind != "ebmm")  # EBMM has always the first
    styles: dict[str, dict[str, Any]] = {}
    variants: Counter[str] = Counter()
    for name, kind in kinds.items():
        rank, variant = ranks.index(kind), variants[kind]
        variants[kind] += 1
        rounds, hue = divmod(rank, len(COLOURS[dark]))
        colour = COLOURS[dark][hue]
        styles[name] = {
            "color": colour,
            "marker": MARKERS[(rank + rounds) % len(MARKERS)],  # a colour that comes again has another marker
            "markerfacecolor": BACKGROUND[dark] if variant % 4 == 1 else colour,
            "markerfacecoloralt": BACKGROUND[dark],
            "fillstyle": ("full", "full", "left", "bottom")[variant % 4],
            "linestyle": DASHES[variant % 4],
        }
    return styles


def name_axes(panels: np.ndarray, horizontal: str, unit: str, measure: Measure) -> None:
    """Names the axes of a grid of panels on its left and lower edge."""
    for axes in panels[-1]:
        axes.set_xlabel(horizontal)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{MEASURES[measure]}\n({unit})")


def draw_published(axes: Axes, published: Published, dark: bool) -> dict[str, Line2D]:
    """A paper's lines, thin, dashed and grey; no bands, which would hide one's own. Returns them by name."""
    handles = {}
    for rank, (label, points) in enumerate(published.lines.items()):
        places, means, *_ = zip(*points, strict=True)
        look: dict[str, Any] = {"color": FAINT[dark], "linestyle": (0, (3, 2)), "linewidth": 0.9, "zorder": 1.5}
        marker = MARKERS[rank % len(MARKERS)]
        (handles[f"{label}, published"],) = axes.plot(places, means, marker=marker, markersize=3, **look)
    return handles
