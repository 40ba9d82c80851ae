"""One experiment of a comparison: a memory is trained, if it has parameters, and measured. Results are kept.

    python -m lightning_ebm.experiments.experiment FILE        runs an experiment from a file, as a job of the executor

Everything is in the run's folder: checkpoints, and results/ with one file for each test setting, written atomically.
So a comparison can be stopped at any moment, and resumes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import rich
import yaml
from rich.console import Console
from rich.text import Text
from torch.utils.data import DataLoader

from lightning_ebm.config import distortion_in_test, load_yaml, plain, resolve, run_folder
from lightning_ebm.data.datamodule import EpisodeDataModule
from lightning_ebm.data.episodes import Distortion, Episode, PatternSource
from lightning_ebm.ebmm import EBMM
from lightning_ebm.ebmm.rows import RowMixture
from lightning_ebm.experiments.controls import ExactSlots, QueryItself
from lightning_ebm.experiments.executor import QUIET, Job, make_executor, run_jobs
from lightning_ebm.experiments.gallery import recalled
from lightning_ebm.experiments.measure import Written, measure
from lightning_ebm.files import atomic_write
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.reporting.record import CONTROL, EXACT, PRIOR, QUERY, Curve, Record
from lightning_ebm.schema import RunConfig
from lightning_ebm.signals import Stopped, launched, process_number, stops_on_signal
from lightning_ebm.training.trainer import Run, build, commit, held, is_trainable, train, training_record, updates_left

Say = Callable[[str], None]
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Setting:
    """How an experiment is tested; one file of results.

    Attributes:
        items: patterns in an episode.
        mask_known: whether the memory gets the mask of corrupted values.
        precision: how its state is kept, as in `schema.PRECISIONS`.
    """

    items: int
    mask_known: bool
    precision: str


@dataclass(frozen=True)
class Experiment:
    """One memory of a comparison, at one size, on one data set and distortion, from one seed.

    Attributes:
        label: name of its row; experiments that differ only in the seed share it.
        series: name of the line that it is a point of; experiments that differ only in the size share it.
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
        counts = compare.patterns_per_episode or [self.config.episodes.patterns_per_episode]
        return [Setting(n, mask, precision) for mask in masks for n in counts for precision in compare.precisions]

    def path(self, setting: Setting | str) -> Path:
        """The file of a setting's results, or of another thing that depends on the test episodes."""
        distortion = plain(distortion_in_test(self.config))
        tested = {
            "test": self.config.episodes.test,
            "items": self.config.episodes.patterns_per_episode,
            "distortion": distortion,
        }
        key = hashlib.sha256(json.dumps(tested, sort_keys=True).encode()).hexdigest()[:8]
        if isinstance(setting, Setting):
            mask = "known" if setting.mask_known else "unknown"
            setting = f"{setting.items}-{mask}-{setting.precision}"
        return self.folder / "results" / f"{setting}-{key}"

    def missing(self) -> list[Setting]:
        """Settings that are still to be measured."""
        return [setting for setting in self.settings() if self.read(setting) is None]

    def is_done(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing() and (not self.config.compare.gallery or self.recall() is not None)

    def read(self, setting: Setting) -> list[Record] | None:
        """What was measured in a setting; None, with a warning if its file is damaged, if that is still to be done."""

        def read(file: BinaryIO) -> list[Record]:
            rows = json.loads(file.read())
            if not isinstance(rows, list):
                raise TypeError(f"expected a list of records, got {type(rows).__name__}")
            return self.labelled(map(Record.from_plain, rows))

        return kept(self.path(setting), read)

    def results(self) -> list[Record]:
        """All that was measured."""
        return [result for setting in self.settings() for result in self.read(setting) or []]

    def labelled(self, records: Iterable[Record]) -> list[Record]:
        """What `measured` returned, under the experiment's name."""
        named = []
        for record in records:
            ending = "".join(f", {part}" for part in (record.precision, record.role) if part not in ("", "float32"))
            label, series = (QUERY, QUERY) if record.role == QUERY else (self.label + ending, self.series + ending)
            named.append(dataclasses.replace(record, label=label, series=series, cell=self.folder.name))
        return named

    def recall(self) -> dict[str, np.ndarray] | None:
        """The gallery's episode and what was recalled: `patterns`, `queries`, `trajectory`, as in `Gallery`."""

        def read(file: BinaryIO) -> dict[str, np.ndarray]:
            with np.load(file, allow_pickle=False) as saved:
                return {name: saved[name] for name in {*saved, "patterns", "queries", "trajectory"}}

        return kept(self.path("gallery.npz"), read)

    def curve(self) -> Curve:
        """How it learned; without points if it is not trained."""
        return read_curve(self.label, self.folder)

    def progress(self) -> float:
        """Share of the updates that its process last said were done."""
        try:
            return int((self.folder / "progress").read_text()) / max(1, self.config.training.max_steps)
        except (OSError, ValueError):
            return 0.0

    def job(self) -> Job:
        """What runs it in a process of its own."""
        path = self.folder / "experiment.yaml"
        values = {"label": self.label, "series": self.series, "variation": self.variation, "config": plain(self.config)}
        atomic_write(path, yaml.safe_dump(values, sort_keys=False).encode())
        return Job(
            name=name_of(self),
            command=(sys.executable, "-m", "lightning_ebm.experiments.experiment", str(path)),
            folder=self.folder,
            devices=self.config.trainer.devices,
            # files of the working folder never stand in for modules; they come last, see `Registry.load`
            environment={"PYTHONSAFEPATH": "1"},
            progress=self.progress,
            speaks=True,
        )


def kept(path: Path, read: Callable[[BinaryIO], Kept]) -> Kept | None:
    """What a file of results holds, as `read` finds it; None if it is missing or, with a warning, damaged."""
    try:
        with path.open("rb") as file:
            return read(file)
    except FileNotFoundError:
        return None
    except Exception as error:  # damage can show as almost any
        warnings.warn(f"{path} is damaged ({type(error).__name__}: {error}) and measured again", stacklevel=2)
        return None


def name_of(experiment: Experiment, seed: bool = True) -> str:
    """The experiment in a few words, with its seed or without."""
    words = [experiment.label, experiment.variation, f"seed {experiment.config.seed}" if seed else ""]
    return ", ".join(word for word in words if word)


def run_experiments(experiments: Sequence[Experiment], console: Console = QUIET) -> dict[int, str]:
    """Runs what is not done yet, in this process or by the executor, as the first one's `compare` says.

    Args:
        experiments: all of a comparison, at least one.
        console: shows progress, and a line for each that ends.

    Returns:
        The error of each experiment that failed, by its place in `experiments`; a failure does not stop the others.
    """
    config = experiments[0].config.compare
    waiting = [rank for rank, one in enumerate(experiments) if not one.is_done()]
    # training on several devices restarts its command, which must then run this experiment only
    several = any(experiments[rank].config.trainer.devices > 1 for rank in waiting)
    failed: dict[int, str] = {}
    if launched() or (config.jobs == 1 and config.executor == "local" and not several):
        bar = rich.get_console()  # of training's progress bar
        was_quiet, bar.quiet = bar.quiet, console.quiet
        try:
            for rank in waiting:
                try:
                    run_experiment(experiments[rank], console.print)
                except (ValueError, NotImplementedError, RuntimeError, OSError, MemoryError) as error:
                    failed[rank] = " ".join(str(error).split()) or type(error).__name__
                    console.print(Text(f"{experiments[rank].label}: failed: {failed[rank]}", style="red"))
        finally:
            bar.quiet = was_quiet
        return failed
    ranks: dict[Path, int] = {}

    def jobs() -> Iterator[Job]:
        for rank in waiting:
            ranks[experiments[rank].folder] = rank
            yield experiments[rank].job()

    def ended(job: Job, error: str) -> str:
        rank = ranks[job.folder]
        if experiments[rank].is_done():
            return "done"
        failed[rank] = error or "it ended without all of its results"
        return f"failed: {failed[rank]}"

    run_jobs(make_executor(config.executor, config.jobs, config.slurm), jobs(), len(waiting), ended, console)
    return failed


def run_experiment(experiment: Experiment, say: Say) -> None:
    """Trains a memory, as far as that is not done, and measures what is missing.

    Args:
        experiment: what to do.
        say: called with a line about what happens next.

    Raises:
        ValueError, RuntimeError, OSError: any error of training or measuring; earlier results are kept.
    """
    if experiment.is_done():
        return
    config = experiment.config
    with held(experiment.folder):  # a process that outlived its parent may still be at it
        run = build(config)
        if left := updates_left(run):
            say(f"{experiment.label}: meta-training, {left} updates")
        train(run)
        if process_number():
            return  # of several processes that have trained together, the first one measures
        if experiment.missing():
            say(f"{experiment.label}: testing on {config.episodes.test} episodes")
        for setting, rows in measured(run, experiment.missing()):
            atomic_write(experiment.path(setting), json.dumps([row.to_plain() for row in rows]).encode())
        if config.compare.gallery and experiment.recall() is None:
            atomic_write(experiment.path("gallery.npz"), gallery_file(run, config.compare.gallery))


def measured(run: Run, settings: Iterable[Setting]) -> Iterator[tuple[Setting, list[Record]]]:
    """Measures a memory in one setting after the other, see `rows_of`; it writes the episodes of each size once."""
    written: dict[int, Written] = {}
    for setting in settings:
        yield setting, rows_of(run, setting, written.setdefault(setting.items, []))


def rows_of(run: Run, setting: Setting, written: Written) -> list[Record]:
    """A memory's records in one setting, those of its controls *prior state* and *exact slots*, and those of the query.

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
        if isinstance(run.memory, EBMM) and isinstance(run.memory.energy_net, RowMixture):
            roles[EXACT] = ExactSlots(run.memory), CONTROL
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
    changes: dict[str, Any] = {
        "patterns_per_episode": items,
        "batch": batch,
        "workers": 0,
        "train_patterns_per_episode": [],
    }
    config = dataclasses.replace(run.config.episodes, **changes | episodes)
    data = EpisodeDataModule(source or run.data.source, distortion or run.data.test_distortion, config)
    return data.test_dataloader()


def gallery_file(run: Run, shown: int) -> bytes:
    """What the memory recalls of the first test episode, see `recalled`, as an .npz file."""
    file = io.BytesIO()
    episode = next(iter(test_loader(run, run.config.episodes.patterns_per_episode, batch=1)))
    np.savez(file, allow_pickle=False, **recalled(run.memory, episode, shown))
    return file.getvalue()


def read_experiment(path: Path) -> Experiment:
    """The experiment of a file that `Experiment.job` wrote."""
    values = load_yaml(path.read_bytes(), str(path))
    return Experiment(values["label"], values["series"], values["variation"], resolve(values["config"]))


def main(path: str) -> int:
    """Runs the experiment of a file. Returns 0; 1 for a failure, which the last line names; 75 if asked to stop."""
    print(f"started as process {os.getpid()}", flush=True)
    try:
        with stops_on_signal():
            run_experiment(read_experiment(Path(path)), print)
    except (ValueError, NotImplementedError, RuntimeError, OSError, MemoryError) as error:
        print(f"error: {' '.join(str(error).split()) or type(error).__name__}", flush=True)
        return 1
    except Stopped as stop:
        print(stop.words, flush=True)
        return int(str(stop.code))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
