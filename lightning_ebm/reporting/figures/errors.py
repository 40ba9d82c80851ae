"""The error figures of a comparison: against the number of stored patterns, and against the size of the state."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
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
    MARKERS,
    draw_line,
    from_zero,
    legend,
    new_figure,
    write_out_ticks,
)
from lightning_ebm.reporting.published import Published
from lightning_ebm.reporting.record import (
    EXACT,
    MEASURES,
    Comparison,
    Measure,
    Record,
    mean_and_band,
    of_setting,
    settings,
    size_lines,
)

Point = tuple[int, float, float, float]
"""Size or number of patterns; mean, 5th, 95th percentile of the error."""
MANY = 12
"""Lines that one figure may hold before nobody can follow them."""
WIDE = 20.0
"""Ratio of mean errors beyond which the smaller ones could not be distinguished on a linear axis."""
DASHED: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.1}


def error_against_items(comparison: Comparison, dark: bool = False, measure: Measure = "error_corrupted") -> Figure:
    """Error against the number of stored patterns, one panel for each mask setting, one line for each label.

    Lines are means, bands reach from 5th to 95th percentile of the test episodes. Controls are dashed: of the prior
    states of all memories, only the best is shown. Published lines count all values, so only the error on all values
    has them.
    """
    masks = sorted({record.mask_known for record in comparison.results})
    lines: dict[str, list[Record]] = {}
    for record in comparison.results:
        if not record.is_control:
            lines.setdefault(record.label, []).append(record)
    published = laid_over(comparison, "items", measure)
    counts = {record.items for record in comparison.results}
    counts |= {place for points in (published.lines.values() if published else ()) for place, *_ in points}
    styles = looks(((label, records[0].memory) for label, records in lines.items()), dark)
    with new_figure(6.4 if len(masks) == 1 else 9.8, 4.2 + 0.08 * len(lines), dark) as figure:
        panels = figure.subplots(1, len(masks), squeeze=False, sharex=True, sharey=True)
        for mask_known, axes in zip(masks, panels.flat, strict=True):
            axes.set_title(f"mask {mask_name(mask_known)}")
            axes.set_xticks(sorted(counts))
            for rank, (label, records) in enumerate((controls(comparison.results, measure) | lines).items()):
                points = sorted(point(one.items, one, measure) for one in records if one.mask_known == mask_known)
                if points and label in styles:
                    draw_line(axes, points, label=label, zorder=3, **styles[label])
                elif points:
                    items, means, *_ = zip(*points, strict=True)
                    axes.plot(items, means, label=label, color=FAINT[dark], linestyle=DASHES[1 + rank], linewidth=1.1)
            if published:
                draw_published(axes, published, dark)
            from_zero(axes)
        name_axes(panels, "patterns stored", comparison.unit, measure)
        legend(figure)
    return figure


def error_against_size(comparison: Comparison, dark: bool = False, measure: Measure = "error_corrupted") -> Figure:
    """Error against the size of the state, one panel for each setting.

    Points are means, bars reach from the 5th to the 95th percentile of the test episodes. The sizes of one row are
    joined by a line. Of more than `MANY` lines, those of rounded states are left to the table.
    Controls, and memories without a state, have no size and are dashed horizontals: of the prior states of all
    memories, only the best. Published lines over sizes are laid over the error on all values, which is what they count.
    With them, or where means differ by more than a factor of `WIDE`, the errors' axis is logarithmic, for ratios are
    what is read off, unless a mean error is 0. Bars that reach to 0 then end at the lower edge.
    """
    groups = settings(comparison.results)
    masks, items = sorted({mask for _, mask in groups}), sorted({count for count, _ in groups})
    lines = size_lines(comparison.results)
    if len(lines) > MANY:
        lines = {name: line for name, line in lines.items() if line[0].precision == "float32"}
    published = laid_over(comparison, "floats", measure)
    styles = looks(((name, records[0].memory) for name, records in lines.items()), dark)
    drawn = [point(record.floats, record, measure) for records in lines.values() for record in records]
    means = [error for _, error, *_ in drawn if math.isfinite(error)]
    ratios = min(means, default=0.0) > 0 and (published is not None or max(means) > WIDE * min(means))
    positive = [value for _, *values in drawn for value in values if value > 0]
    sizes = [record.floats for records in lines.values() for record in records]
    sizes += [size for points in (published.lines.values() if published else ()) for size, *_ in points]
    with new_figure(6.4 if len(masks) == 1 else 9.2, 1.2 + 3.4 * len(items), dark) as figure:
        panels = figure.subplots(len(items), len(masks), squeeze=False, sharex=True, sharey=True)
        size_axis(panels[0, 0], sizes)
        for (row, column), axes in np.ndenumerate(panels):
            here = of_setting(comparison.results, items[row], masks[column])
            axes.set_title(setting_name(items[row], masks[column]))
            alone: list[int] = []  # sizes of the lines that have but one point
            for name, records in lines.items():
                points = [point(record.floats, record, measure) for record in records if record in here]
                rank = 0
                if len(points) == 1:
                    rank = sum(abs(math.log(points[0][0] / size)) < 0.03 for size in alone)
                    alone.append(points[0][0])
                if points:
                    draw_bars(figure, axes, points, {"label": name, **styles[name]}, rank)
            draw_controls(axes, here, dark, measure)
            if published:
                draw_published(axes, published, dark)
            if ratios:
                axes.set_yscale("log")
                axes.set_ylim(bottom=min(positive) / 1.5)
                write_out_ticks(axes.yaxis)
            else:
                from_zero(axes)
        name_axes(panels, "floats of state (log scale)", comparison.unit, measure)
        legend(figure)
    return figure


def laid_over(comparison: Comparison, axis: str, measure: Measure) -> Published | None:
    """The published lines over an axis; none over the error on corrupted values, which they do not count."""
    found = comparison.published
    return found if found and found.axis == axis and measure == "error" else None


def point(position: int, record: Record, measure: Measure) -> Point:
    """The point of a record: where it stands, and its error."""
    return (position, *mean_and_band(getattr(record, measure)))


def controls(records: list[Record], measure: Measure) -> dict[str, list[Record]]:
    """The controls by role; of each, the best per setting."""
    found: dict[str, list[Record]] = {}
    for setting in settings(records):
        best: dict[str, Record] = {}
        for record in of_setting(records, *setting):
            drawn = record.is_control and record.role != EXACT  # it has a size, as the memories have
            if drawn and not best.setdefault(record.role, record).mean(measure) <= record.mean(measure):
                best[record.role] = record
        for role, record in best.items():
            found.setdefault(role, []).append(record)
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
        rank, variant = ranks.index(kind), variants[kind] % 4
        variants[kind] += 1
        rounds, hue = divmod(rank, len(COLOURS[dark]))
        colour = COLOURS[dark][hue]
        styles[name] = {
            "color": colour,
            "marker": MARKERS[(rank + rounds) % len(MARKERS)],  # a colour that comes again has another marker
            "markerfacecolor": BACKGROUND[dark] if variant == 1 else colour,
            "markerfacecoloralt": BACKGROUND[dark],
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


def draw_published(axes: Axes, published: Published, dark: bool) -> None:
    """A paper's lines, thin, dashed and grey; no bands, which would hide one's own."""
    for rank, (label, points) in enumerate(published.lines.items()):
        places, means, *_ = zip(*points, strict=True)
        settings: dict[str, Any] = {"color": FAINT[dark], "linestyle": (0, (3, 2)), "linewidth": 0.9, "zorder": 1.5}
        marker = MARKERS[rank % len(MARKERS)]
        axes.plot(places, means, label=f"{label}, published", marker=marker, markersize=3, **settings)


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


def draw_controls(axes: Axes, records: list[Record], dark: bool, measure: Measure) -> None:
    """Dashed horizontals; the highest is named above its line and others below, so that names do not meet."""
    without_size = {role: record for role, (record,) in controls(records, measure).items()}
    without_size |= {record.label: record for record in records if not record.is_control and not record.floats}
    levels = sorted(((record.mean(measure), label) for label, record in without_size.items()), reverse=True)
    for rank, (level, label) in enumerate(levels):
        axes.axhline(level, color=FAINT[dark], **DASHED)
        axes.annotate(
            label, (1 - 0.34 * (rank // 2), level), (0, -3 if rank else 3), fontsize=8, color=FAINT[dark],
            xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            ha="right", va="top" if rank else "bottom", zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground=BACKGROUND[dark])],  # read where lines run through it
        )  # fmt: skip


def size_axis(axes: Axes, sizes: list[int]) -> None:
    """A logarithmic axis with its ticks written out; a size that is alone stands in the middle."""
    axes.set_xscale("log")
    span = max(sizes) / min(sizes) if sizes else 1.0
    ticks = (1,) if span > 1000 else (1, 3) if span > 100 else (1, 2, 5) if span > 12 else (1, 1.5, 2, 3, 4, 6)
    alone = len(set(sizes)) == 1
    write_out_ticks(axes.xaxis, FixedLocator(sizes[:1]) if alone else LogLocator(subs=ticks, numticks=20))
    if sizes and min(sizes) > 0:
        axes.set_xlim(min(sizes) / 1.35, max(sizes) * 1.35)
