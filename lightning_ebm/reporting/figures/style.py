"""How all figures look, on white and on dark, and how they are saved. They need no backend and leave no trace."""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, NullLocator

from lightning_ebm.files import atomic_write

# After Okabe and Ito: distinguishable with any colour vision, and in print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b07d00", "#56a4d9", "#5b5b5b", "#882255")
BACKGROUND, INK, FAINT = "#ffffff", "#24272c", "#71767f"  # those of the report's page
LIFTED = ("#56b4e9", "#f0803c", "#2fc79a", "#dd8ac4", "#e0b040", "#9ccbf0", "#bdbdbd", "#d4668e")
ON_DARK = dict(zip((*COLOURS, BACKGROUND, INK, FAINT), (*LIFTED, "#15171b", "#d9dce1", "#979ca6"), strict=True))
"""Colour -> what it is on a dark page, as matplotlib writes both into an SVG."""
MARKERS = "osD^vPX*"
DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """A figure with Matplotlib's defaults, regardless of the user's settings, in the colours of the page."""
    theme = {
        "font.size": 9, "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.titlepad": 9,
        "legend.frameon": False, "lines.markersize": 5, "lines.linewidth": 1.5,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "axes.grid": True, "axes.grid.axis": "y",
        "grid.linewidth": 0.6, "grid.alpha": 0.35, "grid.color": FAINT,
        "text.color": INK, "axes.labelcolor": INK, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
        "axes.edgecolor": FAINT, "xtick.color": FAINT, "ytick.color": FAINT,
        "figure.facecolor": BACKGROUND, "axes.facecolor": BACKGROUND,
        "text.parse_math": False,  # "$x_1$" in a label is text
    }  # fmt: skip
    with matplotlib.style.context(theme, after_reset=True):
        figure = Figure((width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def look(rank: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line of this rank; dashes change where colours come again."""
    marker, dashes = MARKERS[rank % len(MARKERS)], DASHES[rank // 8 % len(DASHES)]
    return {"color": COLOURS[rank % 8], "marker": marker, "linestyle": dashes}


def draw_line(axes: Axes, points: Iterable[tuple[float, float, float, float]], **settings: Any) -> None:
    """A line through means, with a band, of points: place on the horizontal axis; mean, 5th and 95th percentile."""
    places, means, lows, highs = zip(*points, strict=True)
    axes.plot(places, means, **settings)
    axes.fill_between(places, lows, highs, color=settings["color"], alpha=0.12, linewidth=0)


def from_zero(axes: Axes) -> None:
    """Starts the vertical axis a little below zero, so that a marker at zero is whole."""
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])


def legend(figure: Figure, columns: int = 3) -> None:
    """A legend below everything, of what has a name; names that begin with an underscore are names too."""
    artists: list[Any] = [one for axes in figure.axes for one in (*axes.get_lines(), *axes.containers)]
    found = {str(one.get_label()): one for one in artists if not re.fullmatch(r"_child\d+", str(one.get_label()))}
    figure.legend(
        *(found.values(), found.keys()),
        loc="outside lower center",
        ncols=max(1, min(columns, len(found))),
        handlelength=3.5,  # room for the gaps of a dashed line beside its marker
    )


def svg(figure: Figure) -> str:
    """The figure as SVG on white, byte for byte the same for the same data."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lightning_ebm"}):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    # The text was laid out in a wide font, so that the reader's own one fits.
    own = "font-family: system-ui, Arial, sans-serif"
    return re.sub(r"font-family: 'DejaVu Sans'[^;\"]*", own, text.getvalue())


def on_dark(image: str) -> str:
    """An SVG of `svg` in the colours of a dark page."""
    return re.sub("|".join(ON_DARK), lambda found: ON_DARK[found[0]], image)


def save(figure: Figure, path: Path) -> None:
    """Writes the figure as PNG, fine enough for print, whole or not at all; `path` is without an ending."""
    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight", dpi=220)
    atomic_write(path.with_name(f"{path.name}.png"), data.getvalue())


def write_out_ticks(axis: Axis, ticks: Locator | None = None) -> None:
    """Plain numbers on a logarithmic axis, by default at 1, 2 and 5 of each power of ten; Matplotlib's run together."""
    axis.set_major_locator(ticks or LogLocator(subs=(1, 2, 5), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(NullLocator())
