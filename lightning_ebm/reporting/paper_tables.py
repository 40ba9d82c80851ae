"""Tables of errors for a paper, as Markdown and as LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lightning_ebm.reporting.record import spread
from lightning_ebm.reporting.tables import NONE, escaped


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: name of the memory.
        kind: whether it is a memory, a control, or published; the last two do not compete.
        errors: column -> mean error of each seed.
    """

    label: str
    kind: Literal["memory", "control", "published"]
    errors: dict[int, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """One table.

    Attributes:
        caption: what it shows.
        head: what its columns are.
        columns: numbers of patterns, or sizes.
        rows: its rows.
    """

    caption: str
    head: str
    columns: list[int]
    rows: list[Row]

    def decimals(self) -> int:
        """Decimals of all errors: the largest finite one has four digits."""
        means = [abs(float(np.mean(errors))) for row in self.rows for errors in row.errors.values()]
        largest = max((mean for mean in means if math.isfinite(mean)), default=0.0)
        return int(np.clip(3 - math.floor(math.log10(largest)), 0, 8)) if largest else 2

    def best(self, column: int) -> float:
        """The least mean error of the memories in a column; NaN without one."""
        means = [
            float(np.mean(row.errors[column])) for row in self.rows if row.kind == "memory" and column in row.errors
        ]
        return min((mean for mean in means if math.isfinite(mean)), default=math.nan)


def markdown(tables: Sequence[Summary]) -> str:
    """The tables as Markdown."""
    texts = []
    for table in tables:
        lines = [["memory", *(f"{column:,}" for column in table.columns)], ["---", *["---:"] * len(table.columns)]]
        for row in table.rows:
            label = escaped(row.label)
            cells = [cell(table, row, column, "**{}**", " ± ") for column in table.columns]
            lines.append(
                [label, *cells] if row.kind == "memory" else [f"*{label}*", *(italic(x, "*{}*") for x in cells)]
            )
        body = "".join("| " + " | ".join(line) + " |\n" for line in lines)
        texts.append(f"{escaped(table.caption)} Columns: {table.head}. Best in bold.\n\n{body}")
    return "\n".join(texts)


def latex(tables: Sequence[Summary]) -> str:
    """The tables as LaTeX, for the package booktabs."""
    texts = []
    for table in tables:
        lines = []
        for row in table.rows:
            label = escaped_latex(row.label)
            cells = [cell(table, row, column, "\\textbf{{{}}}", " $\\pm$ ", "--") for column in table.columns]
            if row.kind != "memory":
                label, cells = f"\\textit{{{label}}}", [italic(text, "\\textit{{{}}}") for text in cells]
            lines.append(" & ".join([label, *cells]) + " \\\\\n")
        count, numbers = len(table.columns), " & ".join(f"{column:,}" for column in table.columns)
        texts.append(
            "\\begin{table}\n\\centering\n"
            f"\\caption{{{escaped_latex(table.caption)} Best in bold.}}\n"
            f"\\begin{{tabular}}{{l{'r' * count}}}\n\\toprule\n"
            f"& \\multicolumn{{{count}}}{{c}}{{{table.head}}} \\\\\n\\cmidrule(lr){{2-{count + 1}}}\n"
            f"memory & {numbers} \\\\\n\\midrule\n{''.join(lines)}\\bottomrule\n"
            "\\end{tabular}\n\\end{table}\n"
        )
    return "\n".join(texts)


def cell(table: Summary, row: Row, column: int, bold: str, plus_minus: str, none: str = NONE) -> str:
    """Mean, and interval over seeds where there are several; the best memory's in bold."""
    errors, places = row.errors.get(column), table.decimals()
    if not errors:
        return none
    mean = float(np.mean(errors))
    if not math.isfinite(mean):
        return "not finite"
    text = f"{mean:,.{places}f}"
    if row.kind == "memory" and mean == table.best(column):
        text = bold.format(text)
    return text + (f"{plus_minus}{spread(errors):,.{places}f}" if len(errors) > 1 else "")


def italic(text: str, form: str) -> str:
    """A text in italics; a dash stays as it is."""
    return text if text in (NONE, "--") else form.format(text)


def escaped_latex(text: str) -> str:
    """Text as LaTeX shows it, letter by letter."""
    special = {
        "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "—": "---",
        "<": "\\textless{}", ">": "\\textgreater{}", **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    }  # fmt: skip
    return "".join(special.get(letter, letter) for letter in " ".join(text.split()))
