"""The figure of a benchmark: times relative to ours, as bars."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.results import OURS, Row
from benchmarks.tables import groups
from lightning_ebm.reporting.figures.style import COLOURS, FAINT, INK, new_figure
from lightning_ebm.reporting.table import three_digits


def time_bars(rows: Sequence[Row]) -> Figure:
    """Median time of each contender over that of `ours`, one panel for each case and setting.

    Thin lines reach from the least to the greatest time. What was not timed is named with its status. Without
    `ours`, times are relative to the fastest.
    """
    panels = groups(rows)
    counts = [len(group) for group in panels.values()]
    with new_figure(6.4, 0.6 + 0.24 * sum(counts) + 0.55 * len(counts)) as figure:
        all_axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=counts)[:, 0]
        for axes, (title, group) in zip(all_axes, panels.items(), strict=True):
            unit = unit_of(group)
            axes.set_title(title)
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
            for height, row in enumerate(group):
                if not row.times:
                    axes.annotate(row.status, (0, height), (4, 0), textcoords="offset points", va="center",
                                  fontsize=8, color=FAINT)  # fmt: skip
                    continue
                colour = COLOURS[0] if row.contender in OURS else COLOURS[6]
                ratio, most = row.median_s / unit, max(row.times) / unit
                axes.barh(height, ratio, 0.7, color=colour, alpha=0.7)
                axes.hlines(height, min(row.times) / unit, most, color=INK, linewidth=1.2)
                label = f"{ratio:.2f}  ({three_digits(1e3 * row.median_s)} ms)"
                axes.annotate(label, (max(ratio, most), height), (4, 0), textcoords="offset points", va="center",
                              fontsize=8)  # fmt: skip
            axes.set_yticks(range(len(group)), [row.contender for row in group])
            axes.set_ylim(len(group) - 0.5, -0.5)
            axes.axvline(1, color=FAINT, linewidth=1)
        right = max(
            (max(row.times) / unit_of(group) for group in panels.values() for row in group if row.times), default=1
        )
        all_axes[-1].set_xlim(0, 1.35 * right)  # room for the labels
        unit_name = "ours" if any(row.contender == "ours" and row.times for row in rows) else "the fastest"
        all_axes[-1].set_xlabel(f"time of a meta-step, relative to {unit_name}")
    return figure


def unit_of(group: Sequence[Row]) -> float:
    """Median of `ours`, or else the least; seconds."""
    timed = {row.contender: row.median_s for row in group if row.times}
    return timed.get("ours", min(timed.values(), default=1.0))
