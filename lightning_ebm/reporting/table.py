"""A table, and its four renderers: terminal, Markdown, HTML and LaTeX. Labels are text in all of them, never markup."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from lightning_ebm.reporting.templates import render

NONE = "—"
"""What is shown where a row has no such number."""
GAP = 2
"""Blanks between two columns in a terminal."""
LABEL = 12
"""Least width to which a column of text is folded in a terminal."""

Kind = Literal["", "control", "published"]
STYLES: dict[Kind, str] = {"": "", "control": "dim", "published": "italic"}


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str
    value: float | str = ""
    """What it is sorted by; a number that is not finite, or none, comes last."""
    note: str = ""
    """Small print below the text."""
    best: bool = False
    """Whether it is emphasised."""
    bar: tuple[float, float, float] | None = None
    """5th percentile, mean and 95th percentile as shares of a scale, which HTML draws next to the note."""
    links: tuple[tuple[str, str], ...] = ()
    """Texts, each with the id in the page that it leads to, or none, which HTML shows in place of `text`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", one_line(self.text))

    @property
    def key(self) -> str:
        """What HTML sorts by, at full precision."""
        if isinstance(self.value, str):
            return one_line(self.value)
        return repr(self.value) if math.isfinite(self.value) else ""


@dataclass(frozen=True)
class Column:
    """Head and alignment of a column: text stands left, numbers stand right. The head may have line breaks."""

    head: str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Row:
    """Cells, the label first; controls and published rows do not compete and are set apart."""

    cells: Sequence[Cell]
    kind: Kind = ""


@dataclass(frozen=True)
class Table:
    """A table of at least one column; empty text is left out."""

    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    """Each with a cell for every column."""
    above: str = ""
    """What all columns but the first have in common, such as "patterns stored"."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """For a terminal. Numbers are whole at any width: columns of text fold, and rows become blocks at need."""
        if self.title:
            yield Text(one_line(self.title), style="italic")
        # A number is one piece with its interval; a head breaks between words.
        widths = [
            max(
                *(cell_len(word) for word in column.head.split()),
                *(cell_len(text) for row in self.rows for text in (row.cells[rank].text, row.cells[rank].note)),
            )
            for rank, column in enumerate(self.columns)
        ]
        least = [
            min(width, max(LABEL, *map(cell_len, column.head.split()))) if column.align == "left" else width
            for width, column in zip(widths, self.columns, strict=True)
        ]
        if sum(least) + GAP * (len(least) - 1) <= options.max_width:
            yield self._grid(widths)
        else:
            yield from self._blocks()
        if self.caption:
            yield Text(one_line(self.caption), style="dim italic")

    def _grid(self, widths: Sequence[int]) -> Grid:
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
        for column, width in zip(self.columns, widths, strict=True):
            fits = all(cell_len(line) <= width for line in column.head.split("\n"))
            head = Text(column.head if fits else one_line(column.head))
            fixed = None if column.align == "left" else width
            grid.add_column(head, justify=column.align, width=fixed, overflow="fold")
        for row in self.rows:
            grid.add_row(*(styled(cell, row.kind, "\n") for cell in row.cells))
        return grid

    def _blocks(self) -> Iterator[RenderableType]:
        for row in self.rows:
            yield styled(row.cells[0], row.kind, " ")
            for column, cell in zip(self.columns[1:], row.cells[1:], strict=True):
                yield Padding(Text(f"{one_line(column.head)}: ") + styled(cell, row.kind, " "), (0, 0, 0, 2))

    def markdown(self) -> str:
        """As GitHub shows it: caption, and the table below; the title is left to the page."""
        heads = [escaped_markdown(one_line(column.head)) for column in self.columns]
        lines = [heads, ["---" if column.align == "left" else "---:" for column in self.columns]]
        for row in self.rows:
            form = "*{}*" if row.kind else "{}"
            lines.append([marked(cell, form, "**{}**", escaped_markdown) for cell in row.cells])
        above = f" Columns: {self.above}." if self.above else ""
        body = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        return (f"{escaped_markdown(self.caption)}{above}\n\n" if self.caption else "") + body

    def latex(self) -> str:
        """A `table` environment, with the rules of booktabs."""
        heads = " & ".join(escaped_latex(one_line(column.head)) for column in self.columns)
        count, above, body = len(self.columns), "", ""
        if self.above:
            above = f"& \\multicolumn{{{count - 1}}}{{c}}{{{escaped_latex(self.above)}}} \\\\\n"
            above += f"\\cmidrule(lr){{2-{count}}}\n"
        for row in self.rows:
            form = "\\textit{{{}}}" if row.kind else "{}"
            body += " & ".join(marked(cell, form, "\\textbf{{{}}}", escaped_latex) for cell in row.cells) + " \\\\\n"
        return (
            f"\\begin{{table}}\n\\centering\n\\caption{{{escaped_latex(self.caption)}}}\n"
            f"\\begin{{tabular}}{{{''.join(column.align[0] for column in self.columns)}}}\n\\toprule\n"
            f"{above}{heads} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
        )

    def html(self) -> Markup:
        """As a report shows it: sortable by every column; title and caption are left to the page."""
        return render("table.html", table=self)


def plain_table(title: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Any table of values: numbers, and text; text in which every value of a column is a number counts as such.

    Other numbers than whole ones are shown to four significant digits; empty text and NaN are a dash.
    """
    numeric = [rank > 0 and all(as_number(row[rank]) is not None for row in rows) for rank in range(len(columns))]
    heads = [Column(head, "right" if right else "left") for head, right in zip(columns, numeric, strict=True)]
    made = [Row([plain_cell(value, right) for value, right in zip(row, numeric, strict=True)]) for row in rows]
    return Table(title, caption, heads, made)


def plain_cell(value: Any, numeric: bool) -> Cell:
    """A cell of `plain_table`."""
    found = as_number(value)
    if not numeric:
        return words(f"{value:.4g}" if isinstance(value, float) else str(value))
    if found is None or math.isnan(found):
        return Cell(NONE, math.nan)
    return Cell(f"{found:.0f}" if found.is_integer() and found < 1e15 else f"{found:.4g}", found)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a CSV file, floats to six significant digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows)


def as_number(value: Any) -> float | None:
    """A number, also of text; NaN for a missing value or empty text; None for other text."""
    try:
        return math.nan if value in ("", None) else float(value)
    except (TypeError, ValueError):
        return None


def words(text: str, **more: Any) -> Cell:
    """A cell of text; a dash for none."""
    return Cell(text or NONE, "" if text == NONE else text, **more)


def number(value: float, places: int, plus_minus: float = math.nan, **more: Any) -> Cell:
    """A cell with a number, such as "1.20 ± 0.15", with so many decimals; without an interval where it is NaN."""
    interval = f" ± {plus_minus:,.{places}f}" if math.isfinite(value) and math.isfinite(plus_minus) else ""
    return Cell(decimal(value, places) + interval, value, **more)


def decimal(value: float, places: int) -> str:
    """A number with thousands separators; a diverged one in words."""
    return f"{value:,.{places}f}" if math.isfinite(value) else "not finite"


def decimals(values: Sequence[float], digits: int = 4) -> int:
    """Decimals of all of them, so that they line up: the largest finite one has this many digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return int(np.clip(digits - 1 - math.floor(math.log10(largest)), 0, 8)) if largest else 2


def three_digits(value: float) -> str:
    """Three significant digits, never an exponent; a dash for nothing."""
    return NONE if value == 0 or math.isnan(value) else decimal(value, decimals([value], 3))


def count(value: float) -> str:
    """A whole number; a dash for nothing."""
    return f"{value:,.0f}" if value else NONE


def one_line(text: str) -> str:
    """Text on one line. What a terminal would obey instead of showing it becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def styled(cell: Cell, kind: Kind, separator: str) -> Text:
    """A cell for the terminal; never markup."""
    text = Text(cell.text, style="bold" if cell.best else STYLES[kind])
    return text + Text(separator + one_line(cell.note)) if cell.note else text


def marked(cell: Cell, form: str, best: str, escaped: Any) -> str:
    """A cell for a text format: its text in the form of its row, bold if it is the best, and its note."""
    text = escaped(cell.text)
    if cell.best:
        text = best.format(text)
    elif cell.text != NONE:
        text = form.format(text)
    return f"{text} {escaped(one_line(cell.note))}" if cell.note else text


def escaped_markdown(text: str) -> str:
    """Text that can break neither out of its cell nor into HTML, formulas or emphasis."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + letter if letter in "\\|*_`[]$~" else letter for letter in text)


def escaped_latex(text: str) -> str:
    """Text as LaTeX shows it, letter by letter."""
    special = {
        "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "—": "---",
        "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "∞": "$\\infty$", '"': "\\textquotedbl{}",
        "[": "{[}", "]": "{]}", **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    }  # fmt: skip
    return "".join(special.get(letter, letter) for letter in " ".join(text.split()))
