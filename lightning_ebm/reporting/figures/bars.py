"""Grouped bars with bands, one group for each kind of test and one bar for each memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lightning_ebm.reporting.figures.style import COLOURS, INK, new_figure


def error_bars(bars: Mapping[str, Mapping[str, tuple[float, float, float]]], unit: str, dark: bool = False) -> Figure:
    """Means as bars, bands as lines.

    Args:
        bars: label -> kind of test -> mean, 5th, 95th percentile of the error.
        unit: unit of the errors.
        dark: whether it is shown on a dark background.
    """
    kinds = list(dict.fromkeys(kind for of_label in bars.values() for kind in of_label))
    height = 0.8 / len(bars)
    with new_figure(6.8, 1.2 + 0.28 * len(kinds) * (1 + 0.5 * len(bars)), dark) as figure:
        axes = figure.subplots()
        for rank, (label, of_label) in enumerate(bars.items()):
            places = [kinds.index(kind) + (rank - (len(bars) - 1) / 2) * height for kind in of_label]
            means, lows, highs = (list(values) for values in zip(*of_label.values(), strict=True))
            axes.barh(places, means, height, color=COLOURS[dark][rank % len(COLOURS[dark])], label=label)
            axes.hlines(places, lows, highs, color=INK[dark], linewidth=1)
        axes.set_yticks(np.arange(len(kinds)), kinds)
        axes.invert_yaxis()
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.set_xlabel(f"error on corrupted values ({unit})")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(3, len(bars)))
    return figure
