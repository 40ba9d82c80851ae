"""The table of a benchmark, for terminal and Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.results import GrowthRow, Row
from lightning_ebm.reporting.tables import NONE, short

HEADS = ("contender", "median\nms", "least to\ngreatest", "first\ns", "peak\nMiB", "GFLOP", "of\npeak", "to best\npeer")


def cells(row: Row) -> tuple[str, ...]:
    """A row under `HEADS`; its status, where it was not timed."""
    if not row.times:
        return row.contender, row.status
    return (
        row.contender,
        known(1e3 * row.median_s),
        f"{known(1e3 * min(row.times))} to {known(1e3 * max(row.times))}",
        known(row.first_s),
        known(row.peak_mib),
        known(row.flops / 1e9),
        NONE if math.isnan(row.share_of_peak) else f"{100 * row.share_of_peak:.0f} %",
        NONE if math.isnan(row.ratio_to_best_peer) else f"{row.ratio_to_best_peer:.2f}",
    )


def reasons(rows: Sequence[Row]) -> list[str]:
    """A line for each row that something is to be said about."""
    return [f"{row.contender}: {row.status}: {row.reason}" for row in rows if row.reason]


def known(value: float) -> str:
    """Three significant digits; a dash for what was not measured."""
    return NONE if math.isnan(value) else short(value)


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each case and setting, under its title."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(f"{row.case}, {row.setting.replace('_', ' ')}", []).append(row)
    return found


def rich_tables(rows: Sequence[Row]) -> Group:
    """The rows so far, for a terminal of 80 columns: a table for each case and setting."""
    shown: list[Table | Text] = []
    for title, group in groups(rows).items():
        table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
        table.show_edge, table.pad_edge, table.collapse_padding = False, False, True
        for head in HEADS:
            table.add_column(head, justify="left" if head == HEADS[0] else "right", no_wrap=True)
        for row in group:
            table.add_row(*map(Text, cells(row)))
        shown += [table, *map(Text, reasons(group)), Text()]
    return Group(*shown)


def markdown_tables(rows: Sequence[Row]) -> str:
    """The rows as Markdown, a table for each case and setting."""
    text = ""
    for title, group in groups(rows).items():
        heads = " | ".join(HEADS).replace("\n", " ")
        text += f"\n## {title}\n\n| {heads} |\n| --- |{' ---: |' * (len(HEADS) - 1)}\n"
        for row in group:
            line = cells(row)
            text += f"| {' | '.join(line + ('',) * (len(HEADS) - len(line)))} |\n"
        text += "".join(f"\n- {reason}" for reason in reasons(group)) + "\n" * bool(reasons(group))
    return text


def growth_table(rows: Sequence[GrowthRow]) -> str:
    """Times against sizes as Markdown, a line for each contender and size."""
    lines: dict[tuple[str, str], list[GrowthRow]] = {}
    for row in rows:
        lines.setdefault((row.size, row.contender), []).append(row)
    text = "| size | contender | median ms at each value | slope |\n| --- | --- | --- | ---: |\n"
    for (size, contender), line in lines.items():
        times = ", ".join(f"{row.value}: {known(1e3 * row.median_s)}" for row in line)
        text += f"| {size} | {contender} | {times} | {line[0].slope:.2f} |\n"
    return text
