"""One cell of a comparison: a memory that is trained, if it can be, and measured; done once and kept.

    python -m lightning_ebm.experiments.experiment FILE        what `compare` starts for a cell of its own process

Everything is in the run's folder: checkpoints, and results/ with one file for each test setting, which appears when
it is whole. So a comparison that was stopped at any moment, and in any way, goes on where it was.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch.utils.data import DataLoader

from lightning_ebm.config import distortion_in_test, plain, resolve, run_folder
from lightning_ebm.data.datamodule import EpisodeDataModule
from lightning_ebm.data.episodes import Distortion, Episode, PatternSource
from lightning_ebm.experiments.controls import QueryItself
from lightning_ebm.experiments.gallery import recalled
from lightning_ebm.experiments.measure import Written, measure
from lightning_ebm.files import keep
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.reporting.record import CONTROL, PRIOR, QUERY, Curve, Record
from lightning_ebm.schema import RunConfig
from lightning_ebm.signals import Stopped, process_number, stops_on_signal
from lightning_ebm.training.trainer import Run, build, commit, is_trainable, train, training_record, updates_left

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """How a cell is tested; one file of results.

    Attributes:
        items: patterns in an episode.
        mask_known: whether the memory is told which values were distorted.
        precision: how its state is kept, as in `schema.PRECISIONS`.
    """

    items: int
    mask_known: bool
    precision: str


@dataclass(frozen=True)
class Cell:
    """One memory of a comparison, at one size, on one data set and distortion, from one seed.

    Attributes:
        label: name of its row; cells that differ in the seed only share it.
        series: name of the line that it is a point of; cells that differ in their size only share it.
        variation: name of its table; empty if there is one only.
        config: its configuration.
    """

    label: str
    series: str
    variation: str
    config: RunConfig

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return run_folder(self.config)

    def settings(self) -> list[Setting]:
        """What it is tested with: every precision for each mask and number of patterns."""
        compare = self.config.compare
        masks = {"unknown": [False], "known": [True], "both": [False, True]}[compare.mask]
        counts = compare.items or [self.config.episodes.items]
        return [Setting(n, mask, precision) for mask in masks for n in counts for precision in compare.precisions]

    def path(self, setting: Setting | str) -> Path:
        """The file of a setting's results, or of another thing that depends on the test episodes."""
        distortion = plain(distortion_in_test(self.config))
        tested = {"test": self.config.episodes.test, "items": self.config.episodes.items, "distortion": distortion}
        key = hashlib.sha256(json.dumps(tested, sort_keys=True).encode()).hexdigest()[:8]
        if isinstance(setting, Setting):
            mask = "known" if setting.mask_known else "unknown"
            setting = f"{setting.items}-{mask}-{setting.precision}"
        return self.folder / "results" / f"{setting}-{key}"

    def missing(self) -> list[Setting]:
        """Settings that are still to be measured."""
        return [setting for setting in self.settings() if not self.path(setting).exists()]

    def is_done(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing() and (not self.config.compare.gallery or self.path("gallery.npz").exists())

    def results(self) -> list[Record]:
        """All that was measured."""
        found: list[Record] = []
        for setting in self.settings():
            rows = json.loads(self.path(setting).read_text(encoding="utf-8"))
            found += self.labelled(Record.from_plain(row) for row in rows)
        return found

    def labelled(self, records: Iterable[Record]) -> list[Record]:
        """What `measured` returned, under the cell's name."""
        named = []
        for record in records:
            ending = "".join(f", {part}" for part in (record.precision, record.role) if part not in ("", "float32"))
            label, series = (QUERY, QUERY) if record.role == QUERY else (self.label + ending, self.series + ending)
            named.append(dataclasses.replace(record, label=label, series=series, cell=self.folder.name))
        return named

    def recall(self) -> dict[str, np.ndarray]:
        """The gallery's episode and what was recalled: `patterns`, `queries`, `trajectory`, as in `Gallery`."""
        with np.load(self.path("gallery.npz"), allow_pickle=False) as saved:
            return dict(saved)

    def curve(self) -> Curve:
        """How it learned; without points if it is not trained."""
        return read_curve(self.label, self.folder)

    def progress(self) -> int:
        """Updates done, as the training of another process last said."""
        try:
            return int((self.folder / "progress").read_text())
        except (OSError, ValueError):
            return 0


def run_cell(cell: Cell, say: Say) -> None:
    """Trains a cell's memory, as far as that is not done, and measures what is missing.

    Args:
        cell: what to do.
        say: is told what happens next.

    Raises:
        ValueError, RuntimeError, OSError: whatever training or measuring raises; what was done before is kept.
    """
    if cell.is_done():
        return
    with held(cell.folder):  # a process that outlived its parent may still be at it
        run = build(cell.config)
        if left := updates_left(run):
            say(f"{cell.label}: meta-training, {left} updates")
        train(run)
        if process_number():
            return  # of several processes that have trained together, the first one measures
        if cell.missing():
            say(f"{cell.label}: testing on {cell.config.episodes.test} episodes")
        for setting, rows in measured(run, cell.missing()):
            keep(cell.path(setting), json.dumps([row.to_plain() for row in rows]).encode())
        if cell.config.compare.gallery and not cell.path("gallery.npz").exists():
            write_gallery(run, cell.path("gallery.npz"), cell.config.compare.gallery)


def measured(run: Run, settings: Iterable[Setting]) -> Iterator[tuple[Setting, list[Record]]]:
    """Measures a memory in one setting after the other, see `rows_of`; it writes the episodes of each size once."""
    written: dict[int, Written] = {}
    for setting in settings:
        yield setting, rows_of(run, setting, written.setdefault(setting.items, []))


def rows_of(run: Run, setting: Setting, written: Written) -> list[Record]:
    """A memory's records in one setting, those of its *prior state* control, and those of the query itself.

    Args:
        run: the memory and its test episodes.
        setting: how it is tested.
        written: what it wrote into these episodes in other settings; empty at first.

    Returns:
        A record of each, with its role, but not labelled yet. Rounding leaves nothing to measure where there is no
        state.
    """
    updates, seconds = training_record(run)
    name = run.config.memory.name
    stateless = is_trainable(run.memory) and not run.memory.initial_state(1)
    if stateless and setting.precision != "float32":
        return []
    roles: dict[str, tuple[AssociativeMemory, str]] = {"": (run.memory, name)}
    if setting.precision == "float32":  # rounding has nothing to do with the controls
        if is_trainable(run.memory) and not stateless:  # without a state, it is its own control
            roles[PRIOR] = run.memory, CONTROL
        roles[QUERY] = QueryItself(), CONTROL
    rows = []
    for role, (memory, memory_name) in roles.items():
        found = measure(
            memory,
            test_loader(run, setting.items),
            run.data.source.spec,
            mask_known=setting.mask_known,
            nothing_written=role == PRIOR,
            precision=setting.precision,
            written=None if role else written,
            device=run.device,
        )
        trained = role != QUERY
        row = dataclasses.replace(
            found,
            role=role,
            memory=memory_name,
            updates=updates * trained,
            train_seconds=seconds * trained,
            parameters=sum(p.numel() for p in memory.parameters() if p.requires_grad),
            data=run.config.data.name,
            distortion=str(distortion_in_test(run.config)),
            seed=run.config.seed,
            commit=commit(),
        )
        rows.append(row)
    return rows


def test_loader(
    run: Run,
    items: int,
    batch: int = 8,
    source: PatternSource | None = None,
    distortion: Distortion | None = None,
    **episodes: Any,
) -> DataLoader[Episode]:
    """The test episodes with `items` patterns each, in batches of the same size for every memory.

    Args:
        run: its data are taken where nothing else is said.
        items: patterns in an episode.
        batch: episodes at a time.
        source: where patterns come from instead.
        distortion: how queries are made instead.
        episodes: what else to change in `EpisodesConfig`.
    """
    changes: dict[str, Any] = {"items": items, "batch": batch, "workers": 0, "train_items": []} | episodes
    config = dataclasses.replace(run.config.episodes, **changes)
    data = EpisodeDataModule(source or run.data.source, distortion or run.data.test_distortion, config)
    return data.test_dataloader()


def write_gallery(run: Run, path: Path, shown: int) -> None:
    """Keeps what the memory recalls of the first test episode, see `recalled`."""
    arrays = recalled(run.memory, next(iter(test_loader(run, run.config.episodes.items, batch=1))), shown)
    unfinished = path.with_suffix(".unfinished.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(unfinished, allow_pickle=False, **arrays)
    os.replace(unfinished, path)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a run's folder; waits for one that is in it. Death lets go of it too."""
    if process_number():
        yield  # the first process of a group holds it for all
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_cell(cell: Cell, path: Path) -> None:
    """Puts a cell into a file for another process."""
    values = {"label": cell.label, "series": cell.series, "variation": cell.variation, "config": plain(cell.config)}
    keep(path, yaml.safe_dump(values, sort_keys=False).encode())


def read_cell(path: Path) -> Cell:
    """The cell of a file."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Cell(values["label"], values["series"], values["variation"], resolve(values["config"]))


def main(path: str) -> int:
    """Runs the cell of a file. Returns 0; 1 for a failure, which the last line names; 75 if it was asked to stop."""
    try:
        with stops_on_signal():
            run_cell(read_cell(Path(path)), print)
    except (ValueError, NotImplementedError, RuntimeError, OSError, MemoryError) as error:
        print(f"error: {' '.join(str(error).split()) or type(error).__name__}", flush=True)
        return 1
    except Stopped as stop:
        print(stop.words, flush=True)
        return int(str(stop.code))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
