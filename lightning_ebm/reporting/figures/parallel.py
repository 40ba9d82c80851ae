"""Parallel coordinates: what each trial of a sweep was given, and the error that it reached."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from lightning_ebm.reporting.figures.style import COLOURS, FAINT, new_figure

BEST = 3
"""Lines in colour."""


@dataclass(frozen=True)
class Axis:
    """One vertical axis."""

    name: str
    values: Sequence[Any]
    """Of each line."""
    choices: Sequence[Any] = ()
    """All that a value may be, spread evenly; empty: values are numbers, from the least to the greatest."""
    logarithmic: bool = False
    """Whether numbers, if they are all positive, are shown by their logarithm."""

    def height(self, value: Any) -> float:
        """Where a value is, from 0 to 1; in the middle if there is one only."""
        if self.choices:
            value, low, high = self.choices.index(value), 0.0, len(self.choices) - 1.0
        else:
            scale = math.log if self.logarithmic and min(self.values) > 0 else float
            value, low, high = scale(value), scale(min(self.values)), scale(max(self.values))
        return (value - low) / (high - low) if high > low else 0.5

    def marks(self) -> list[Any]:
        """The values written next to it: all if they are few, otherwise the extremes."""
        if self.choices:
            return [value for value in self.choices if value in self.values]
        return sorted({min(self.values), max(self.values)})


def parallel_coordinates(axes: Sequence[Axis], labels: Sequence[str]) -> Figure:
    """A line for each trial through its values on axes from left to right; labels, and colours, the best first."""
    with new_figure(1.1 + 1.3 * len(axes), 4.0) as figure:
        panel = figure.subplots()
        for rank, label in enumerate(labels):
            best = rank < BEST
            panel.plot(
                [axis.height(axis.values[rank]) for axis in axes],
                color=COLOURS[rank] if best else FAINT,
                alpha=1.0 if best else 0.35,
                linewidth=1.8 if best else 0.9,
                zorder=2 + best - rank / len(labels),  # the best in front
                marker="o",
                markersize=3.5,
                label=label if best else None,
            )
        for place, axis in enumerate(axes):
            for value in axis.marks():
                text = f"{value:.4g}" if isinstance(value, float) else str(value)
                where = (place, axis.height(value))
                panel.annotate(text, where, (5, 3), textcoords="offset points", fontsize=7.5)
        panel.grid(axis="x")
        panel.grid(visible=False, axis="y")
        panel.set_xticks(range(len(axes)), [axis.name for axis in axes])
        panel.set(yticks=[], ylim=(-0.05, 1.08), xlim=(-0.1, len(axes) - 0.65))
        panel.spines["left"].set_visible(False)
        figure.legend(loc="outside lower left", fontsize=8)
    return figure
