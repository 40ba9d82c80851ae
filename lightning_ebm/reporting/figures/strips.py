"""Patterns of any shape as pixels, and figures of them: what a memory recalled, and how reading got there."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lightning_ebm.reporting.figures.style import new_figure
from lightning_ebm.reporting.record import Recall


def recall_gallery(gallery: Mapping[str, Recall]) -> Figure:
    """What each memory, by label, recalled: one column a pattern; rows pattern, query, and each memory's answer."""
    first = next(iter(gallery.values()))
    values = np.stack([first.patterns, first.queries, *(recall.trajectory[-1] for recall in gallery.values())])
    columns = [str(1 + item) for item in range(values.shape[1])]
    return _picture_table(values, ["pattern", "query", *gallery], columns)


def contact_sheet(patterns: np.ndarray, queries: np.ndarray, title: str) -> Figure:
    """What a data set and a distortion look like: rows of patterns, each above the row of their queries.

    Patterns and queries are those of one episode, (items, *shape). An incomplete row is omitted.
    """
    columns = min(16, len(patterns))
    rows = len(patterns) // columns
    in_rows = [one[: rows * columns].reshape(rows, columns, *patterns.shape[1:]) for one in (patterns, queries)]
    values = np.stack(in_rows, 1).reshape(2 * rows, columns, *patterns.shape[1:])
    figure = _picture_table(values, ["pattern", "query"] * rows, [""] * columns)
    figure.suptitle(title)
    return figure


def read_path(recall: Recall) -> Figure:
    """How reading walks from query to answer: one row an item; columns pattern, query, and at most eight read steps.

    Energies, if there are any, stand below the pictures, as in figure 2 of the EBMM paper.
    """
    steps = shown_steps(len(recall.trajectory))
    values = np.stack([recall.patterns, recall.queries, *recall.trajectory[steps]], axis=1)
    columns = ["pattern", "query", *(f"read {1 + step}" for step in steps)]
    notes = None
    if recall.energies is not None:
        shown = recall.energies[[0, 1, *(2 + step for step in steps)]]
        notes = [[f"{energy:.4g}" for energy in row] for row in shown.T]
    return _picture_table(values, [str(1 + item) for item in range(len(values))], columns, notes)


def _picture_table(
    values: np.ndarray, rows: list[str], columns: list[str], notes: list[list[str]] | None = None
) -> Figure:
    """Patterns (rows, columns, *shape) with names: one image, as drawing hundreds of axes is slow.

    Notes, by row and column, stand below the pictures.
    """
    picture = mosaic(values, 0.0 if notes is None else 0.25)
    height, width = picture.shape[0] / len(rows), picture.shape[1] / len(columns)
    cell = 0.75  # inches
    names = 0.5 + 0.075 * max(map(len, rows))  # the longest name at the font size of ticks
    with new_figure(cell * len(columns) + names, cell * len(rows) * height / width + 0.4) as figure:
        axes = figure.subplots()
        axes.imshow(picture, interpolation="none")  # which keeps pixels sharp in SVG too
        axes.set_xticks((np.arange(len(columns)) + 0.5) * width - 0.5, columns)
        axes.set_yticks((np.arange(len(rows)) + 0.5) * height - (0.12 * width if notes else 0) - 0.5, rows)
        axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.grid(False)
        for (row, column), note in np.ndenumerate(np.array(notes or [[]])):
            place = ((column + 0.5) * width - 0.5, (row + 1) * height - 0.23 * width)
            axes.text(*place, note, ha="center", va="top", fontsize=7)
    return figure


def as_picture(pattern: np.ndarray) -> np.ndarray:
    """One pattern in [0, 1] as red, green, blue and opacity, (height, width, 4) in [0, 1]; 0 is black, NaN is grey.

    Of (channels, height, width), three channels are colours, others stand side by side. A vector (length,) fills a
    near-square grid row by row, and what is left of the grid is transparent.
    """
    values = np.clip(np.nan_to_num(np.asarray(pattern, np.float64), nan=0.5), 0, 1)
    if values.ndim == 3 and len(values) == 3:
        return np.concatenate([np.moveaxis(values, 0, -1), np.ones((*values.shape[1:], 1))], axis=-1)
    if values.ndim == 3:
        values = np.concatenate(values, axis=-1)
    opacity = np.ones_like(values)
    if values.ndim != 2:
        rows, width = grid(values.size)
        rest = (0, rows * width - values.size)
        values, opacity = (np.pad(part.ravel(), rest).reshape(rows, width) for part in (values, opacity))
    return np.stack([values, values, values, opacity], axis=-1)


def grid(size: int) -> tuple[int, int]:
    """Rows and columns of a near-square grid for `size` values: 128 bits become 8 rows of 16."""
    root = math.isqrt(size)
    exact = max(rows for rows in range(1, root + 1) if size % rows == 0)
    if 2 * exact > root:  # without a rest and still not much wider than high
        return exact, size // exact
    return math.ceil(size / math.ceil(math.sqrt(size))), math.ceil(math.sqrt(size))


def mosaic(values: np.ndarray, below: float = 0.0) -> np.ndarray:
    """Patterns (rows, columns, *shape) in [0, 1] as one picture (height, width, 4), with transparent gaps between them.

    The room `below` each row is in parts of a pattern's width.
    """
    pictures = np.stack([np.stack([as_picture(pattern) for pattern in row]) for row in values])
    gap = max(2, pictures.shape[3] // 12)
    room = round(below * pictures.shape[3])
    pictures = np.pad(pictures, ((0, 0), (0, 0), (0, gap + room), (0, gap), (0, 0)))
    rows, columns, height, width, _ = pictures.shape
    return pictures.swapaxes(1, 2).reshape(rows * height, columns * width, 4)[:-gap, :-gap]


def shown_steps(steps: int) -> list[int]:
    """Indices of the read steps to show, at most eight: evenly spaced, with both ends."""
    return sorted({round(step) for step in np.linspace(0, steps - 1, min(steps, 8))})
