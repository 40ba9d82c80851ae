"""What a comparison found, in plain words made from its numbers: the paragraph above the report's tables."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from lightning_ebm.reporting.comparison_tables import mask_name, places_of
from lightning_ebm.reporting.record import EXACT, PRIOR, Comparison, Record, best, mean_and_band, of_setting, settings
from lightning_ebm.reporting.table import decimal


def summary(comparison: Comparison) -> list[str]:
    """The findings, all on corrupted values; where EBMM is not the best, they say so.

    Returns:
        One paragraph for a single setting; for several, one about each mask setting more.
    """
    memories = [result for result in comparison.results if not result.is_control]
    if not memories:
        return ["No memory was compared."]
    done, places = _what_was_done(memories), places_of(comparison)
    if len(settings(comparison.results)) == 1:
        return [" ".join([done, *_one_setting(comparison.results, comparison.unit, places)])]
    paragraphs = [done]
    for mask_known, group in groupby(settings(comparison.results), key=lambda setting: setting[1]):
        by_count = {items: of_setting(comparison.results, items, mask_known) for items, _ in group}
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
    least, low, high = mean_and_band(winners[0].error_corrupted)
    sentences = [
        f"{_names(winners)} had the least error on corrupted values: {decimal(least, places)} ({unit};"
        f" {decimal(low, places)} to {decimal(high, places)} from the 5th to the 95th percentile of episodes),"
        f" {_against_controls(winners[0], results, places)}, with"
        f" {_span(round(result.bits_per_pattern) for result in winners)} bits of state for each pattern."
    ]
    kinds = {result.memory for result in winners}
    if second := best([result for result in results if result.memory not in kinds]):
        average, lower, _ = mean_and_band(second[0].error_corrupted)
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
    level, label = controls[0].mean(), controls[0].label
    if error >= level:
        return f"no better than the {decimal(level, places)} of the control “{label}”"
    prior = [control for control in controls if control.role == PRIOR]
    own = [control for control in prior if control.label == f"{winner.label}, {PRIOR}"]
    control = (own or prior or controls)[0]
    level, label = control.mean(), control.label
    factor = f"{level / error:,.1f} times lower than" if error else "against"
    return f"{factor} the {decimal(level, places)} of the control “{label}”"


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
