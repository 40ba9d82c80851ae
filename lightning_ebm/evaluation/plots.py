"""Figures of a comparison and of recalled patterns; each function returns a Figure, nothing is global."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from lightning_ebm.evaluation.pictures import mosaic, shown_steps
from lightning_ebm.evaluation.results import CONTROL, Comparison, Gallery, Result, mean_and_band
from lightning_ebm.evaluation.style import BACKGROUND, COLOURS, DASHES, FAINT, MARKERS, new_figure
from lightning_ebm.evaluation.tables import mean, of_setting, setting_name, settings

Point = tuple[int, float, float, float]  # size or number of patterns; mean, 5th, 95th percentile of the error


def error_against_size(comparison: Comparison, dark: bool = False) -> Figure:
    """Error on the corrupted values against the size of the state, one panel for each setting.

    Points are means, bars reach from the 5th to the 95th percentile of the test episodes. The sizes of one row are
    joined by a line.
    Controls, and memories without a state, have no size and are dashed horizontals: of all memories with nothing
    written, only the best.

    Args:
        comparison: what to draw.
        dark: whether it is shown on a dark background.
    """
    groups = settings(comparison.results)
    masks, items = sorted({mask for _, mask in groups}), sorted({count for count, _ in groups})
    lines = _size_lines(comparison.results)
    looks = _looks(((name, results[0].memory) for name, results in lines.items()), dark)
    handles: dict[str, Artist] = {}
    with new_figure(6.4 if len(masks) == 1 else 9.2, 1.2 + 3.4 * len(items), dark) as figure:
        panels = figure.subplots(len(items), len(masks), squeeze=False, sharex=True, sharey=True)
        _size_axis(panels[0, 0], [result.floats for results in lines.values() for result in results])
        for (row, column), axes in np.ndenumerate(panels):
            setting = items[row], masks[column]
            axes.set_title(setting_name(*setting))
            alone: list[int] = []  # sizes of the lines that have but one point
            for name, results in lines.items():
                points = [_point(result.floats, result) for result in of_setting(results, *setting)]
                rank = 0
                if len(points) == 1:
                    rank = sum(abs(math.log(points[0][0] / size)) < 0.03 for size in alone)
                    alone.append(points[0][0])
                if points:
                    handles[name] = _draw_bars(figure, axes, points, looks[name], rank)
            _draw_controls(axes, of_setting(comparison.results, *setting), dark)
            axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # a marker at zero is seen whole
        _name_axes(panels, "floats of state (log scale)", comparison.unit)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=max(1, min(3, len(handles))))
    return figure


def error_against_items(comparison: Comparison, dark: bool = False) -> Figure:
    """Error on the corrupted values against the number of stored patterns, one panel for each mask setting.

    Lines are means, bands reach from 5th to 95th percentile of the test episodes. Controls are dashed: of all
    memories with nothing written, only the best is shown.

    Args:
        comparison: what to draw; a row is followed over the numbers of patterns by its label.
        dark: whether it is shown on a dark background.
    """
    masks = sorted({result.mask_known for result in comparison.results})
    lines: dict[str, list[Result]] = {}
    for result in comparison.results:
        if result.memory != CONTROL:
            lines.setdefault(result.label, []).append(result)
    looks = _looks(((label, results[0].memory) for label, results in lines.items()), dark)
    control: dict[str, Any] = {"color": FAINT[dark], "linestyle": (0, (4, 3)), "linewidth": 1.1, "zorder": 2}
    with new_figure(6.4 if len(masks) == 1 else 9.8, 4.4, dark) as figure:
        panels = figure.subplots(1, len(masks), squeeze=False, sharex=True, sharey=True)
        for mask_known, axes in zip(masks, panels.flat, strict=True):
            axes.set_title(f"mask {'known' if mask_known else 'unknown'}")
            axes.set_xticks(sorted({result.items for result in comparison.results}))
            ends: list[tuple[float, str, str]] = []
            for label, results in (_controls(comparison.results) | lines).items():
                points = sorted(_point(result.items, result) for result in results if result.mask_known == mask_known)
                if points:
                    items, means, lows, highs = zip(*points, strict=True)
                    look = {"zorder": 3, **looks[label]} if label in looks else control
                    axes.plot(items, means, label=label, **look)
                    if label in looks:
                        axes.fill_between(items, lows, highs, color=look["color"], alpha=0.12, linewidth=0)
                    ends.append((means[-1], label, look["color"]))
            axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])
            _label_ends(axes, ends)
        _name_axes(panels, "patterns stored", comparison.unit)
    return figure


def has_size_sweep(comparison: Comparison) -> bool:
    """Whether any memory was tried in several sizes."""
    return any(len({result.floats for result in line}) > 1 for line in _size_lines(comparison.results).values())


def recall_gallery(gallery: Gallery, dark: bool = False) -> Figure:
    """What each memory recalled: one column a pattern; rows pattern, query, and each memory's answer.

    Args:
        gallery: patterns, queries and read paths of one episode.
        dark: whether it is shown on a dark background.
    """
    answers = {recall.label: recall.trajectory[-1] for recall in gallery.recalls}
    values = np.stack([gallery.patterns, gallery.queries, *answers.values()])
    columns = [str(1 + item) for item in range(values.shape[1])]
    return _picture_table(values, ["pattern", "query", *answers], columns, dark)


def contact_sheet(
    patterns: np.ndarray,
    queries: np.ndarray,
    title: str,
    columns: int = 16,
    masks: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """What a data set and a distortion look like: rows of patterns, each above the row of their queries.

    Args:
        patterns: of one episode, (items, *shape), values in [0, 1]; what does not fill a row is left out.
        queries: the same, distorted.
        title: heads the sheet.
        columns: patterns in a row.
        masks: where they were distorted, of the same shape; below the queries, light where True. None: not shown.
        names: what each row of queries is called; None: query.
    """
    columns = min(columns, len(patterns))
    rows = len(patterns) // columns
    kinds = [patterns, queries] if masks is None else [patterns, queries, 0.7 * masks.astype(np.float32)]
    in_rows = [one[: rows * columns].reshape(rows, columns, *patterns.shape[1:]) for one in kinds]
    values = np.stack(in_rows, 1).reshape(len(kinds) * rows, columns, *patterns.shape[1:])
    labels = [label for name in names or ["query"] * rows for label in ("pattern", name, "mask")[: len(kinds)]]
    figure = _picture_table(values, labels, [""] * columns, dark=False)
    figure.suptitle(title)
    return figure


def read_path(patterns: np.ndarray, query: np.ndarray, trajectory: np.ndarray, dark: bool = False) -> Figure:
    """How reading walks from query to answer: one row an item; columns pattern, query, and the read steps.

    Args:
        patterns: what was stored, (items, *shape), values in [0, 1].
        query: the same, distorted.
        trajectory: (steps, items, *shape), as `read` returns it, for this one episode. Of more than eight
            steps, eight are shown, the first and the last among them.
        dark: whether it is shown on a dark background.
    """
    steps = shown_steps(len(trajectory))
    values = np.stack([patterns, query, *(trajectory[step] for step in steps)], axis=1)
    columns = ["pattern", "query", *(f"read {1 + step}" for step in steps)]
    return _picture_table(values, [str(1 + item) for item in range(len(patterns))], columns, dark)


def _point(position: int, result: Result) -> Point:
    return (position, *mean_and_band(result.error_corrupted))


def _size_lines(results: list[Result]) -> dict[str, list[Result]]:
    """Results that have a size, by the line they are points of, along it."""
    lines: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.floats):
        if result.memory != CONTROL and result.floats:
            lines.setdefault(result.series or result.label, []).append(result)
    return {name: lines[name] for name in dict.fromkeys(r.series or r.label for r in results) if name in lines}


def _controls(results: list[Result]) -> dict[str, list[Result]]:
    """The controls by kind ("EBMM, nothing written" is one of "nothing written"); of each, the best per setting."""
    found: dict[str, list[Result]] = {}
    for setting in settings(results):
        best: dict[str, Result] = {}
        for result in of_setting(results, *setting):
            kind = result.label.rpartition(", ")[2]
            if result.memory == CONTROL and not mean(best.setdefault(kind, result)) <= mean(result):
                best[kind] = result
        for kind, result in best.items():
            found.setdefault(kind, []).append(result)
    return found


def _looks(lines: Iterable[tuple[str, str]], dark: bool) -> dict[str, dict[str, Any]]:
    """Colour and marker by memory, its further lines dashed and hollow; if all are one memory, by line."""
    pairs = list(lines)
    one_memory = len({memory for _, memory in pairs}) == 1
    kinds = {name: name if one_memory else memory for name, memory in pairs}
    ranks = sorted(dict.fromkeys(kinds.values()), key=lambda kind: kind != "ebmm")  # EBMM has always the first
    looks: dict[str, dict[str, Any]] = {}
    variants: Counter[str] = Counter()
    for name, kind in kinds.items():
        rank, variant = ranks.index(kind), variants[kind]
        variants[kind] += 1
        colour = COLOURS[dark][rank % len(COLOURS[dark])]
        looks[name] = {
            "color": colour,
            "marker": MARKERS[rank % len(MARKERS)],
            "markerfacecolor": BACKGROUND[dark] if variant % 4 == 1 else colour,
            "markerfacecoloralt": BACKGROUND[dark],
            "fillstyle": ("full", "full", "left", "bottom")[variant % 4],
            "linestyle": DASHES[variant % 4],
        }
    return looks


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


def _draw_controls(axes: Axes, results: list[Result], dark: bool) -> None:
    """Dashed horizontals; the highest is named above its line and others below, so that names do not meet."""
    without_size = {kind: result for kind, (result,) in _controls(results).items()}
    without_size |= {result.label: result for result in results if result.memory != CONTROL and not result.floats}
    levels = sorted(((mean(result), label) for label, result in without_size.items()), reverse=True)
    for rank, (level, label) in enumerate(levels):
        axes.axhline(level, color=FAINT[dark], linestyle=(0, (4, 3)), linewidth=1.1)
        axes.annotate(
            label, (1 - 0.34 * (rank // 2), level), (0, -3 if rank else 3), fontsize=8, color=FAINT[dark],
            xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            ha="right", va="top" if rank else "bottom",
        )  # fmt: skip


def _size_axis(axes: Axes, sizes: list[int]) -> None:
    """A logarithmic axis with its ticks written out; a size that is alone stands in the middle."""
    axes.set_xscale("log")
    span = max(sizes) / min(sizes) if sizes else 1.0
    ticks = (1,) if span > 1000 else (1, 3) if span > 100 else (1, 2, 5) if span > 12 else (1, 1.5, 2, 3, 4, 6)
    one_size = len(set(sizes)) == 1
    axes.xaxis.set_major_locator(FixedLocator(sizes[:1]) if one_size else LogLocator(subs=ticks, numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    if sizes and min(sizes) > 0:
        axes.set_xlim(min(sizes) / 1.35, max(sizes) * 1.35)


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


def _name_axes(panels: np.ndarray, horizontal: str, unit: str) -> None:
    for axes in panels[-1]:
        axes.set_xlabel(horizontal)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"error on corrupted values\n({unit})")


def _picture_table(values: np.ndarray, rows: list[str], columns: list[str], dark: bool) -> Figure:
    """Patterns (rows, columns, *shape) with names: one image, as drawing hundreds of axes is slow."""
    picture = mosaic(values)
    height, width = picture.shape[0] / len(rows), picture.shape[1] / len(columns)
    cell = 0.75  # inches
    names = 0.5 + 0.075 * max(map(len, rows))  # the longest name at the font size of ticks
    with new_figure(cell * len(columns) + names, cell * len(rows) * height / width + 0.4, dark) as figure:
        axes = figure.subplots()
        axes.imshow(picture, interpolation="none")  # which keeps pixels sharp in SVG too
        axes.set_xticks((np.arange(len(columns)) + 0.5) * width - 0.5, columns)
        axes.set_yticks((np.arange(len(rows)) + 0.5) * height - 0.5, rows)
        axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.grid(False)
    return figure
