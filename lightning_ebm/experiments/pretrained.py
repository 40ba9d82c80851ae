"""Pretrained memories and their published rows: `export` measures and writes one, `reproduce` measures it again."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console

from lightning_ebm import pretrained
from lightning_ebm.config import (
    ConfigError,
    Overrides,
    Source,
    load_yaml,
    merge,
    parse_overrides,
    plain,
    read,
    resolve,
    without,
)
from lightning_ebm.experiments.compare import comparison_of
from lightning_ebm.experiments.experiment import Experiment, Setting, measured, name_of, named
from lightning_ebm.experiments.grid import grid
from lightning_ebm.files import atomic_write
from lightning_ebm.memory import is_trainable
from lightning_ebm.pretrained import FOLDER, NAME, SUFFIX, Pretrained, PretrainedError
from lightning_ebm.registry import did_you_mean
from lightning_ebm.reporting.record import MEASURES, Comparison, Record
from lightning_ebm.reporting.terminal import QUIET
from lightning_ebm.schema import DTYPES, RunConfig
from lightning_ebm.training.checkpoints import load
from lightning_ebm.training.trainer import Run, build, provenance, training_record

ELSEWHERE = (
    *("output", "resume", "checkpoint", "wandb", "compare", "analysis", "trainer.threads", "trainer.timeout"),
    *("data.root", "data.download"),
)
"""Keys of one machine and one user, which are not published; they have no part in what is learned or measured."""
FACTS = ("identity", "commit", "date", "device", "python", "torch", "pytorch-lightning", "lightning-ebm")
"""What is published of a run's provenance; its command may name folders of one machine."""
CHANGEABLE = ("data.root", "data.download", "episodes.test", "trainer.threads")
"""Keys that leave the memory, and the episodes that are tested, what they were."""


def wanted(source: Source, overrides: Overrides, row: str) -> Experiment:
    """The memory that `train` makes of a configuration or, if `row` is not empty, that of a row of its comparison.

    A row is named by its label; of several variations or seeds, with these, as in "EBMM, halves, seed 1". A ConfigError
    says if it is no experiment of the comparison, or several.
    """
    if not row:
        return Experiment.of(resolve(read(source, overrides)))
    rows = grid(source, overrides)
    found = [one for one in rows if row in (one.label, name_of(one))]
    if not found:
        raise ConfigError(f"{source} has no row {row!r}.{did_you_mean(row, {one.label for one in rows})}")
    if len(found) > 1:
        raise ConfigError(f"--row must be one of {'; '.join(map(name_of, found))}, got {row!r}")
    return found[0]


def place(name: str) -> Path:
    """The file that `--as` names, a path or a name in the package; a ConfigError if none can be, or it exists."""
    path = Path(name) if name.endswith(SUFFIX) else FOLDER / f"{name}{SUFFIX}"
    if not NAME.fullmatch(path.stem if name.endswith(SUFFIX) else name):
        raise ConfigError(
            f"--as must be a name of letters and digits, with single . _ - between, or a path that ends in {SUFFIX},"
            f" got {name!r}"
        )
    if path.exists():
        raise ConfigError(f"the pretrained memory {path} exists: remove it first, or choose another name")
    return path


def export(experiment: Experiment, path: Path, command: Sequence[str], dtype: str = "float32") -> Pretrained:
    """Measures the best parameters of a trained memory, and writes both into a file; an error names the `command`.

    The parameters are stored as `dtype`, one of `schema.DTYPES`. What is measured is the memory that was read back from
    the file's content, so that the file is known to give it.

    Raises:
        ConfigError: if the memory has nothing to train, was not trained, or a file of its run is missing or damaged.
        PretrainedError: if it cannot be published: it is of no registered class, or its parameters are not finite.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    run = build(experiment.config)
    if not is_trainable(run.memory) or not run.config.training.max_steps:
        raise ConfigError(f"{experiment.label} has no parameters to train, so there is nothing to export")
    best = Path(run.config.checkpoint or run.checkpoints / "best.ckpt")
    if not best.exists():
        raise ConfigError(f"{experiment.label} is not trained, {best} is missing: first run {shlex.join(command)}")
    load(run.memory, best)
    if not training_record(run)[0]:
        raise ConfigError(
            f"{run.folder} has no checkpoints/last.ckpt, which holds updates and seconds: copy it there too"
        )
    run.memory.float()  # 64-true and bf16-true have changed it
    config = without(plain(experiment.config), ELSEWHERE)
    config["training"]["start_from"] = Path(run.config.training.start_from).name  # its folder is of one machine
    bare = Pretrained(
        name=path.stem,
        memory=plain(experiment.config.memory),
        shape=list(run.data.source.spec.shape),
        binary=run.data.source.spec.binary,
        dtype=dtype,
        parameters=run.memory.state_dict(),
        config=yaml.safe_dump(config, sort_keys=False),
        rows=[],
        made=origin(run),
    )
    pretrained.refuse_imports(config, experiment.config.name)
    loaded = replace(run, memory=pretrained.parse(bare.content(), path.stem).build())
    rows = [row.to_plain() for _, of_setting in measured(loaded, experiment.settings()) for row in of_setting]
    whole = replace(bare, rows=rows)
    atomic_write(path, whole.content())
    return whole


def origin(run: Run) -> dict[str, str]:
    """What trained a run, all starts of it together, and what measures it now."""
    file = run.folder / "provenance.yaml"
    try:
        starts = list(yaml.safe_load_all(file.read_bytes())) if file.exists() else []
    except yaml.YAMLError:
        starts = [None]
    if not all(isinstance(start, dict) for start in starts):
        raise ConfigError(f"{file} is damaged: delete it to export without what trained the memory")
    trained = {fact: "; ".join(dict.fromkeys(str(start[fact]) for start in starts if fact in start)) for fact in FACTS}
    now = provenance(run.config)
    return {f"trained: {fact}": value for fact, value in trained.items() if value} | {
        f"measured: {fact}": now[fact] for fact in FACTS if fact != "identity"
    }


def reproduce(saved: Pretrained, words: Sequence[str] = (), console: Console = QUIET) -> tuple[Comparison, list[str]]:
    """Measures a pretrained memory on the test episodes that it is published with, or on the first of them.

    The key=value `words` may change `CHANGEABLE` only.

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
    config = run_config(saved, words)
    there, count = published(saved), config.episodes.test
    if count > (least := min(len(result.error) for result in there)):
        raise ConfigError(f"episodes.test must be at most {least}, the published episodes, got {count}")
    memory, run = saved.build(), build(config)
    if run.data.source.spec != saved.spec:
        raise PretrainedError(f"{saved.name} stores {saved.spec}, and its data are {run.data.source.spec}")
    settings = dict.fromkeys(Setting(result.items, result.mask_known, result.precision) for result in there)
    found = measured(replace(run, memory=memory), settings, console)
    here = [named(row, saved.name, saved.name, "reproduced") for _, rows in found for row in rows]
    own = [
        replace(one, error=one.error[:count], error_corrupted=one.error_corrupted[:count])
        for one in there
        if not one.is_control
    ]
    of = f", the first {count} of {least} test episodes" if count < least else ""
    pairs = zip(own, (one for one in here if not one.is_control), strict=True)
    return comparison_of(saved.name, config, own + here, of), [line for pair in pairs for line in deviations(*pair)]


def run_config(saved: Pretrained, words: Sequence[str] = ()) -> RunConfig:
    """The configuration of the run that trained a memory, with key=value words laid over it.

    Raises:
        ConfigError, PretrainedError: if it is not a YAML mapping, or could lead to an import.
    """
    where = f"the configuration of the pretrained memory {saved.name}"
    found = load_yaml(saved.config, where)  # refuses what a few lines of aliases would blow up
    if not isinstance(found, dict):
        raise PretrainedError(f"{where} is not a YAML mapping")
    pretrained.refuse_imports(found, saved.name)
    return resolve(merge(found, parse_overrides(words)))


def published(saved: Pretrained) -> list[Record]:
    """The rows that a memory is published with, its controls among them.

    Raises:
        PretrainedError: if there are none, or they are not those of this version.
    """
    try:
        found = [named(Record.from_plain(row), saved.name, saved.name, "published") for row in saved.rows]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise PretrainedError(f"the rows of the pretrained memory {saved.name} cannot be read: {error}") from error
    if all(result.is_control for result in found):
        raise PretrainedError(f"the pretrained memory {saved.name} has no published row")
    return found


def interval(errors: Sequence[float], items: int) -> tuple[float, float]:
    """Where the mean error of the same parameters on the same episodes may lie on another machine, in its unit.

    Half the standard error of the published mean to either side. On the same episodes only roundings can differ, which
    carry few values across 0.5: parameters of glyphs-4096 changed by a ten-thousandth of themselves, far more than
    roundings do, move its mean by a hundredth of this. Where all episodes have nearly one error, there is still room
    for one wrong value in all of them together. `errors` are published, of each episode, averaged over its `items`.
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
