"""The tables of a comparison: everything that was measured, and errors by number of patterns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from lightning_ebm.reporting.published import Published
from lightning_ebm.reporting.record import (
    MEASURES,
    METRICS,
    QUERY,
    Comparison,
    Measure,
    Record,
    best,
    mean_and_band,
    of_setting,
    settings,
    spread,
)
from lightning_ebm.reporting.table import NONE, Cell, Column, Kind, Row, Table, decimal, decimals, number, words

ERROR_HEADS: dict[Measure, str] = {
    "error_corrupted": "error on\ncorrupted values",
    "error": "error on\nall values",
}


def main_table(comparison: Comparison, brief: bool = False) -> Table:
    """Everything that was measured, one row for each record; the least error of each setting is bold.

    A brief one has only the columns that fit a terminal, and no published rows.
    """
    records, groups, places = comparison.results, settings(comparison.results), places_of(comparison)
    several, published = len(groups) > 1, {} if brief else published_lines(comparison, "floats")
    metrics = {name: metric for name, metric in METRICS.items() if metric.brief or not brief}
    columns = [Column("memory", "left"), *([Column("patterns"), Column("mask", "left")] if several else [])]
    columns += [Column(head) for head in (*ERROR_HEADS.values(), *(metric.head for metric in metrics.values()))]
    columns += [] if brief else [Column("runs", "left")]
    highs = [mean_and_band(record.error_corrupted)[2] for record in records]
    scale = max((high for high in highs if math.isfinite(high)), default=0.0) or 1.0
    rows = []
    for setting in groups:
        winners = best(of_setting(records, *setting))
        for record in of_setting(records, *setting):
            cells = [words(record.label)]
            if several:
                cells += [Cell(f"{record.items:,}", record.items), words(mask_name(record.mask_known))]
            cells += [error_cell(record, "error_corrupted", places, record in winners, scale)]
            cells += [error_cell(record, "error", places)]
            for metric in metrics.values():
                value = metric.value(record) if metric.value else math.nan
                cells.append(Cell(NONE if math.isnan(value) else metric.form(value), value, metric.note(record)))
            rows.append(Row(cells if brief else [*cells, runs_cell([record], comparison)], kind_of(record)))
    for label, points in published.items():
        items = comparison.published.items if comparison.published else 0
        for floats, average, low, high in points:
            shown = {"floats": number(floats, 0), "bits": number_or_none(32 * floats / items if items else math.nan, 0)}
            cells = [words(label), *([number_or_none(items or math.nan, 0), words("not stated")] if several else [])]
            note = "" if math.isnan(low) else band(low, high, places)
            cells += [words(NONE), number_or_none(average, places, note)]
            cells += [shown.get(name, Cell(NONE, math.nan)) for name in metrics]
            rows.append(Row([*cells, words(NONE)], "published"))
    caption = f"{setting_name(*groups[0])}. " if len(groups) == 1 else ""
    caption += f"Errors are {comparison.unit}: mean over test episodes [5th, 95th percentile]."
    caption += " ± is half the 95 % interval over training seeds." if any(one.seeds > 1 for one in records) else ""
    caption += (
        f" The least error on corrupted values{' of each setting' if several else ''} is bold; controls do not compete."
    )
    if published and comparison.published:
        caption += f" {published_words(comparison.published)}"
    return Table(comparison.title, caption, columns, rows)


def items_table(
    comparison: Comparison, mask_known: bool, measure: Measure = "error_corrupted", brief: bool = False
) -> Table:
    """Mean error, one column for each number of patterns: the paper's table 1. Published rows count all values.

    A brief one lacks the names of the runs.
    """
    lines: dict[str, Line] = {}
    records: dict[str, list[Record]] = {}
    for record in comparison.results:
        if record.mask_known == mask_known:
            lines.setdefault(record.label, (kind_of(record), {}))[1][record.items] = record.by_seed(measure)
            records.setdefault(record.label, []).append(record)
    counts = {items for _, line in lines.values() for items in line}
    published = published_lines(comparison, "items") if measure == "error" else {}
    for label, points in published.items():
        known = {items: [average] for items, average, *_ in points if items in counts and not math.isnan(average)}
        lines[label] = "published", known
    caption = (
        f"Mean {MEASURES[measure]} ({comparison.unit}) by number of stored patterns, mask {mask_name(mask_known)}."
        " The least of each column is bold."
    )
    if published and comparison.published:
        caption += f" {published_words(comparison.published)}"
    table = dataclasses.replace(error_table(caption, "", lines), title=comparison.title)
    if brief:
        return table
    runs = [runs_cell(records[label], comparison) if label in records else words(NONE) for label in lines]
    rows = [Row([*row.cells, cell], row.kind) for row, cell in zip(table.rows, runs, strict=True)]
    return dataclasses.replace(table, columns=[*table.columns, Column("runs", "left")], rows=rows)


Line = tuple[Kind, dict[int, list[float]]]
"""Kind of a row, and its errors: place -> mean error of each seed."""


def error_table(caption: str, above: str, rows: dict[str, Line]) -> Table:
    """Means with their intervals over seeds, a column for each place that occurs; the best memory's in bold."""
    places = sorted({place for _, line in rows.values() for place in line})
    means = {(name, place): float(np.mean(e)) for name, (_, line) in rows.items() for place, e in line.items()}
    digits, least = decimals(list(means.values())), dict.fromkeys(places, math.inf)
    for (name, place), mean in means.items():
        if not rows[name][0] and math.isfinite(mean):
            least[place] = min(least[place], mean)
    made = []
    for name, (kind, line) in rows.items():
        cells = [words(name)]
        for place in places:
            if place in line:
                mean = means[name, place]
                wins = not kind and mean == least[place] and math.isfinite(mean)
                cells.append(number(mean, digits, spread(line[place]), best=wins))
            else:
                cells.append(Cell(NONE))
        made.append(Row(cells, kind))
    return Table("", caption, [Column("memory", "left"), *(Column(f"{place:,}") for place in places)], made, above)


def terminal_tables(comparison: Comparison) -> list[Table]:
    """What a terminal shows: all settings by number of patterns, on all values, as the paper counts; or the one."""
    if len({record.items for record in comparison.results}) == 1:
        return [main_table(comparison, brief=True)]
    masks = sorted({record.mask_known for record in comparison.results})
    return [items_table(comparison, mask, "error", brief=True) for mask in masks]


def setting_name(items: int, mask_known: bool) -> str:
    """A setting in words."""
    return f"{items:,} pattern{'' if items == 1 else 's'}, mask {mask_name(mask_known)}"


def mask_name(known: bool) -> str:
    """Whether the mask is known, in a word."""
    return "known" if known else "unknown"


def places_of(comparison: Comparison) -> int:
    """Decimals of all errors of a comparison."""
    return decimals([record.mean(measure) for record in comparison.results for measure in MEASURES])


def kind_of(record: Record) -> Kind:
    """The kind of a row."""
    return "control" if record.is_control else ""


def error_cell(record: Record, measure: Measure, places: int, wins: bool = False, scale: float = 0.0) -> Cell:
    """Mean, interval over seeds and band, which is drawn too where a scale is given."""
    average, low, high = mean_and_band(getattr(record, measure))
    if not math.isfinite(average):
        return number(average, places)
    bar = (min(low / scale, 1), min(average / scale, 1), min(high / scale, 1)) if scale else None
    return number(average, places, record.spread(measure), note=band(low, high, places), best=wins, bar=bar)


def band(low: float, high: float, places: int) -> str:
    """5th and 95th percentile, in brackets."""
    return f"[{decimal(low, places)}, {decimal(high, places)}]"


def runs_cell(records: Sequence[Record], comparison: Comparison) -> Cell:
    """The runs that a row's numbers are from, by the end of their names, each with the id of its configuration."""
    names = list(dict.fromkeys(name for one in records for name in one.cell.split() if one.label != QUERY))
    links = tuple((name.rpartition("-")[2], f"run-{name}" if name in comparison.runs else "") for name in names)
    return Cell(" ".join(text for text, _ in links) or NONE, " ".join(names), links=links)


def number_or_none(value: float, places: int, note: str = "") -> Cell:
    """A paper's number, or a dash for what it does not give."""
    return Cell(NONE if math.isnan(value) else decimal(value, places), value, note)


def published_lines(comparison: Comparison, axis: str) -> dict[str, list[tuple[int, float, float, float]]]:
    """A paper's lines along an axis, floats or items, under the names that tell them from one's own; often none."""
    found = comparison.published
    return (
        {f"{label}, published": points for label, points in found.lines.items()} if found and found.axis == axis else {}
    )


def published_words(published: Published) -> str:
    """Where a paper's numbers are from, and how far they can be compared."""
    return (
        f"Published, in italics: {published.source}. These errors are on all values; whether the mask was known is not"
        " stated. Published rows do not compete."
    )
