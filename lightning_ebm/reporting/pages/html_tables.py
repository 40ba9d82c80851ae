"""The report's tables, as HTML that sorts by any column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lightning_ebm.reporting import tables
from lightning_ebm.reporting.record import CONTROL, QUERY, Comparison, Result, mean_and_band
from lightning_ebm.reporting.tables import (
    MEASURES,
    NONE,
    Measure,
    mean,
    number,
    published_number,
    published_words,
    short,
)

SETTING = ("patterns", "mask")
WORDS = ("memory", "mask", "runs")  # columns of words, which stand left; all others are numbers
HEADS = (
    "error on\ncorrupted values", "error on\nall values", "floats", "bits per\npattern",
    "write\nms", "read\nms", "recalled\nexactly", "PSNR\ndB", "SSIM", "updates", "training\nseconds", "parameters",
    "runs",
)  # fmt: skip


def main_table(comparison: Comparison) -> tuple[str, str]:
    """Everything that was measured, one row for each result: caption and table."""
    settings, places = tables.settings(comparison.results), tables.decimals(comparison)
    highs = [mean_and_band(result.error_corrupted)[2] for result in comparison.results]
    scale = max((high for high in highs if math.isfinite(high)), default=0.0) or 1.0
    rows = ""
    for setting in settings:
        results = tables.of_setting(comparison.results, *setting)
        winners = tables.best(results)
        for result in results:
            cells = _setting_cells(result) if len(settings) > 1 else ""
            cells += _cells(result, places, scale, result in winners) + _runs([result], comparison)
            rows += _row(result, cells)
    one = f"{tables.setting_name(*settings[0]).capitalize()}. " if len(settings) == 1 else ""
    seeds = " ± is half the 95 % interval over training seeds." if tables.several_seeds(comparison) else ""
    if comparison.published:
        rows += _published_rows(comparison, len(settings) > 1, places)
    each = " of each setting" if len(settings) > 1 else ""
    caption = (
        f"{one}Errors are {escape(comparison.unit)}: the mean over test episodes and, below it, the 5th and"
        f" 95th percentile. The least error on corrupted values{each} is bold; controls, in italics, do not"
        f" compete.{seeds} A click on a heading sorts. Each row names its runs, and leads to their configuration."
        f"{_published_words(comparison, 'floats')}"
    )
    return caption, _table(("memory", *(SETTING if len(settings) > 1 else ()), *HEADS), rows)


def items_table(comparison: Comparison, mask_known: bool, measure: Measure = "error_corrupted") -> tuple[str, str]:
    """Mean error, one column for each number of patterns: caption and table. Published rows count all values."""
    counts = sorted({result.items for result in comparison.results if result.mask_known == mask_known})
    published = tables.published_lines(comparison, "items") if measure == "error" else {}
    by_count = {items: tables.of_setting(comparison.results, items, mask_known) for items in counts}
    winners = {items: tables.best(results, measure) for items, results in by_count.items()}
    places, rows = tables.decimals(comparison), ""
    for found in tables.by_items(comparison, mask_known).values():
        cells = ""
        for items in counts:
            value = mean(found[items], measure) if items in found else math.nan
            text = number(value, places) if items in found else NONE
            cells += _cell(value, text, bold=found.get(items) in winners[items])
        rows += _row(next(iter(found.values())), cells + _runs(list(found.values()), comparison))
    for label, points in published.items():
        known = {items: average for items, average, *_ in points}
        averages = [known.get(items, math.nan) for items in counts]
        cells = "".join(_cell(average, published_number(average, places)) for average in averages)
        rows += _published_row(label, cells + _words(NONE))
    words = _published_words(comparison, "items") if published else ""
    caption = (
        f"Mean {MEASURES[measure]} ({escape(comparison.unit)}) by number of stored patterns, mask"
        f" {'known' if mask_known else 'unknown'}. The least of each column is bold.{words}"
    )
    return caption, _table(("memory", *(f"{items:,}" for items in counts), "runs"), rows)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Any table of texts; a column in which each is a number, or none, sorts as numbers."""
    numeric = [all(map(_is_number, column)) for column in zip(*rows, strict=True)]
    html = ""
    for first, *others in rows:
        cells = ""
        for text, is_number in zip(others, numeric[1:], strict=True):
            cells += _cell(float(text or "nan"), tables.short_number(text)) if is_number else _words(text)
        html += f'<tr><th scope="row" data-value="{escape(first)}">{escape(first)}</th>{cells}</tr>\n'
    words = [head for head, is_number in zip(columns, numeric, strict=True) if not is_number]
    return _table(columns, html, (columns[0], *words))


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


def _published_words(comparison: Comparison, axis: str) -> str:
    published = comparison.published
    return f" {escape(published_words(published))}" if published and published.axis == axis else ""


def _published_rows(comparison: Comparison, with_setting: bool, places: int) -> str:
    """Rows of a paper's figure over sizes: error on all values, floats, bits; what else is asked for is a dash."""
    rows, items = "", comparison.published.items if comparison.published else 0
    for label, points in tables.published_lines(comparison, "floats").items():
        for floats, average, low, high in points:
            band = "" if math.isnan(low) else f"<small>[{number(low, places)}, {number(high, places)}]</small>"
            bits = 32 * floats / items if items else math.nan
            cells = (_cell(items or math.nan, str(items or NONE)) + _words("not stated")) * with_setting
            cells += _cell(math.nan, NONE) + _cell(average, published_number(average, places) + band)
            cells += _cell(floats, f"{floats:,}") + _cell(bits, published_number(bits, 0))
            rows += _published_row(label, cells + _cell(math.nan, NONE) * (len(HEADS) - 5) + _words(NONE))
    return rows


def _published_row(label: str, cells: str) -> str:
    name = escape(label)
    return f'<tr class="published"><th scope="row" data-value="{name}">{name}</th>{cells}</tr>\n'


def _runs(results: list[Result], comparison: Comparison) -> str:
    """The runs that a row's numbers are from, by their identity, each leading to its configuration."""
    names = dict.fromkeys(name for result in results for name in result.cell.split() if result.label != QUERY)
    links = []
    for name in names:
        text = f"<code>{escape(name.rpartition('-')[2])}</code>"
        links.append(f'<a href="#run-{escape(name)}">{text}</a>' if name in comparison.runs else text)
    return f'<td class="word" data-value="{escape(" ".join(names))}">{"<br>".join(links) or NONE}</td>'


def _words(text: str) -> str:
    """A cell of words, or a dash for none."""
    return f'<td class="word" data-value="{"" if text == NONE else escape(text)}">{escape(text)}</td>'


def _setting_cells(result: Result) -> str:
    mask = "known" if result.mask_known else "unknown"
    return _cell(result.items, f"{result.items:,}") + f'<td class="word" data-value="{mask}">{mask}</td>'


def _cells(result: Result, places: int, scale: float, winner: bool) -> str:
    """The cells under `HEADS`."""
    has_state = result.memory != CONTROL
    strict = f"<small>strict {result.floats_strict:,}</small>" * (result.floats_strict != result.floats)
    return (
        _cell(mean(result), _error(result.error_corrupted, result.corrupted_by_seed, places, scale), bold=winner)
        + _cell(mean(result, "error"), _error(result.error, result.error_by_seed, places))
        + _cell(result.floats if has_state else math.nan, tables.floats(result) + strict * has_state)
        + _cell(result.bits_per_pattern if has_state else math.nan, tables.bits(result))
        + _cell(result.write_ms, short(result.write_ms))
        + _cell(result.read_ms, short(result.read_ms))
        + "".join(map(_cell, (result.exact, result.psnr, result.ssim), tables.quality(result)))
        + _cell(result.updates, f"{result.updates:,}" if result.updates else NONE)
        + _cell(result.train_seconds, short(result.train_seconds))
        + _cell(result.parameters, f"{result.parameters:,}" if result.parameters else NONE)
    )


def _error(values: list[float], by_seed: list[float], places: int, scale: float | None = None) -> str:
    """Mean, interval over seeds and, in small print below, the band; drawn as a bar too where a scale is given."""
    average, low, high = mean_and_band(values)
    if not math.isfinite(average):
        return number(average, places)
    bar = "" if scale is None else _bar(average, low, high, scale)
    band = f"[{number(low, places)}, {number(high, places)}]"
    return f"{tables.with_seeds(average, by_seed, places)}<small>{bar}&nbsp; {band}</small>"


def _bar(average: float, low: float, high: float, scale: float) -> str:
    """Band and mean on a scale from 0, for the eye only: the numbers stand beside it."""
    marks = zip(("low", "mean", "high"), (low, average, high), strict=True)
    style = ";".join(f"--{name}:{100 * min(value / scale, 1):.2f}%" for name, value in marks)
    return f'<span class="bar" style="{style}" aria-hidden="true"><i></i><b></b></span>'


def _cell(value: float, html: str, bold: bool = False) -> str:
    """A number: what it sorts by, at full precision (nothing if it is not finite), and what is shown."""
    key = repr(value) if math.isfinite(value) else ""
    return f'<td data-value="{key}"{" class=best" * bold}>{html}</td>'


def _row(result: Result, cells: str) -> str:
    kind = ' class="control"' if result.memory == CONTROL else ""
    label = escape(result.label)
    return f'<tr{kind}><th scope="row" data-value="{label}">{label}</th>{cells}</tr>\n'


def _table(heads: Sequence[str], rows: str, words: Sequence[str] = WORDS) -> str:
    """The headings are buttons, so that the keyboard reaches them too."""
    cells = ""
    for head in heads:
        kind = ' class="word"' if head in words else ""
        cells += f'<th scope="col"{kind}><button type="button">{escape(head)}</button></th>'
    return f'<table class="sortable"><thead><tr>{cells}</tr></thead>\n<tbody>\n{rows}</tbody></table>'
