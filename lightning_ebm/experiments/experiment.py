"""One experiment of a comparison: a memory is trained, if it has parameters, and measured.

The run's folder has everything: checkpoints, and results/ with one file for each test setting, written atomically.
So a comparison can be stopped at any moment, and resumes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.progress import track
from rich.text import Text
from torch.utils.data import DataLoader

from lightning_ebm import launcher
from lightning_ebm.config import distortion_in_test, plain, run_folder
from lightning_ebm.data.datamodule import EpisodeDataModule
from lightning_ebm.data.episodes import Distortion, Episode, PatternSource
from lightning_ebm.ebmm import EBMM
from lightning_ebm.ebmm.rows import RowMixture
from lightning_ebm.experiments.controls import ExactSlots, QueryItself
from lightning_ebm.experiments.executor import Job, Running, make_executor, run_jobs
from lightning_ebm.experiments.measure import Written, measure, recall_first
from lightning_ebm.files import atomic_write
from lightning_ebm.memory import AssociativeMemory, is_trainable
from lightning_ebm.reporting.comparison_tables import mask_name, setting_name
from lightning_ebm.reporting.record import CONTROL, EXACT, PRIOR, QUERY, Recall, Record, grouped
from lightning_ebm.reporting.terminal import QUIET
from lightning_ebm.schema import RunConfig
from lightning_ebm.signals import FAILURES, reason
from lightning_ebm.training.callbacks import progress_as_in
from lightning_ebm.training.trainer import (
    Run,
    build,
    commit,
    held,
    train,
    training_record,
    updates_left,
    warn_of_changed_code,
)

SPEAKS = (60.0, 300.0)
"""Seconds within which a process starts, and has imported what it needs: two minutes on a machine with seven processes
a core, and about as long from a cold network file system."""


@dataclass(frozen=True)
class Setting:
    """How an experiment is tested, as in `Record`; one file of results."""

    items: int
    mask_known: bool
    precision: str


@dataclass(frozen=True)
class Experiment:
    """One memory of a comparison, at one size, on one data set and distortion, from one seed."""

    label: str
    """Name of its row; experiments that differ only in the seed share it."""
    series: str
    """Name of the line that it is a point of; experiments that differ only in the size share it."""
    variation: str
    """Name of its table; empty if there is one only."""
    config: RunConfig

    @classmethod
    def of(cls, config: RunConfig) -> Experiment:
        """That of a configuration alone, without a comparison."""
        return cls(config.name, config.name, "", config)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return run_folder(self.config)

    def settings(self) -> list[Setting]:
        """Every precision for each mask and number of patterns."""
        compare = self.config.compare
        masks = {"unknown": [False], "known": [True], "both": [False, True]}[compare.mask]
        counts = compare.patterns_per_episode or [self.config.episodes.patterns_per_episode]
        return [Setting(n, mask, precision) for mask in masks for n in counts for precision in compare.precisions]

    def path(self, setting: Setting | str) -> Path:
        """The file of a setting's results, or of another thing that depends on the test episodes."""
        distortion, episodes = plain(distortion_in_test(self.config)), self.config.episodes
        tested = {"test": episodes.test, "items": episodes.patterns_per_episode, "distortion": distortion}
        key = hashlib.sha256(json.dumps(tested, sort_keys=True).encode()).hexdigest()[:8]
        if isinstance(setting, Setting):
            setting = f"{setting.items}-{mask_name(setting.mask_known)}-{setting.precision}"
        return self.folder / "results" / f"{setting}-{key}"

    def missing(self) -> list[Setting]:
        """Settings that are still to be measured."""
        return [setting for setting in self.settings() if self.read(setting) is None]

    def is_done(self) -> bool:
        """Whether all settings are measured and the gallery is there, if there is to be one."""
        return not self.missing() and (not self.config.compare.gallery or self.recall() is not None)

    def read(self, setting: Setting) -> list[Record] | None:
        """What was measured in a setting; None, with a warning if its file is damaged, if that is still to be done."""
        path = self.path(setting)
        with warned_of_damage(path):
            rows = json.loads(path.read_bytes())
            if not isinstance(rows, list):
                raise TypeError(f"expected a list of records, got {type(rows).__name__}")
            records = [named(Record.from_plain(row), self.label, self.series) for row in rows]
            if not all(map(math.isfinite, (error for record in records for error in record.error))):
                raise ValueError("an error is not finite")
            return [dataclasses.replace(record, cell=self.folder.name) for record in records]
        return None

    def results(self) -> list[Record]:
        """All that was measured."""
        return [result for setting in self.settings() for result in self.read(setting) or []]

    def recall(self) -> Recall | None:
        """What was recalled of the gallery's episode; None if that is still to be done."""
        path = self.path("gallery.npz")
        with warned_of_damage(path), np.load(path, allow_pickle=False) as saved:
            return Recall(**saved)
        return None

    def progress(self) -> float:
        """Share of the updates that its process last said were done."""
        try:
            return int((self.folder / "progress").read_text()) / max(1, self.config.training.max_steps)
        except (OSError, ValueError):
            return 0.0


def named(record: Record, label: str, series: str, when: str = "") -> Record:
    """A record of `measured`, under the names of its row and line. Precision, role or else `when` end both names."""
    parts = [record.precision if record.precision != "float32" else "", record.role or when]
    ending = "".join(f", {part}" for part in parts if part)
    label, series = (QUERY, QUERY) if record.role == QUERY else (label + ending, series + ending)
    return dataclasses.replace(record, label=label, series=series)


@contextmanager
def warned_of_damage(path: Path) -> Iterator[None]:
    """Within it, a file of results that is missing, or damaged, which costs a warning, is no error."""
    try:
        yield
    except FileNotFoundError:
        pass
    except Exception as error:  # damage can show as almost any
        warnings.warn(f"{path} is damaged ({type(error).__name__}: {error}) and measured again", stacklevel=2)


def name_of(experiment: Experiment, seed: bool = True) -> str:
    """The experiment in a few words, with its seed or without."""
    words = [experiment.label, experiment.variation, f"seed {experiment.config.seed}" if seed else ""]
    return ", ".join(word for word in words if word)


def run_experiments(experiments: Sequence[Experiment], console: Console = QUIET) -> dict[int, str]:
    """Runs what is not done yet, in this process or by the executor, as the first one's `compare` says.

    Returns the error of each experiment that failed, by its place in `experiments`; it does not stop the others.
    """
    config = experiments[0].config.compare
    waiting: dict[int, Experiment] = {}
    for place, one in enumerate(experiments):
        if one.is_done():
            warn_of_changed_code(one.config, one.folder)  # of the others, training does
        else:
            waiting[place] = one
    # training on several devices restarts its command, which must then run this experiment only
    several = any(one.config.trainer.devices > 1 for one in waiting.values())
    failed: dict[int, str] = {}
    if launcher.launched() or (config.jobs == 1 and config.executor == "local" and not several):
        with progress_as_in(console):
            for place, one in waiting.items():
                try:
                    run_experiment(one, console.print)
                except Exception as error:  # one's own class may raise any
                    failed[place] = message_of(error)
                    console.print(Text(f"{name_of(one)}: failed: {failed[place]}", style="red"))
        return failed
    places = grouped(waiting, lambda place: waiting[place].folder)

    def ended(one: Running, error: str) -> str:
        error = error or "it ended without all of its results"
        missing = [place for place in places[one.job.folder] if not experiments[place].is_done()]
        failed.update(dict.fromkeys(missing, error))
        return f"failed: {error}" if missing else "done"

    jobs = (job_of([waiting[place] for place in members]) for members in places.values())
    run_jobs(make_executor(config.executor, config.jobs, config.slurm), jobs, len(places), ended, console)
    return failed


def message_of(error: Exception) -> str:
    """An error in one line, with its kind, and a traceback on stderr, where it is a mistake of the code."""
    if isinstance(error, FAILURES):
        return reason(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {reason(error)}"


def job_of(experiments: Sequence[Experiment]) -> Job:
    """What runs the experiments of one folder, which share a training, in a process of their own."""
    first = experiments[0]
    path = first.folder / "experiment.yaml"
    values = [{**vars(one), "config": plain(one.config)} for one in experiments]
    atomic_write(path, yaml.safe_dump(values, sort_keys=False).encode())
    return Job(
        name=name_of(first),
        command=(sys.executable, "-m", "lightning_ebm.experiments", str(path)),
        folder=first.folder,
        devices=first.config.trainer.devices,
        # files of the working folder never stand in for modules; they come last, see `Registry.load`
        environment={"PYTHONSAFEPATH": "1"},
        progress=first.progress,
        speaks=SPEAKS,
    )


def run_experiment(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Trains a memory, as far as that is not done, and measures what is missing; `say` gets lines about what is next.

    An error of training or measuring leaves earlier results as they are.
    """
    if experiment.is_done():
        return
    config = experiment.config
    with held(experiment.folder):  # a process that outlived its parent may still be at it
        run = build(config)
        if left := updates_left(run):
            say(f"{experiment.label}: meta-training, {left} updates")
        train(run)
        if launcher.rank():
            return  # of several processes that have trained together, the first one measures
        if experiment.missing():
            say(f"{experiment.label}: testing on {config.episodes.test} episodes")
        for setting, rows in measured(run, experiment.missing()):
            atomic_write(experiment.path(setting), json.dumps([row.to_plain() for row in rows]).encode())
        if config.compare.gallery and experiment.recall() is None:
            episode, file = next(iter(test_loader(run, batch=1))), io.BytesIO()
            found = recall_first(run.memory, episode, config.compare.gallery)._asdict()
            np.savez(file, allow_pickle=False, **{name: part for name, part in found.items() if part is not None})
            atomic_write(experiment.path("gallery.npz"), file.getvalue())


def measured(run: Run, settings: Iterable[Setting], console: Console = QUIET) -> Iterator[tuple[Setting, list[Record]]]:
    """Measures a memory in one setting after the other, see `rows_of`; it writes the episodes of each size once."""
    written: dict[int, Written] = {}
    for setting in settings:
        what = f"{setting_name(setting.items, setting.mask_known)}, {setting.precision}"
        console.print(f"{run.config.name}: testing on {run.config.episodes.test} episodes of {what}", soft_wrap=True)
        yield setting, rows_of(run, setting, written.setdefault(setting.items, []), console)


def rows_of(run: Run, setting: Setting, written: Written, console: Console = QUIET) -> list[Record]:
    """A memory's records in one setting, those of its controls *prior state* and *exact slots*, and those of the query.

    They have roles, but no labels yet. Rounding leaves nothing to measure where there is no state. `written` is what
    the memory wrote into these episodes in other settings, empty at first.
    """
    updates, seconds = training_record(run)
    stateless = is_trainable(run.memory) and not run.memory.initial_state(1)
    if stateless and setting.precision != "float32":
        return []
    roles: dict[str, AssociativeMemory] = {"": run.memory}
    if setting.precision == "float32":  # rounding has nothing to do with the controls
        if is_trainable(run.memory) and not stateless:  # without a state, it is its own control
            roles[PRIOR] = run.memory
        if isinstance(run.memory, EBMM) and isinstance(run.memory.energy_net, RowMixture):
            roles[EXACT] = ExactSlots(run.memory)
        roles[QUERY] = QueryItself()
    rows = []
    for role, memory in roles.items():
        record = measure(
            memory,
            track(test_loader(run, setting.items), role or run.config.memory.name, console=console, transient=True),
            run.data.source.spec,
            mask_known=setting.mask_known,
            nothing_written=role == PRIOR,
            precision=setting.precision,
            written=None if role else written,
            device=run.device,
        )
        row = dataclasses.replace(
            record,
            role=role,
            memory=CONTROL if role else run.config.memory.name,
            updates=0 if role == QUERY else updates,
            train_seconds=0.0 if role == QUERY else seconds,
            parameters=sum(p.numel() for p in memory.parameters() if p.requires_grad),
            data=run.config.data.name,
            distortion=str(distortion_in_test(run.config)),
            seed=run.config.seed,
            commit=commit(),
        )
        rows.append(row)
    return rows


def test_loader(
    run: Run, items: int = 0, source: PatternSource | None = None, distortion: Distortion | None = None, **episodes: Any
) -> DataLoader[Episode]:
    """The run's test episodes, in batches of the same size for every memory.

    `items` patterns in an episode (0: as configured) come from the run's `source` or another, corrupted by its
    `distortion` or another; `episodes` are other changes to its `EpisodesConfig`.
    """
    same: dict[str, Any] = {"batch": 8, "workers": 0, "train_patterns_per_episode": [], "curriculum": 0}
    own = {"patterns_per_episode": items or run.config.episodes.patterns_per_episode, **episodes}
    config = dataclasses.replace(run.config.episodes, **(same | own))
    data = EpisodeDataModule(source or run.data.source, distortion or run.data.test_distortion, config)
    return data.test_dataloader()
