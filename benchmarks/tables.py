"""The tables of a benchmark."""

import math
from collections.abc import Sequence

from rich.console import Group

from benchmarks.results import GrowthRow, Row
from lightning_ebm.reporting.table import NONE, Cell, Column, Table, escaped_markdown, three_digits, words
from lightning_ebm.reporting.table import Row as TableRow

HEADS = ("median\nms", "least to\ngreatest", "first\ns", "peak\nMiB", "GFLOP", "of\npeak", "to best\npeer")


def tables(rows: Sequence[Row]) -> list[Table]:
    """A table for each case and setting; of what was not timed, its status, and why."""
    made = []
    for title, group in groups(rows).items():
        caption = "; ".join(f"{row.contender}: {row.status}: {row.reason}" for row in group if row.reason)
        columns = [Column("contender", "left"), *map(Column, HEADS)]
        made.append(Table(title, caption, columns, [TableRow(cells(row)) for row in group]))
    return made


def cells(row: Row) -> list[Cell]:
    """A row under `HEADS`."""
    if not row.times:
        return [words(row.contender), words(row.status), *[words(NONE)] * (len(HEADS) - 1)]
    share, ratio = row.share_of_peak, row.ratio_to_best_peer
    return [
        words(row.contender),
        Cell(three_digits(1e3 * row.median_s)),
        Cell(f"{three_digits(1e3 * min(row.times))} to {three_digits(1e3 * max(row.times))}"),
        Cell(three_digits(row.first_s)),
        Cell(three_digits(row.peak_mib)),
        Cell(three_digits(row.flops / 1e9)),
        Cell(NONE if math.isnan(share) else f"{100 * share:.0f} %"),
        Cell(NONE if math.isnan(ratio) else f"{ratio:.2f}"),
    ]


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each case and setting, under its title."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(f"{row.case}, {row.setting.replace('_', ' ')}", []).append(row)
    return found


def rich_tables(rows: Sequence[Row]) -> Group:
    """The rows so far, for a terminal."""
    return Group(*(part for table in tables(rows) for part in (table, "")))


def markdown_tables(rows: Sequence[Row]) -> str:
    """The rows as Markdown, a table for each case and setting."""
    return "".join(f"\n## {escaped_markdown(table.title)}\n\n{table.markdown()}" for table in tables(rows))


def growth_table(rows: Sequence[GrowthRow]) -> str:
    """Times against sizes as Markdown, a line for each contender and size."""
    lines: dict[tuple[str, str], list[GrowthRow]] = {}
    for row in rows:
        lines.setdefault((row.size, row.contender), []).append(row)
    made = []
    for (size, contender), line in lines.items():
        times = ", ".join(f"{row.value}: {three_digits(1e3 * row.median_s)}" for row in line)
        made.append(TableRow([words(size), words(contender), words(times), Cell(f"{line[0].slope:.2f}")]))
    heads = [Column(head, "left") for head in ("size", "contender", "median ms at each value")]
    return Table("", "", [*heads, Column("slope")], made).markdown()
