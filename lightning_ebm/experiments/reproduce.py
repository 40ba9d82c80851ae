"""A pretrained memory, measured again and compared with its published row: `lightning-ebm evaluate --memory NAME`."""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from lightning_ebm.config import ConfigError, merge, parse_overrides, resolve
from lightning_ebm.experiments.compare import comparison_of
from lightning_ebm.experiments.experiment import Setting, measured, named
from lightning_ebm.pretrained import Pretrained, PretrainedError, refuse_imports
from lightning_ebm.reporting.record import MEASURES, Comparison, Record
from lightning_ebm.reporting.terminal import QUIET
from lightning_ebm.schema import RunConfig
from lightning_ebm.training.trainer import build

CHANGEABLE = ("data.root", "data.download", "episodes.test", "trainer.threads")
"""Keys that leave the episodes, as far as they are tested, and the memory what they were."""


def reproduce(saved: Pretrained, words: Sequence[str] = (), console: Console = QUIET) -> tuple[Comparison, list[str]]:
    """Measures a pretrained memory on the test episodes that it is published with, or on the first of them.

    Args:
        saved: the memory's file.
        words: key=value words; of `CHANGEABLE` only.
        console: shows progress.

    Returns:
        Published and reproduced rows, with the controls of now; and a line for each error that was not reproduced.

    Raises:
        ConfigError: if a word changes what is published.
        PretrainedError: if the file's configuration or rows are not those of a run.
        DataError: if a file of the data set is missing or damaged.
    """
    for word in words:
        if word.partition("=")[0] not in CHANGEABLE:
            raise ConfigError(f"with --memory, only {', '.join(CHANGEABLE)} can be changed, got {word!r}")
    config = resolve(merge(configuration(saved), parse_overrides(words)))
    there, count = published(saved), config.episodes.test
    if count > (least := min(len(result.error) for result in there)):
        raise ConfigError(f"episodes.test must be at most {least}, the published episodes, got {count}")
    memory = saved.build()
    run = build(config)
    if run.data.source.spec != saved.spec:
        raise PretrainedError(f"{saved.name} stores {saved.spec}, and its data are {run.data.source.spec}")
    run = replace(run, memory=memory)
    there = [replace(one, error=one.error[:count], error_corrupted=one.error_corrupted[:count]) for one in there]
    settings = dict.fromkeys(Setting(result.items, result.mask_known, result.precision) for result in there)
    found = measured(run, settings, console)
    here = [named(row, saved.name, saved.name, "reproduced") for _, rows in found for row in rows]
    of = f", the first {count} of {least} test episodes" if count < least else ""
    own = [one for one in there if not one.is_control]
    comparison = comparison_of(saved.name, config, own + here, of)
    pairs = zip(own, (one for one in here if not one.is_control), strict=True)
    return comparison, [line for pair in pairs for line in deviations(*pair)]


def configuration(saved: Pretrained) -> dict[str, Any]:
    """The plain configuration of the run that trained a memory.

    Raises:
        PretrainedError: if it is not a YAML mapping, or could lead to an import.
    """
    try:
        found = yaml.safe_load(saved.config)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise PretrainedError(f"the configuration of the pretrained memory {saved.name} is not a YAML mapping")
    refuse_imports(found, saved.name)
    return found


def run_config(saved: Pretrained) -> RunConfig:
    """The same, checked."""
    return resolve(configuration(saved))


def published(saved: Pretrained) -> list[Record]:
    """The rows that a memory is published with, its controls among them.

    Raises:
        PretrainedError: if there are none, or they are not those of this version.
    """
    try:
        found = [named(Record.from_plain(row), saved.name, saved.name, "published") for row in saved.rows]
        for result in found:
            check_types(result)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise PretrainedError(f"the rows of the pretrained memory {saved.name} cannot be read: {error}") from error
    if all(result.is_control for result in found):
        raise PretrainedError(f"the pretrained memory {saved.name} has no published row")
    return found


def check_types(result: Record) -> None:
    """Refuses a result whose fields are of other types than they should be, or that has no errors.

    Raises:
        ValueError: naming the field.
    """
    for name, kind in typing.get_type_hints(Record).items():
        value = getattr(result, name)
        if kind == list[float]:
            fits = isinstance(value, list) and all(type(one) is float for one in value)
        else:
            fits = type(value) is kind
        if not fits:
            raise ValueError(f"{name} must be a {kind}")
    if not result.error or len(result.error) != len(result.error_corrupted):
        raise ValueError("error and error_corrupted must have a value for each episode")


def interval(errors: Sequence[float], items: int) -> tuple[float, float]:
    """Where the mean error of the same parameters on the same episodes may lie on another machine.

    Half the standard error of the published mean to either side. The episodes are the same, so that only roundings can
    differ, which carry few values across 0.5: parameters of glyphs-4096 that are changed by a ten-thousandth of
    themselves, far more than roundings do, move its mean by a hundredth of this. And a reader, who sees the mean
    through its standard error, would not call one within it another. Where all episodes have nearly one error, there
    is still room for one wrong value in all of them together.

    Args:
        errors: published error of each episode, averaged over its patterns.
        items: patterns in an episode.

    Returns:
        Its ends, in the unit of the errors.
    """
    count, average = len(errors), float(np.mean(errors))
    standard_error = float(np.std(errors, ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    room = max(standard_error / 2, 1 / (count * items))
    return average - room, average + room


def deviations(old: Record, new: Record) -> list[str]:
    """What a published row and the same row of now disagree on, a line for each of the two errors."""
    lines = []
    for measure, words in MEASURES.items():
        low, high = interval(getattr(old, measure), old.items)
        if not low <= new.mean(measure) <= high:  # written so that NaN fails too
            lines.append(
                f"{new.label}: the mean {words} is {new.mean(measure):.6g}, outside of {low:.6g} to {high:.6g} around"
                f" the published {old.mean(measure):.6g}"
            )
    return lines
