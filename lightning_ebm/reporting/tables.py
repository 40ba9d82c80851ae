"""Tables of a comparison for terminal and Markdown, and the words and numbers that every view shares."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from lightning_ebm.reporting.published import Published
from lightning_ebm.reporting.record import CONTROL, Comparison, Result, mean_and_band, spread

Measure = Literal["error_corrupted", "error"]
MEASURES: dict[Measure, str] = {
    "error_corrupted": "error on corrupted values",
    "error": "error on all values",
}
NONE = "—"  # shown where a row has no such number


def settings(results: list[Result]) -> list[tuple[int, bool]]:
    """The (items, mask_known) that occur, those without the mask first: only rows of one setting compare."""
    found = {(result.items, result.mask_known) for result in results}
    return sorted(found, key=lambda setting: setting[::-1])


def setting_name(items: int, mask_known: bool) -> str:
    """A setting in words."""
    return f"{items:,} pattern{'' if items == 1 else 's'}, mask {'known' if mask_known else 'unknown'}"


def of_setting(results: list[Result], items: int, mask_known: bool) -> list[Result]:
    """The results of one setting."""
    return [result for result in results if (result.items, result.mask_known) == (items, mask_known)]


def mean(result: Result, measure: Measure = "error_corrupted") -> float:
    """Mean error over the test episodes."""
    return mean_and_band(getattr(result, measure))[0]


def best(results: list[Result], measure: Measure = "error_corrupted") -> list[Result]:
    """The memories of least mean error: several if they tie, none if all diverged; controls are left out."""
    means = [(mean(result, measure), result) for result in results if result.memory != CONTROL]
    least = min((value for value, _ in means if math.isfinite(value)), default=math.nan)
    return [result for value, result in means if value == least]


def decimals(comparison: Comparison) -> int:
    """Decimals of all errors, so that they line up: the largest finite mean has four digits."""
    means = [mean(result, measure) for result in comparison.results for measure in MEASURES]
    largest = max((abs(value) for value in means if math.isfinite(value)), default=0.0)
    return int(np.clip(3 - math.floor(math.log10(largest)), 0, 8)) if largest else 2


def number(value: float, places: int) -> str:
    """A number with thousands separators; a diverged one in words."""
    return f"{value:,.{places}f}" if math.isfinite(value) else "not finite"


def short(value: float) -> str:
    """Three significant digits, never an exponent; a dash for nothing."""
    if not math.isfinite(value) or value == 0:
        return NONE if value == 0 else "not finite"
    return number(value, int(np.clip(2 - math.floor(math.log10(abs(value))), 0, 8)))


def short_number(text: str) -> str:
    """A number given as text, to four significant digits; a dash for none."""
    value = float(text or "nan")
    return NONE if math.isnan(value) else f"{value:.4g}"


def with_seeds(average: float, by_seed: list[float], places: int) -> str:
    """A mean, with half its 95 % interval over seeds where there are several, such as "1.20 ±0.15"."""
    text = number(average, places)
    return f"{text} ±{number(spread(by_seed), places)}" if len(by_seed) > 1 and math.isfinite(average) else text


def with_band(values: list[float], by_seed: list[float], places: int) -> str:
    """Mean, interval over seeds, and band over episodes, such as "1.20 ±0.15 [0.31, 2.25]"."""
    average, low, high = mean_and_band(values)
    if not math.isfinite(average):
        return number(average, places)
    return f"{with_seeds(average, by_seed, places)} [{number(low, places)}, {number(high, places)}]"


def below(values: list[float], by_seed: list[float], places: int) -> str:
    """Mean and interval, and the band on a line of its own."""
    return with_band(values, by_seed, places).replace(" [", "\n[")


def floats(result: Result, strict: bool = False) -> str:
    """Size of the state, the strict count added where it differs and is asked for; a control has no state."""
    if result.memory == CONTROL:
        return NONE
    differs = strict and result.floats_strict != result.floats
    return f"{result.floats:,}" + (f" ({result.floats_strict:,} strict)" if differs else "")


def bits(result: Result) -> str:
    """Bits of state for each pattern; a control has no state."""
    return NONE if result.memory == CONTROL else f"{result.bits_per_pattern:,.0f}"


def quality(result: Result) -> tuple[str, str, str]:
    """Share of patterns recalled, peak signal-to-noise ratio in decibels, structural similarity."""
    psnr = "∞" if result.psnr == math.inf else _or_none(result.psnr, "{:.1f}")
    return _or_none(result.exact, "{:.1%}"), psnr, _or_none(result.ssim, "{:.3f}")


def _or_none(value: float, form: str) -> str:
    return NONE if math.isnan(value) else form.format(value)


def by_items(comparison: Comparison, mask_known: bool) -> dict[str, dict[int, Result]]:
    """The results of one mask setting as label -> items -> result: the paper's table 1."""
    rows: dict[str, dict[int, Result]] = {}
    for result in comparison.results:
        if result.mask_known == mask_known:
            rows.setdefault(result.label, {})[result.items] = result
    return rows


def _table(title: str, caption: Text) -> Table:
    """A table with one column for labels. They are passed as `Text`, as a label is not markup."""
    table = Table(title=Text(title), caption=caption, title_justify="left", caption_justify="left")
    table.box, table.show_edge, table.pad_edge, table.collapse_padding = box.SIMPLE_HEAD, False, False, True
    table.add_column("memory", overflow="fold", min_width=12)
    return table


def rich_table(comparison: Comparison) -> Table:
    """The comparison for a terminal of 80 columns, bands below means; the least error of each setting is bold.

    Args:
        comparison: its results are grouped by number of patterns and mask setting.
    """
    places, groups = decimals(comparison), settings(comparison.results)
    seeds = " ± interval over seeds" if several_seeds(comparison) else ""
    caption = Text(f"error: {comparison.unit}; mean{seeds} over episodes [5th, 95th percentile]; ms for one episode")
    if len(groups) == 1:
        caption = Text(setting_name(*groups[0]) + "; ") + caption
    table = _table(comparison.title, caption)
    errors = ("error on\ncorrupted", "error on\nall values")
    for head in ("floats", "bits/\npattern", *errors, "write\nms", "read\nms"):
        table.add_column(head, justify="right", no_wrap=True)
    for setting in groups:
        results = of_setting(comparison.results, *setting)
        if len(groups) > 1:
            table.add_section()
            table.add_row(Text(setting_name(*setting), style="italic"))
        winners = best(results)
        for result in results:
            table.add_row(
                Text(result.label, style="dim" if result.memory == CONTROL else ""),
                floats(result),
                bits(result),
                Text(
                    below(result.error_corrupted, result.corrupted_by_seed, places),
                    style="bold" if result in winners else "",
                ),
                Text(below(result.error, result.error_by_seed, places)),
                short(result.write_ms),
                short(result.read_ms),
            )
    return table


def wide_table(comparison: Comparison, measure: Measure = "error_corrupted") -> Table:
    """Mean error, one row for each memory and one column for each number of patterns: the paper's table 1.

    Args:
        comparison: mask settings become sections; the least error of each column and section is bold.
        measure: which of the two errors. The paper counts all values, so published rows stand in that table only.
    """
    places, columns = decimals(comparison), sorted({result.items for result in comparison.results})
    published = published_lines(comparison, "items") if measure == "error" else {}
    caption = Text(f"{MEASURES[measure]} ({comparison.unit}), by number of patterns; mean over episodes")
    if comparison.published and published:
        caption += Text(f"\n{published_words(comparison.published)}")
    table = _table(comparison.title, caption)
    for items in columns:
        table.add_column(f"{items:,}", justify="right", no_wrap=True)
    masks = sorted({result.mask_known for result in comparison.results})
    for mask_known in masks:
        table.add_section()
        table.add_row(Text(f"mask {'known' if mask_known else 'unknown'}", style="italic"))
        columns_of_mask = [of_setting(comparison.results, items, mask_known) for items in columns]
        winners = [winner for results in columns_of_mask for winner in best(results, measure)]
        for label, cells in by_items(comparison, mask_known).items():
            control = all(result.memory == CONTROL for result in cells.values())
            texts = [Text(label, style="dim" if control else "")]
            for items in columns:
                found = cells.get(items)
                text = NONE if found is None else number(mean(found, measure), places)
                texts.append(Text(text, style="bold" if found in winners else ""))
            table.add_row(*texts)
        for label, points in published.items():
            known = {items: average for items, average, *_ in points}
            numbers = [published_number(known.get(items, math.nan), places) for items in columns]
            table.add_row(*(Text(text, style="italic") for text in (label, *numbers)))
    return table


def published_lines(comparison: Comparison, axis: str) -> dict[str, list[tuple[int, float, float, float]]]:
    """A paper's lines along an axis, floats or items, under the names that tell them from one's own; often none."""
    found = comparison.published
    if found is None or found.axis != axis:
        return {}
    return {f"{label}, published": points for label, points in found.lines.items()}


def published_words(published: Published) -> str:
    """Where a paper's numbers are from, and how far they can be compared."""
    return (
        f"Published, in italics: {published.source}. These errors are on all values; whether the mask was known is not"
        " stated. Published rows do not compete."
    )


def published_number(value: float, places: int) -> str:
    """A paper's number, or a dash for what it does not give."""
    return NONE if math.isnan(value) else number(value, places)


def markdown_table(comparison: Comparison) -> str:
    """The comparison as a Markdown table, one row a result; the least error of each setting is bold."""
    places, several = decimals(comparison), len(settings(comparison.results)) > 1
    heads = ["memory", *(["patterns", "mask"] if several else []), "floats", "bits/pattern"]
    heads += ["error on corrupted values", "error on all values", "write ms", "read ms"]
    heads += ["exact", "PSNR", "SSIM", "updates", "training s", "parameters"]
    left = {"memory", "mask"}
    lines = [heads, ["---" if head in left else "---:" for head in heads]]
    for setting in settings(comparison.results):
        results = of_setting(comparison.results, *setting)
        winners = best(results)
        for result in results:
            corrupted = with_band(result.error_corrupted, result.corrupted_by_seed, places)
            lines.append([
                escaped(result.label),
                *([f"{result.items:,}", "known" if result.mask_known else "unknown"] if several else []),
                floats(result, strict=True),
                bits(result),
                f"**{corrupted}**" if result in winners else corrupted,
                with_band(result.error, result.error_by_seed, places),
                short(result.write_ms),
                short(result.read_ms),
                *quality(result),
                short(result.updates) if result.updates < 1000 else f"{result.updates:,}",
                short(result.train_seconds),
                f"{result.parameters:,}" if result.parameters else NONE,
            ])  # fmt: skip
    words = f"Errors: {escaped(comparison.unit)}, mean over test episodes [5th, 95th percentile]."
    if several_seeds(comparison):
        words += " ±: half the 95 % interval over training seeds."
    if not several and comparison.results:
        words = f"{setting_name(*settings(comparison.results)[0])}. {words}"
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + f"\n\n{words}\n"


def several_seeds(comparison: Comparison) -> bool:
    """Whether any row was trained from several seeds."""
    return any(len(result.error_by_seed) > 1 for result in comparison.results)


def escaped(text: str) -> str:
    """Text that can break neither out of its cell nor into HTML."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join("\\" + character if character in "\\|*_`[]" else character for character in text)
