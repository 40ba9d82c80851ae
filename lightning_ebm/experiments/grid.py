"""The grid of a comparison: memories x their sizes x variations of the task x seeds, as a list of experiments."""

import dataclasses
import fnmatch
import functools
import itertools
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning_ebm.config import (
    ConfigError,
    Overrides,
    Source,
    distortion_in_test,
    layers,
    merge,
    naming,
    resolve,
    with_recipe,
)
from lightning_ebm.experiments.experiment import Experiment
from lightning_ebm.files import slug
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import Choice, datasets
from lightning_ebm.reporting.record import EXACT, PRIOR, QUERY
from lightning_ebm.schema import RunConfig


def grid(source: Source, overrides: Overrides = ()) -> list[Experiment]:
    """All experiments, in the order of rows, sizes, variations and seeds: file < row < size < variation < command line.

    They are those of `schema.CompareConfig`; without rows, the memory of the file is the only one. On the command line
    `memory=PATTERN`, a bare name or glob, keeps the rows whose label or memory matches; without rows it is the memory.

    Raises:
        ConfigError: if an experiment does not resolve, no row is left, two rows have one label, a seed is given twice,
            or rows of one table differ in their test; the message names the row.
    """
    plain, overrides = layers(source, overrides)
    # a bare `memory` may be a glob pattern instead of a memory's name
    bare = isinstance(overrides.get("memory"), str)
    first = resolve(merge(plain, {key: value for key, value in overrides.items() if key != "memory" or not bare}))
    rows: dict[str, Any] = first.compare.rows
    wanted = overrides.pop("memory") if bare and rows else "*"
    group = first.wandb.group or first.name
    seeds = [{"seed": seed} for seed in first.compare.seeds] or [{}]
    found = []
    for series, row in (rows or {resolve(merge(plain, overrides)).memory.name: {}}).items():
        points = itertools.product(sizes(series, row), variations(first.compare.vary), seeds)
        for (label, changes), (variation, varied), seeded in points:
            own = {"name": slug(label), "wandb": {"group": group}} if rows else {}
            with naming(f"compare.rows.{label}") if rows else nullcontext():
                if seeded and any("seed" in layer for layer in (changes, varied, overrides)):
                    raise ConfigError("seed must not be given, as compare.seeds has the seeds of all rows")
                over = (own, with_recipe(changes), varied, overrides, seeded)
                config = resolve(functools.reduce(merge, over, plain))
            if any(fnmatch.fnmatch(name, wanted) for name in (label, series, config.name, config.memory.name)):
                found.append(Experiment(label, series, variation, config))
    if not found:
        raise ConfigError(f"memory={wanted} matches no row; the rows are {', '.join(rows)}")
    check_labels(found)
    check_tests(found)
    return found


def sizes(series: str, row: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The label and the changes of each size of a row, which both must hold keys and values."""
    listed = row.get("sizes", {}) if isinstance(row, Mapping) else {}
    parts = {series: row, f"{series}.sizes": listed}
    if isinstance(listed, Mapping):
        parts |= {f"{series}.sizes.{size}": changes for size, changes in listed.items()}
    for name, changes in parts.items():
        if not isinstance(changes, Mapping):
            raise ConfigError(f"compare.rows.{name} must hold keys and values, got {changes!r}")
        if of_all := sorted({"compare", "analysis"} & set(changes)):
            raise ConfigError(f"compare.rows.{name} must not hold {of_all[0]}, which is the same for all rows")
    common = {key: value for key, value in row.items() if key != "sizes"}
    if not listed:
        yield series, common
    for size, changes in listed.items():
        yield f"{series}, {size}", merge(common, changes)


def variations(vary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and the changes of each combination of the axes; one without a name if there are no axes."""
    for axis, values in vary.items():
        if not (isinstance(values, Mapping) and values and all(isinstance(one, Mapping) for one in values.values())):
            raise ConfigError(f"compare.vary.{axis} must map labels to keys and values, got {values!r}")
        if any("analysis" in changes for changes in values.values()):
            raise ConfigError(f"compare.vary.{axis} must not hold analysis, which is the same for all tables")
        if len({slug(str(label)) for label in values}) < len(values):
            raise ConfigError(f"compare.vary.{axis}: labels must differ in letters or digits, got {', '.join(values)}")
    for combination in itertools.product(*(values.items() for values in vary.values())):
        merged: dict[str, Any] = functools.reduce(merge, (changes for _, changes in combination), {})
        yield ", ".join(str(label) for label, _ in combination), with_recipe(merged)


def check_labels(found: list[Experiment]) -> None:
    """Refuses two rows of one table with the same label, which would be taken for seeds, and those of the controls."""
    controls = [QUERY, *(f", {role}" for role in (PRIOR, EXACT))]
    seen = set()
    for one in found:
        if (place := (one.label, one.variation, one.config.seed)) in seen:
            raise ConfigError(f"compare.rows: two rows are called {one.label!r}")
        if any(one.label.endswith(ending) for ending in controls):
            raise ConfigError(f"compare.rows: {one.label!r} is the name of a control")
        seen.add(place)


def check_tests(found: list[Experiment]) -> None:
    """Refuses a table whose rows are not tested on the same episodes, with the row and the key."""
    firsts: dict[str, dict[str, Any]] = {}
    for one in found:
        own = tested(one.config)
        for key, value in firsts.setdefault(one.variation, own).items():
            if own[key] != value:
                raise ConfigError(f"compare.rows.{one.label}: {key} must be the same in all rows of one table")


def tested(config: RunConfig) -> dict[str, Any]:
    """What decides on the test episodes, by key, without settings of the data that their images never see."""
    data, episodes, distortion = config.data, config.episodes, distortion_in_test(config)
    if hasattr(data.config, "augment"):
        data = Choice(data.name, dataclasses.replace(data.config, augment=False))
    same = {"data": data, "episodes.seed": episodes.seed, "episodes.test": episodes.test}
    return same | {"test_distortion (if empty, distortion)": distortion}


def specs(found: list[Experiment]) -> set[PatternSpec]:
    """The kinds of patterns in the tables of a grid."""
    sources = {str(one.config.data): one.config.data for one in found}
    return {datasets.build(data).spec for data in sources.values()}


def name_of_source(source: Source) -> str:
    """What a comparison is called: the file's name, or the `name` of a mapping."""
    return slug(str(source.get("name", "run"))) if isinstance(source, Mapping) else Path(source).stem
