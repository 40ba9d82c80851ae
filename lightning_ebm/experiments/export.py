"""A trained memory as one file, with the row that it is published with: `lightning-ebm export CONFIG --as NAME`."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from lightning_ebm import pretrained
from lightning_ebm.config import ConfigError, Overrides, Source, plain, read, resolve, without
from lightning_ebm.experiments.experiment import Experiment, measured, name_of
from lightning_ebm.experiments.grid import grid
from lightning_ebm.files import atomic_write
from lightning_ebm.pretrained import FOLDER, NAME, SUFFIX, Pretrained
from lightning_ebm.registry import did_you_mean
from lightning_ebm.schema import DTYPES
from lightning_ebm.training.checkpoints import load
from lightning_ebm.training.trainer import Run, build, is_trainable, provenance, training_record

ELSEWHERE = (
    *("output", "resume", "checkpoint", "wandb", "compare", "analysis", "trainer.threads", "trainer.timeout"),
    *("data.root", "data.download"),
)
"""Keys of one machine and one user, which are not published; they have no part in what is learned or measured."""

FACTS = ("identity", "commit", "date", "device", "python", "torch", "pytorch-lightning", "lightning-ebm")
"""What is published of a run's provenance; its command may name folders of one machine."""


def export(experiment: Experiment, path: Path, command: Sequence[str], dtype: str = "float32") -> Pretrained:
    """Measures the best parameters of a trained memory, and writes both into a file.

    What is measured is the memory that was read back from the file's content, so that the file is known to give it.

    Args:
        experiment: which memory, and what it is tested with.
        path: the file, as `place` gives it.
        command: what trains the memory, for an error.
        dtype: how the file stores the parameters, one of `schema.DTYPES`; what is measured is what it then holds.

    Raises:
        ConfigError: if the memory has nothing to train, was not trained, or a checkpoint is missing or damaged.
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
    bare = Pretrained(
        name=path.stem,
        memory=plain(experiment.config.memory),
        shape=list(run.data.source.spec.shape),
        binary=run.data.source.spec.binary,
        dtype=dtype,
        parameters=run.memory.state_dict(),
        config=yaml.safe_dump(without(plain(experiment.config), ELSEWHERE), sort_keys=False),
        rows=[],
        made=origin(run),
    )
    pretrained.refuse_imports(yaml.safe_load(bare.config), experiment.config.name)
    loaded = dataclasses.replace(run, memory=pretrained.parse(bare.content(), path.stem).build())
    rows = [row.to_plain() for _, of_setting in measured(loaded, experiment.settings()) for row in of_setting]
    whole = dataclasses.replace(bare, rows=rows)
    atomic_write(path, whole.content())
    return whole


def place(name: str) -> Path:
    """The file that `--as` names: a path if it ends in .safetensors, otherwise a name in the package.

    Raises:
        ConfigError: if nothing can be called so, or something is already.
    """
    path, called = (Path(name), Path(name).stem) if name.endswith(SUFFIX) else (FOLDER / f"{name}{SUFFIX}", name)
    if not NAME.fullmatch(called):
        raise ConfigError(
            f"--as must be a name of letters and digits, with single . _ - between, or a path that ends in {SUFFIX},"
            f" got {name!r}"
        )
    if path.exists():
        raise ConfigError(f"the pretrained memory {path} exists: remove it first, or choose another name")
    return path


def wanted(source: Source, overrides: Overrides, row: str) -> Experiment:
    """The memory that `train` makes of a configuration, or that of a row of its comparison.

    Args:
        source: the configuration.
        overrides: the command line's.
        row: label of the row; of several variations or seeds, with these, as in "EBMM, halves, seed 1"; empty: none.

    Raises:
        ConfigError: if the row is none of the comparison's, or is several experiments of it.
    """
    if not row:
        config = resolve(read(source, overrides))
        return Experiment.of(config)
    rows = grid(source, overrides)
    found = [one for one in rows if row in (one.label, name_of(one))]
    if not found:
        raise ConfigError(f"{source} has no row {row!r}.{did_you_mean(row, {one.label for one in rows})}")
    if len(found) > 1:
        raise ConfigError(f"--row must be one of {'; '.join(map(name_of, found))}, got {row!r}")
    return found[0]


def origin(run: Run) -> dict[str, str]:
    """What trained a run, all starts of it together, and what measures it now."""
    file = run.folder / "provenance.yaml"
    starts = list(yaml.safe_load_all(file.read_text(encoding="utf-8"))) if file.exists() else []
    trained = {fact: "; ".join(dict.fromkeys(str(start[fact]) for start in starts if fact in start)) for fact in FACTS}
    now = provenance(run.config)
    return {f"trained: {fact}": value for fact, value in trained.items() if value} | {
        f"measured: {fact}": now[fact] for fact in FACTS if fact != "identity"
    }
