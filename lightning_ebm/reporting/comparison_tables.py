"""The tables of a comparison, and its summary in words, which stands above them in a report."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from lightning_ebm.reporting.record import (
    EXACT,
    MEASURES,
    METRICS,
    PRIOR,
    QUERY,
    Comparison,
    Measure,
    Record,
    best,
    by_setting,
    grouped,
    spread,
)
from lightning_ebm.reporting.table import NONE, Cell, Column, Kind, Row, Table, decimal, decimals, number, words

Line = tuple[Kind, dict[int, list[float]]]
"""Kind of a row, and its errors: place -> mean error of each seed."""


def main_table(comparison: Comparison, brief: bool = False) -> Table:
    """Everything that was measured, one row for each record; the least error of each setting is bold.

    A brief one has only the columns that fit a terminal, and no published rows.
    """
    records, groups, places = comparison.results, by_setting(comparison.results), places_of(comparison)
    several, published = len(groups) > 1, {} if brief else comparison.published_lines("floats")
    metrics = {name: metric for name, metric in METRICS.items() if metric.brief or not brief}
    columns = [Column("memory", "left"), *([Column("patterns"), Column("mask", "left")] if several else [])]
    columns += [Column(name.replace(" on ", " on\n")) for name in MEASURES.values()]
    columns += [Column(metric.head) for metric in metrics.values()]
    columns += [] if brief else [Column("runs", "left")]
    highs = [record.band()[2] for record in records]
    scale = max((high for high in highs if math.isfinite(high)), default=0.0) or 1.0
    rows = []
    for members in groups.values():
        winners = best(members)
        for record in members:
            cells = [words(record.label)]
            if several:
                cells += [Cell(f"{record.items:,}", record.items), words(mask_name(record.mask_known))]
            cells += [error_cell(record, "error_corrupted", places, record in winners, scale)]
            cells += [error_cell(record, "error", places)]
            for name, metric in metrics.items():
                value = metric.value(record) if metric.value else getattr(record, name)
                cells.append(Cell(NONE if math.isnan(value) else metric.form(value), value, metric.note(record)))
            cells += [] if brief else [runs_cell([record], comparison)]
            rows.append(Row(cells, kind_of(record)))
    for label, points in published.items():
        items = (comparison.published.items if comparison.published else 0) or math.nan
        for floats, average, low, high in points:
            shown = {"floats": number_or_none(floats, 0), "bits": number_or_none(32 * floats / items, 0)}
            cells = [words(label), *([number_or_none(items, 0), words("not stated")] if several else [])]
            note = "" if math.isnan(low) else in_brackets(low, high, places)
            cells += [words(NONE), number_or_none(average, places, note)]
            cells += [shown.get(name, Cell(NONE, math.nan)) for name in metrics]
            rows.append(Row([*cells, words(NONE)], "published"))
    caption = "" if several else f"{setting_name(*records[0].setting)}. "
    caption += f"Errors are {comparison.unit}: mean over test episodes [5th, 95th percentile]."
    caption += " ± is half the 95 % interval over training seeds." if any(one.seeds > 1 for one in records) else ""
    caption += (
        f" The least error on corrupted values{' of each setting' if several else ''} is bold; controls do not compete."
    )
    return Table(comparison.title, caption + published_words(comparison, published), columns, rows)


def items_table(
    comparison: Comparison, mask_known: bool, measure: Measure = "error_corrupted", brief: bool = False
) -> Table:
    """Mean error, one column for each number of patterns: the paper's table 1. Published rows count all values.

    A brief one lacks the names of the runs.
    """
    records = grouped((one for one in comparison.results if one.mask_known == mask_known), lambda one: one.label)
    lines: dict[str, Line] = {
        label: (kind_of(members[0]), {one.items: one.by_seed(measure) for one in members})
        for label, members in records.items()
    }
    counts = {items for _, line in lines.values() for items in line}
    published = comparison.published_lines("items", measure)
    for label, points in published.items():
        known = {items: [average] for items, average, *_ in points if items in counts and not math.isnan(average)}
        lines[label] = "published", known
    caption = (
        f"Mean {MEASURES[measure]} ({comparison.unit}) by number of stored patterns, mask {mask_name(mask_known)}."
        " The least of each column is bold."
    )
    table = error_table(caption + published_words(comparison, published), "", lines, comparison.title)
    if brief:
        return table
    runs = [runs_cell(records[label], comparison) if label in records else words(NONE) for label in lines]
    rows = [Row([*row.cells, cell], row.kind) for row, cell in zip(table.rows, runs, strict=True)]
    return dataclasses.replace(table, columns=[*table.columns, Column("runs", "left")], rows=rows)


def error_table(caption: str, above: str, rows: dict[str, Line], title: str = "") -> Table:
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
    return Table(title, caption, [Column("memory", "left"), *(Column(f"{place:,}") for place in places)], made, above)


def terminal_tables(comparison: Comparison) -> list[Table]:
    """What a terminal shows: all settings by number of patterns, on all values, as the paper counts; or the one."""
    if len(comparison.counts) == 1:
        return [main_table(comparison, brief=True)]
    return [items_table(comparison, mask, "error", brief=True) for mask in comparison.masks]


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
    average, low, high = record.band(measure)
    if not math.isfinite(average):
        return number(average, places)
    bar = (min(low / scale, 1), min(average / scale, 1), min(high / scale, 1)) if scale else None
    return number(average, places, record.spread(measure), note=in_brackets(low, high, places), best=wins, bar=bar)


def in_brackets(low: float, high: float, places: int) -> str:
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


def published_words(comparison: Comparison, lines: object) -> str:
    """Where a paper's numbers are from, and how far they can be compared; empty if a table has none of its lines."""
    if not lines or not comparison.published:
        return ""
    return (
        f" Published, in italics: {comparison.published.source}. These errors are on all values; whether the mask was"
        " known is not stated. Published rows do not compete."
    )


def summary(comparison: Comparison) -> list[str]:
    """The findings, all on corrupted values; where EBMM is not the best, they say so.

    Returns:
        One paragraph for a single setting; for several, one about each mask setting more.
    """
    memories = [result for result in comparison.results if not result.is_control]
    if not memories:
        return ["No memory was compared."]
    done, places = _what_was_done(memories), places_of(comparison)
    groups = by_setting(comparison.results)
    if len(groups) == 1:
        return [" ".join([done, *_one_setting(comparison.results, comparison.unit, places)])]
    paragraphs = [done]
    for mask_known in comparison.masks:
        by_count = {items: members for (items, known), members in groups.items() if known == mask_known}
        paragraphs.append(" ".join(_many_settings(by_count, mask_known, comparison.unit, places)))
    return paragraphs


def _what_was_done(memories: list[Record]) -> str:
    names, labels = {result.memory for result in memories}, {result.label for result in memories}
    variants = f" ({len(labels)} variants or sizes)" if len(labels) > len(names) else ""
    who = f"{len(names)} {'memory' if len(names) == 1 else 'memories'}{variants}"
    items = _span(result.items for result in memories)
    episodes = _span(len(result.error_corrupted) for result in memories)
    told = {result.mask_known for result in memories}
    mask = "known and unknown" if len(told) == 2 else mask_name(told == {True})
    return (
        f"In each of {episodes} test episodes, {who} stored {items} patterns and had to recall them from corrupted"
        f" queries, mask {mask}."
    )


def _one_setting(results: list[Record], unit: str, places: int) -> list[str]:
    """The best memory and by how much, the next one, and EBMM where it is not among the best."""
    winners = best(results)
    if not winners:
        return ["No memory had a finite error."]
    least, low, high = winners[0].band()
    sentences = [
        f"{_names(winners)} had the least error on corrupted values: {decimal(least, places)} ({unit};"
        f" {decimal(low, places)} to {decimal(high, places)} from the 5th to the 95th percentile of episodes),"
        f" {_against_controls(winners[0], results, places)}, with"
        f" {_span(round(result.bits_per_pattern) for result in winners)} bits of state for each pattern."
    ]
    kinds = {result.memory for result in winners}
    if second := best([result for result in results if result.memory not in kinds]):
        average, lower, _ = second[0].band()
        overlap = "; the bands of the two overlap" if lower <= high else ""
        sentences.append(
            f"Of the other memories, {_names(second)} came closest with {decimal(average, places)}{overlap}."
        )
    if ebmm := _beaten_ebmm(results):
        times = f", {ebmm.mean() / least:,.1f} times as much" if least else ""
        sentences.append(
            f"EBMM was not the best: its least error was {decimal(ebmm.mean(), places)}{times}, with"
            f" {ebmm.floats:,} floats of state against {_span(result.floats for result in winners)}."
        )
    return sentences


def _many_settings(by_count: dict[int, list[Record]], mask_known: bool, unit: str, places: int) -> list[str]:
    """Which memory was best with how many patterns, how good that is with most, and where EBMM was not."""
    parts = []
    for names, run in groupby(by_count, key=lambda items: _names(best(by_count[items])) or "no memory"):
        counts = list(run)
        errors = [decimal(winners[0].mean(), places) for items in counts if (winners := best(by_count[items]))]
        parts.append(f"{names} with {_join(counts)} patterns ({', '.join(dict.fromkeys(errors)) or 'all diverged'})")
    lead = f"With the mask {mask_name(mask_known)}"
    sentences = [f"{lead}, these had the least error on corrupted values ({unit}): {'; '.join(parts)}."]
    most = max(by_count)
    if winners := best(by_count[most]):
        least = winners[0].mean()
        against = _against_controls(winners[0], by_count[most], places)
        sentences.append(f"With {most:,} patterns, the least error is {decimal(least, places)}, {against}.")
    if behind := [items for items, results in by_count.items() if _beaten_ebmm(results)]:
        sentences.append(f"EBMM was not the best with {_join(behind)} patterns.")
    return sentences


def _beaten_ebmm(results: list[Record]) -> Record | None:
    """EBMM's best result, if there is one and another memory has less error."""
    winners, ebmm = best(results), [result for result in results if result.memory == "ebmm"]
    if not ebmm or not winners or any(result.memory == "ebmm" for result in winners):
        return None
    return (best(ebmm) or ebmm)[0]


def _against_controls(winner: Record, results: list[Record], places: int) -> str:
    """How far the least error lies below what is reached without memory: by the same weights, if they were tried."""
    error = winner.mean()
    without = [result for result in results if result.is_control and result.role != EXACT]
    controls = sorted(without, key=lambda result: result.mean())
    if not controls:
        return "with no control to compare it to"
    control, relation = controls[0], "no better than"
    if error < control.mean():
        prior = [control for control in controls if control.role == PRIOR]
        own = [control for control in prior if control.label == f"{winner.label}, {PRIOR}"]
        control = (own or prior or controls)[0]
        relation = f"{control.mean() / error:,.1f} times lower than" if error else "against"
    return f"{relation} the {decimal(control.mean(), places)} of the control “{control.label}”"


def _names(results: list[Record]) -> str:
    return _join(dict.fromkeys(f"“{result.label}”" for result in results))


def _join(words: Iterable[str | int]) -> str:
    """A, b and c."""
    *first, last = [f"{word:,}" if isinstance(word, int) else word for word in words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _span(numbers: Iterable[int]) -> str:
    """16 to 96, or 16 alone."""
    found = sorted(set(numbers))
    return f"{found[0]:,}" + (f" to {found[-1]:,}" if len(found) > 1 else "")
