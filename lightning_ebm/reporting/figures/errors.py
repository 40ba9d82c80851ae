"""The error figures of a comparison, and the lines and bars that most analyses end in."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, LogLocator
from matplotlib.transforms import ScaledTranslation

from lightning_ebm.reporting.comparison_tables import mask_name, setting_name
from lightning_ebm.reporting.figures.style import (
    BACKGROUND,
    COLOURS,
    DASHES,
    FAINT,
    INK,
    MARKERS,
    draw_line,
    from_zero,
    legend,
    look,
    new_figure,
    write_out_ticks,
)
from lightning_ebm.reporting.published import Point
from lightning_ebm.reporting.record import EXACT, MEASURES, Comparison, Measure, Record, by_setting, grouped, size_lines

MANY = 12
"""Lines that one figure may hold before nobody can follow them; labels that fit below it, and markers on a line."""
APART = 1.15
"""Factor by which neighbouring labels on a logarithmic axis differ at least, so that they do not overlap."""
WIDE = 20.0
"""Ratio of mean errors beyond which the smaller ones could not be distinguished on a linear axis."""

Lines = dict[str, list[tuple[float, float, float, float]]]
"""Label -> points: place on the axis; mean, 5th, 95th percentile of what is measured there."""


def error_against_items(comparison: Comparison, measure: Measure = "error_corrupted") -> Figure:
    """Error against the number of stored patterns, one panel for each mask setting, one line for each label.

    Lines are means, bands reach from 5th to 95th percentile of the test episodes. Controls are dashed: of the prior
    states of all memories, only the best is shown.
    """
    masks = comparison.masks
    lines = grouped((one for one in comparison.results if not one.is_control), lambda one: one.label)
    published = comparison.published_lines("items", measure)
    counts = {*comparison.counts, *(count for points in published.values() for count, *_ in points)}
    styles = looks(lines)
    with new_figure(6.4 if len(masks) == 1 else 9.8, 4.2 + 0.08 * len(lines)) as figure:
        panels = figure.subplots(1, len(masks), squeeze=False, sharex=True, sharey=True)
        for mask_known, axes in zip(masks, panels.flat, strict=True):
            axes.set_title(f"mask {mask_name(mask_known)}")
            axes.set_xticks(sorted(counts))
            for rank, (label, records) in enumerate((controls(comparison.results, measure) | lines).items()):
                points = sorted((one.items, *one.band(measure)) for one in records if one.mask_known == mask_known)
                if points and label in styles:
                    draw_line(axes, points, label=label, zorder=3, **styles[label])
                elif points:
                    items, means, *_ = zip(*points, strict=True)
                    axes.plot(items, means, label=label, color=FAINT, linestyle=DASHES[1 + rank], linewidth=1.1)
            draw_published(axes, published)
            from_zero(axes)
        name_axes(panels, "patterns stored", comparison.unit, measure)
        legend(figure)
    return figure


def error_against_size(comparison: Comparison, measure: Measure = "error_corrupted") -> Figure:
    """Error against the size of the state, one panel for each setting.

    Points are means, bars reach from the 5th to the 95th percentile of the test episodes. The sizes of one row are
    joined by a line. Of more than `MANY` lines, those of rounded states are left to the table. Controls, and memories
    without a state, have no size and are dashed horizontals: of the prior states of all memories, only the best.
    With published lines, or where means differ by more than a factor of `WIDE`, ratios are what is read off: the
    errors' axis is logarithmic, unless a mean error is 0. Bars that reach to 0 then end at the lower edge.
    """
    groups, masks, items = by_setting(comparison.results), comparison.masks, comparison.counts
    lines = size_lines(comparison.results)
    if len(lines) > MANY:
        lines = {name: line for name, line in lines.items() if line[0].precision == "float32"}
    published = comparison.published_lines("floats", measure)
    styles = looks(lines)
    drawn = [(record.floats, *record.band(measure)) for records in lines.values() for record in records]
    means = [error for _, error, *_ in drawn if math.isfinite(error)]
    ratios = min(means, default=0.0) > 0 and (bool(published) or max(means) > WIDE * min(means))
    positive = [value for _, *values in drawn for value in values if value > 0]
    sizes = [size for size, *_ in drawn] + [size for points in published.values() for size, *_ in points]
    with new_figure(6.4 if len(masks) == 1 else 9.2, 1.2 + 3.4 * len(items)) as figure:
        panels = figure.subplots(len(items), len(masks), squeeze=False, sharex=True, sharey=True)
        size_axis(panels[0, 0], sizes)
        for (row, column), axes in np.ndenumerate(panels):
            here = groups.get((items[row], masks[column]), [])
            axes.set_title(setting_name(items[row], masks[column]))
            alone: list[int] = []  # sizes of the lines that have but one point
            for name, records in lines.items():
                points = [(record.floats, *record.band(measure)) for record in records if record in here]
                rank = 0
                if len(points) == 1:
                    rank = sum(abs(math.log(points[0][0] / size)) < 0.03 for size in alone)
                    alone.append(points[0][0])
                if points:
                    draw_bars(figure, axes, points, {"label": name, **styles[name]}, rank)
            draw_controls(axes, here, measure)
            draw_published(axes, published)
            if ratios:
                axes.set_yscale("log")
                axes.set_ylim(bottom=min(positive) / 1.5)
                write_out_ticks(axes.yaxis)
            else:
                from_zero(axes)
        name_axes(panels, "floats of state (log scale)", comparison.unit, measure)
        legend(figure)
    return figure


def controls(records: list[Record], measure: Measure) -> dict[str, list[Record]]:
    """The controls by role; of each, the best per setting."""
    drawn = (one for one in records if one.is_control and one.role != EXACT)  # it has a size, as the memories have
    return {
        role: [min(members, key=lambda one: one.mean(measure)) for members in by_setting(found).values()]
        for role, found in grouped(drawn, lambda one: one.role).items()
    }


def looks(lines: Mapping[str, list[Record]]) -> dict[str, dict[str, Any]]:
    """Colour and marker by memory, its further lines dashed and hollow; if all are one memory, by line."""
    kinds = {name: records[0].memory for name, records in lines.items()}
    if len({*kinds.values()}) == 1:
        kinds = {name: name for name in lines}
    ranks = sorted(dict.fromkeys(kinds.values()), key=lambda kind: kind != "ebmm")  # EBMM has always the first
    styles: dict[str, dict[str, Any]] = {}
    variants: Counter[str] = Counter()
    for name, kind in kinds.items():
        rank, variant = ranks.index(kind), variants[kind] % 4
        variants[kind] += 1
        rounds, hue = divmod(rank, len(COLOURS))
        colour = COLOURS[hue]
        styles[name] = {
            "color": colour,
            "marker": MARKERS[(rank + rounds) % len(MARKERS)],  # a colour that comes again has another marker
            "markerfacecolor": BACKGROUND if variant == 1 else colour,
            "markerfacecoloralt": BACKGROUND,
            "fillstyle": ("full", "full", "left", "bottom")[variant],
            "linestyle": DASHES[variant],
        }
    return styles


def name_axes(panels: np.ndarray, horizontal: str, unit: str, measure: Measure) -> None:
    """Names the axes of a grid of panels on its left and lower edge."""
    for axes in panels[-1]:
        axes.set_xlabel(horizontal)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{MEASURES[measure]}\n({unit})")


def draw_published(axes: Axes, lines: Mapping[str, Sequence[Point]]) -> None:
    """A paper's lines, thin, dashed and grey; no bands, which would hide one's own."""
    for (label, points), marker in zip(lines.items(), cycle(MARKERS), strict=False):
        places, means, *_ = zip(*points, strict=True)
        axes.plot(
            places, means, label=label, color=FAINT, linestyle=(0, (3, 2)), linewidth=0.9, zorder=1.5,
            marker=marker, markersize=3,
        )  # fmt: skip


def draw_bars(figure: Figure, axes: Axes, points: Sequence[Point], look: dict[str, Any], rank: int) -> None:
    """Means and bars of one line; the n-th lone point at a size stands aside, not to hide the first."""
    sizes, means, lows, highs = zip(*points, strict=True)
    inches = (rank + 1) // 2 * (-1) ** rank * 7 / 72
    place = axes.transData + ScaledTranslation(inches, 0, figure.dpi_scale_trans)
    # Not `errorbar`: it refuses a mean outside of the band, as when all but a few episodes are without error.
    axes.vlines(sizes, lows, highs, color=look["color"], alpha=0.55, linewidth=1.4, transform=place)
    axes.update_datalim([(sizes[0], bound) for bound in (*means, *lows, *highs)])  # a shift hides them
    axes.autoscale_view()
    axes.plot(sizes, means, zorder=3, transform=place, **look)


def draw_controls(axes: Axes, records: list[Record], measure: Measure) -> None:
    """Dashed horizontals; the highest is named above its line and others below, so that names do not meet."""
    without_size = {role: record for role, (record,) in controls(records, measure).items()}
    without_size |= {record.label: record for record in records if not record.is_control and not record.floats}
    levels = sorted(((record.mean(measure), label) for label, record in without_size.items()), reverse=True)
    for rank, (level, label) in enumerate(levels):
        axes.axhline(level, color=FAINT, linestyle=(0, (4, 3)), linewidth=1.1)
        axes.annotate(
            label, (1 - 0.34 * (rank // 2), level), (0, -3 if rank else 3), fontsize=8, color=FAINT,
            xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            ha="right", va="top" if rank else "bottom", zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground=BACKGROUND)],  # read where lines run through it
        )  # fmt: skip


def size_axis(axes: Axes, sizes: list[int]) -> None:
    """A logarithmic axis with its ticks written out; a size that is alone stands in the middle."""
    axes.set_xscale("log")
    span = max(sizes) / min(sizes) if sizes else 1.0
    ticks = (1,) if span > 1000 else (1, 3) if span > 100 else (1, 2, 5) if span > 12 else (1, 1.5, 2, 3, 4, 6)
    alone = len(set(sizes)) == 1
    write_out_ticks(axes.xaxis, FixedLocator(sizes[:1]) if alone else LogLocator(subs=ticks, numticks=20))
    if sizes:
        axes.set_xlim(min(sizes) / 1.35, max(sizes) * 1.35)


def error_lines(lines: Lines, horizontal: str, unit: str, xscale: str = "linear") -> Figure:
    """Means as lines, bands around them, over a horizontal axis; errors are in `unit`.

    With `xscale="log"` the horizontal axis has a tick at each point, or at 1 and 3 of each power of ten where that
    would be too many.
    """
    with new_figure(6.4, 4.2 + 0.12 * len(lines)) as figure:
        axes = figure.subplots()
        for rank, (label, points) in enumerate(lines.items()):
            crowded = {"marker": ""} if len(points) > MANY else {}
            draw_line(axes, points, label=label, **look(rank) | crowded)
        axes.set(xlabel=horizontal, ylabel=f"error ({unit})", xscale=xscale)
        if xscale == "log":
            ticks = well_apart(place for points in lines.values() for place, *_ in points)
            write_out_ticks(axes.xaxis, FixedLocator(ticks) if len(ticks) <= MANY else LogLocator(subs=(1, 3)))
        from_zero(axes)
        legend(figure)
    return figure


def well_apart(places: Iterable[float]) -> list[float]:
    """Those of some places above 0, in ascending order, that are at least a factor of `APART` above the one before."""
    found: list[float] = []
    for place in sorted(places):
        if not found or place >= APART * found[-1]:
            found.append(place)
    return found


def error_bars(bars: Mapping[str, Sequence[tuple[str, float, float, float]]], unit: str) -> Figure:
    """Means as bars, bands as lines, of label -> kind of test; mean, 5th, 95th percentile of the error in `unit`."""
    kinds = list(dict.fromkeys(kind for of_label in bars.values() for kind, *_ in of_label))
    height = 0.8 / len(bars)
    with new_figure(6.8, 1.2 + 0.28 * len(kinds) * (1 + 0.5 * len(bars))) as figure:
        axes = figure.subplots()
        for rank, (label, of_label) in enumerate(bars.items()):
            names, means, lows, highs = (list(values) for values in zip(*of_label, strict=True))
            places = [kinds.index(kind) + (rank - (len(bars) - 1) / 2) * height for kind in names]
            axes.barh(places, means, height, color=look(rank)["color"], label=label)
            axes.hlines(places, lows, highs, color=INK, linewidth=1)
        axes.set_yticks(np.arange(len(kinds)), kinds)
        axes.invert_yaxis()
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.set_xlabel(f"error on corrupted values ({unit})")
        legend(figure)
    return figure
