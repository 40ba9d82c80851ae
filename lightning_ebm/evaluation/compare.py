"""The comparison: every row's memory is trained, if it can be, and measured on the same test episodes."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lightning_ebm.config import ConfigError, get, merge, resolve, to_yaml, with_recipe
from lightning_ebm.data.datamodule import EpisodeDataModule
from lightning_ebm.data.episodes import Episode
from lightning_ebm.evaluation.curves import read_curve
from lightning_ebm.evaluation.evaluate import measure, query_error
from lightning_ebm.evaluation.metrics import unit
from lightning_ebm.evaluation.results import Comparison, Curve, Gallery, Recall, Result
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.processes import process_number
from lightning_ebm.schema import RunConfig
from lightning_ebm.training.checkpoints import load
from lightning_ebm.training.trainer import Run, build, is_trainable, provenance, train, training_record

Say = Callable[[str], None]


def row_configs(plain: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, RunConfig]:
    """The configuration of each row: file < row < command line.

    On the command line `memory=PATTERN`, a bare name or glob, keeps the rows whose label or memory matches;
    in a file without rows it is the memory itself.

    Args:
        plain: the file's configuration; its `compare.rows` maps labels to what they change.
        overrides: the command line's.

    Raises:
        ConfigError: if a row does not resolve, or no row is left; the message names the row.
    """
    overrides = dict(overrides)
    rows: dict[str, Any] = resolve(merge(plain, without_memory_filter(overrides))).compare.rows
    if not rows:
        config = resolve(merge(plain, overrides))
        return {config.memory.name: config}
    wanted = overrides.pop("memory") if isinstance(overrides.get("memory"), str) else "*"
    configs: dict[str, RunConfig] = {}
    for label, changes in rows.items():
        if not isinstance(changes, Mapping):
            raise ConfigError(f"compare.rows.{label} must hold keys and values, got {changes!r}")
        try:
            config = resolve(merge(merge(merge(plain, {"name": slug(label)}), with_recipe(changes)), overrides))
        except ConfigError as error:
            raise ConfigError(f"compare.rows.{label}: {error}") from None
        if any(fnmatch.fnmatch(name, wanted) for name in (label, config.name, config.memory.name)):
            configs[label] = config
    if not configs:
        raise ConfigError(f"memory={wanted} matches no row; the rows are {', '.join(rows)}")
    return configs


def without_memory_filter(overrides: dict[str, Any]) -> dict[str, Any]:
    """Overrides without a bare `memory`, which may be a pattern and then is no memory's name."""
    return {key: value for key, value in overrides.items() if key != "memory" or not isinstance(value, str)}


def compare(configs: Mapping[str, RunConfig], title: str, say: Say) -> Comparison:
    """Trains all rows, and measures them in the first process: others find no results.

    Args:
        configs: label -> configuration; data, distortion and test episodes must be the same in all rows.
        title: heads the report.
        say: is told what happens next.

    Raises:
        ConfigError: if the rows differ in what must be equal.
    """
    first = next(iter(configs.values()))
    for label, config in configs.items():
        for key in ("data", "distortion", "episodes.seed", "episodes.test"):
            if get(config, key) != get(first, key):
                raise ConfigError(f"compare.rows.{label}: {key} must be the same in all rows of one table")
    results: list[Result] = []
    recalls: list[Recall] = []
    curves: list[Curve] = []
    shown = first.compare.gallery
    for label, config in configs.items():
        run = build(config)
        if missing := config.training.updates - training_record(run)[0] if is_trainable(run.memory) else 0:
            say(f"{label}: meta-training, {missing} updates")
        if train(run):
            curves.append(read_curve(label, run.folder))
        if process_number():
            continue
        say(f"{label}: testing on {config.episodes.test} episodes")
        results += measure_row(label, run)
        if shown:
            recalls.append(Recall(label, recall(run.memory, gallery_episode(run), shown)))
    run = build(first)
    results += [] if process_number() else query_rows(run)
    episode = gallery_episode(run)
    patterns, queries = (x[0, :shown].numpy() for x in (episode.patterns, episode.queries))
    made = provenance(first)
    return Comparison(
        title=title,
        unit=unit(run.data.source.spec),
        results=sorted(results, key=lambda result: (result.mask_known, result.items)),
        gallery=Gallery(patterns, queries, recalls) if shown else None,
        command=made["command"],
        config="\n".join(f"# {label}\n{to_yaml(config)}" for label, config in configs.items()),
        provenance={**made, "seed": str(first.seed), "episode seed": str(first.episodes.seed)},
        curves=curves,
    )


def evaluate(config: RunConfig) -> Comparison:
    """Measures one trained memory, as `compare` would.

    Raises:
        ConfigError: if it was not trained, or its checkpoint is damaged.
    """
    run = build(config)
    if is_trainable(run.memory) and (config.checkpoint or config.training.updates):
        load(run.memory, Path(config.checkpoint) if config.checkpoint else run.folder / "checkpoints" / "best.ckpt")
    made = provenance(config)
    return Comparison(
        title=f"{config.memory.name} on {config.data.name}",
        unit=unit(run.data.source.spec),
        results=measure_row(config.name, run) + query_rows(run),
        gallery=None,
        command=made["command"],
        config=to_yaml(config),
        provenance=made,
    )


def measure_row(label: str, run: Run) -> list[Result]:
    """A row's results for each number of patterns and mask setting, and its *nothing written* control."""
    updates, seconds = training_record(run)
    readings = {label: (run.config.memory.name, False)}
    if is_trainable(run.memory):
        readings[f"{label}, nothing written"] = ("control", True)
    results = []
    for items, mask_known in settings(run.config):
        for name, (memory, nothing_written) in readings.items():
            measured = measure(
                run.memory,
                test_loader(run, items),
                run.data.source.spec,
                mask_known=mask_known,
                nothing_written=nothing_written,
            )
            results.append(
                Result(
                    label=name,
                    memory=memory,
                    items=items,
                    mask_known=mask_known,
                    updates=updates,
                    train_seconds=seconds,
                    parameters=sum(p.numel() for p in run.memory.parameters() if p.requires_grad),
                    **dataclasses.asdict(measured),
                )
            )
    return results


def query_rows(run: Run) -> list[Result]:
    """The *query itself* control for each number of patterns and mask setting."""
    results = []
    for items, mask_known in settings(run.config):
        error, corrupted = query_error(test_loader(run, items), run.data.source.spec)
        results.append(Result("query itself", "control", items, mask_known, 0, 0, error, corrupted, 0.0, 0.0))
    return results


def settings(config: RunConfig) -> list[tuple[int, bool]]:
    """The table's columns: (number of patterns, whether the mask is known)."""
    masks = {"unknown": [False], "known": [True], "both": [False, True]}[config.compare.mask]
    return [(items, mask) for mask in masks for items in config.compare.items or [config.episodes.items]]


def test_loader(run: Run, items: int, batch: int = 8) -> DataLoader[Episode]:
    """The test episodes with `items` patterns each, in batches of the same size for every memory."""
    episodes = dataclasses.replace(run.config.episodes, items=items, batch=batch, workers=0)
    return EpisodeDataModule(run.data.source, run.data.distortion, episodes).test_dataloader()


def gallery_episode(run: Run) -> Episode:
    """The first test episode, (1, items, *shape)."""
    return next(iter(test_loader(run, run.config.episodes.items, batch=1)))


def recall(memory: AssociativeMemory, episode: Episode, shown: int) -> np.ndarray:
    """The trajectory (steps, shown, *shape) of reading the first queries after writing all patterns."""
    with torch.no_grad():
        trajectory = memory.read(memory.write(episode.patterns), episode.queries[:, :shown])
    recalled: np.ndarray = trajectory[:, 0].numpy()
    return recalled


def slug(label: str) -> str:
    """A label as the name of a folder: lower-case letters, digits and single hyphens."""
    words = "".join(letter if letter.isalnum() else " " for letter in label.lower()).split()
    return "-".join(words) or "row"
