"""Patterns as pictures: any shape that a memory stores, made visible as pixels."""

from __future__ import annotations

import math

import numpy as np


def as_picture(pattern: np.ndarray) -> np.ndarray:
    """One pattern as red, green, blue and opacity, (height, width, 4) in [0, 1]; 0 is black.

    Three channels are colours, others stand side by side. A vector fills a near-square grid row by row, and
    what is left of the grid is transparent. Values that are no number are grey.

    Args:
        pattern: (channels, height, width), (height, width) or (length,), values in [0, 1].
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
    """A table of patterns as one picture, with transparent gaps between them.

    Args:
        values: (rows, columns, *shape), values in [0, 1].
        below: room to leave below each row, in parts of a pattern's width.

    Returns:
        (height, width, 4), values in [0, 1].
    """
    pictures = np.stack([np.stack([as_picture(pattern) for pattern in row]) for row in values])
    gap = max(2, pictures.shape[3] // 12)
    room = round(below * pictures.shape[3])
    pictures = np.pad(pictures, ((0, 0), (0, 0), (0, gap + room), (0, gap), (0, 0)))
    rows, columns, height, width, _ = pictures.shape
    return pictures.swapaxes(1, 2).reshape(rows * height, columns * width, 4)[:-gap, :-gap]


def shown_steps(steps: int, most: int = 8) -> list[int]:
    """Indices of the read steps to show where there is room for `most`: evenly spaced, with both ends."""
    return sorted({round(step) for step in np.linspace(0, steps - 1, min(steps, most))})
