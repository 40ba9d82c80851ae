"""What a comparison found, in plain words made from its numbers: the paragraph above the report's tables."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from lightning_ebm.reporting.record import CONTROL, Comparison, Result, mean_and_band
from lightning_ebm.reporting.tables import best, decimals, mean, number, of_setting, settings

NOTHING = "nothing written"  # how the label of the control ends that tells what a memory adds


def summary(comparison: Comparison) -> list[str]:
    """The findings, all on corrupted values; where EBMM is not the best, they say so.

    Returns:
        One paragraph for a single setting; for several, one about each mask setting more.
    """
    memories = [result for result in comparison.results if result.memory != CONTROL]
    if not memories:
        return ["No memory was compared."]
    done, places = _what_was_done(memories), decimals(comparison)
    if len(settings(comparison.results)) == 1:
        return [" ".join([done, *_one_setting(comparison.results, comparison.unit, places)])]
    paragraphs = [done]
    for mask_known, group in groupby(settings(comparison.results), key=lambda setting: setting[1]):
        by_count = {items: of_setting(comparison.results, items, mask_known) for items, _ in group}
        paragraphs.append(" ".join(_many_settings(by_count, mask_known, comparison.unit, places)))
    return paragraphs


def _what_was_done(memories: list[Result]) -> str:
    names, labels = {result.memory for result in memories}, {result.label for result in memories}
    variants = f" ({len(labels)} variants or sizes)" if len(labels) > len(names) else ""
    who = f"{len(names)} {'memory' if len(names) == 1 else 'memories'}{variants}"
    items = _span(result.items for result in memories)
    episodes = _span(len(result.error_corrupted) for result in memories)
    told = {result.mask_known for result in memories}
    mask = "both told and not told" if len(told) == 2 else "told" if told == {True} else "not told"
    return (
        f"In each of {episodes} test episodes, {who} stored {items} patterns and had to recall them from"
        f" distorted queries, {mask} which values were corrupted."
    )


def _one_setting(results: list[Result], unit: str, places: int) -> list[str]:
    """The best memory and by how much, the next one, and EBMM where it is not among the best."""
    winners = best(results)
    if not winners:
        return ["No memory had a finite error."]
    least, low, high = mean_and_band(winners[0].error_corrupted)
    sentences = [
        f"{_names(winners)} had the least error on corrupted values: {number(least, places)} ({unit};"
        f" {number(low, places)} to {number(high, places)} from the 5th to the 95th percentile of episodes),"
        f" {_against_controls(winners[0], results, places)}, with"
        f" {_span(round(result.bits_per_pattern) for result in winners)} bits of state for each pattern."
    ]
    kinds = {result.memory for result in winners}
    if second := best([result for result in results if result.memory not in kinds]):
        average, lower, _ = mean_and_band(second[0].error_corrupted)
        overlap = "; the bands of the two overlap" if lower <= high else ""
        sentences.append(
            f"Of the other memories, {_names(second)} came closest with {number(average, places)}{overlap}."
        )
    if ebmm := _beaten_ebmm(results):
        times = f", {mean(ebmm) / least:,.1f} times as much" if least else ""
        sentences.append(
            f"EBMM was not the best: its least error was {number(mean(ebmm), places)}{times}, with"
            f" {ebmm.floats:,} floats of state against {_span(result.floats for result in winners)}."
        )
    return sentences


def _many_settings(by_count: dict[int, list[Result]], mask_known: bool, unit: str, places: int) -> list[str]:
    """Which memory was best with how many patterns, how good that is with most, and where EBMM was not."""
    parts = []
    for names, run in groupby(by_count, key=lambda items: _names(best(by_count[items])) or "no memory"):
        counts = list(run)
        errors = [number(mean(winners[0]), places) for items in counts if (winners := best(by_count[items]))]
        parts.append(f"{names} with {_join(counts)} patterns ({', '.join(dict.fromkeys(errors)) or 'all diverged'})")
    lead = f"With the mask {'known' if mask_known else 'unknown'}"
    sentences = [f"{lead}, these had the least error on corrupted values ({unit}): {'; '.join(parts)}."]
    most = max(by_count)
    if winners := best(by_count[most]):
        least = mean(winners[0])
        against = _against_controls(winners[0], by_count[most], places)
        sentences.append(f"With {most:,} patterns, the least error is {number(least, places)}, {against}.")
    if behind := [items for items, results in by_count.items() if _beaten_ebmm(results)]:
        sentences.append(f"EBMM was not the best with {_join(behind)} patterns.")
    return sentences


def _beaten_ebmm(results: list[Result]) -> Result | None:
    """EBMM's best result, if there is one and another memory has less error."""
    winners, ebmm = best(results), [result for result in results if result.memory == "ebmm"]
    if not ebmm or not winners or any(result.memory == "ebmm" for result in winners):
        return None
    return (best(ebmm) or ebmm)[0]


def _against_controls(winner: Result, results: list[Result], places: int) -> str:
    """How far the least error lies below what is reached without memory: by the same weights, if they were tried."""
    error = mean(winner)
    controls = sorted((mean(result), result.label) for result in results if result.memory == CONTROL)
    if not controls:
        return "with no control to compare it to"
    level, label = controls[0]
    if error >= level:
        return f"no better than the {number(level, places)} of the control “{label}”"
    unwritten = [control for control in controls if control[1].endswith(NOTHING)]
    own = [control for control in unwritten if control[1] == f"{winner.label}, {NOTHING}"]
    level, label = (own or unwritten or controls)[0]
    factor = f"{level / error:,.1f} times lower than" if error else "against"
    return f"{factor} the {number(level, places)} of the control “{label}”"


def _names(results: list[Result]) -> str:
    return _join(dict.fromkeys(f"“{result.label}”" for result in results))


def _join(words: Iterable[str | int]) -> str:
    """A, b and c."""
    *first, last = [f"{word:,}" if isinstance(word, int) else word for word in words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _span(numbers: Iterable[int]) -> str:
    """16 to 96, or 16 alone."""
    found = sorted(set(numbers))
    return f"{found[0]:,}" + (f" to {found[-1]:,}" if len(found) > 1 else "")
