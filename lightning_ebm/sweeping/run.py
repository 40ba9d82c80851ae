"""Runs a sweep: several runs at a time, each a process of its own; goes on where a killed sweep was."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from lightning_ebm.config import ConfigError
from lightning_ebm.settings import setting
from lightning_ebm.signals import last_words, launched
from lightning_ebm.sweeping import bayes, commands, grid, random_search
from lightning_ebm.sweeping.file import Sweep
from lightning_ebm.sweeping.hyperband import stops
from lightning_ebm.sweeping.space import Point, point, varied
from lightning_ebm.sweeping.trial import Outcome, Trial, new_trial, read_trials

PAUSE = 0.5  # seconds between two looks at the processes


@dataclass
class SweepConfig:
    """How a sweep is run.

    Attributes:
        workers: runs at a time, at least 1. With several, on a machine with GPUs, each has one of them; a single one
            has all.
        output: folder in which `sweep-<file>` is made.
        seed: of random and Bayesian search, from 0.
    """

    workers: int = 1
    output: str = setting("runs", path=True)
    seed: int = 0


@dataclass
class Worker:
    """A run's process.

    Attributes:
        trial: the run.
        slot: its place among those that run together.
        process: the process.
        stopped: whether Hyperband has asked it to stop.
    """

    trial: Trial
    slot: int
    process: subprocess.Popen[bytes]
    stopped: bool = False


def run_sweep(sweep: Sweep, settings: SweepConfig, say: Callable[[str], None]) -> list[Trial]:
    """Runs what is not done yet: half-finished runs go on, failed ones are tried again, the rest is proposed anew.

    Args:
        sweep: what to run.
        settings: how.
        say: called with a line about each run that starts or ends.

    Returns:
        All runs, by number; each has an outcome.

    Raises:
        ConfigError: if a setting is out of range, or the folder holds another sweep.
    """
    folder = Path(settings.output) / f"sweep-{sweep.path.stem}"
    check(sweep, settings, folder)
    trials = read_trials(folder)
    waiting = [trial for trial in trials if (ended := trial.outcome()) is None or ended.state == "failed"]
    for trial in waiting:
        (trial.folder / "result.json").unlink(missing_ok=True)
    slots = list(range(settings.workers))
    working: list[Worker] = []
    try:
        while True:
            while slots and (following := waiting.pop(0) if waiting else propose(sweep, settings.seed, trials, folder)):
                if following not in trials:
                    trials.append(following)
                say(f"{following.folder.name}: {described(sweep, following.values)}")
                working.append(start(following, slots.pop(0), settings.workers))
            if not working:
                return trials
            time.sleep(PAUSE)
            for worker in list(working):
                if worker.process.poll() is not None:
                    working.remove(worker)
                    slots.append(worker.slot)
                    say(f"{worker.trial.folder.name}: {ended_as(worker)}")
            stop_poor_runs(sweep, working, trials)
    finally:
        for worker in working:
            worker.process.terminate()
        for worker in working:
            worker.process.wait()


def check(sweep: Sweep, settings: SweepConfig, folder: Path) -> None:
    """Checks the settings, and that the folder is empty or of the same sweep, which may have another run_cap."""
    if settings.workers < 1:
        raise ConfigError(f"workers must be at least 1, got {settings.workers}")
    if settings.seed < 0:
        raise ConfigError(f"seed must be at least 0, got {settings.seed}")
    if launched():
        raise ConfigError("a sweep starts the processes of its runs itself; give it to one process only")
    if sweep.method != "grid" and not sweep.run_cap:
        raise ConfigError(f"{sweep.path}: run_cap must be given, for a {sweep.method} search has no end")
    now = yaml.safe_load(sweep.path.read_text(encoding="utf-8")) | {"seed": settings.seed}
    now.pop("run_cap", None)
    kept = folder / "sweep.yaml"
    if kept.exists() and yaml.safe_load(kept.read_text(encoding="utf-8")) != now:
        raise ConfigError(f"{folder} holds another sweep or seed; choose another output=…, or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")


def propose(sweep: Sweep, seed: int, trials: Sequence[Trial], folder: Path) -> Trial | None:
    """The next run; None if there is none."""
    number = len(trials)
    if sweep.run_cap and number >= sweep.run_cap:
        return None
    place: list[float] = []
    if sweep.method == "grid":
        combinations = grid.points(sweep.parameters)
        if number >= len(combinations):
            return None
        values = combinations[number]
    else:
        dimensions = len(varied(sweep.parameters))
        if sweep.method == "random":
            place = random_search.draw(seed, number, dimensions)
        else:
            place = modelled(sweep, trials, np.random.default_rng([seed, number]))
        values = point(sweep.parameters, place)
    words = commands.words(sweep.command, sweep.program, commands.arguments(sweep.parameters, values))
    return new_trial(folder, number, values, place, words)


def modelled(sweep: Sweep, trials: Sequence[Trial], generator: np.random.Generator) -> list[float]:
    """The place that Bayesian optimisation proposes after some runs."""
    searched = varied(sweep.parameters)

    def centred(place: bayes.Array) -> bayes.Array:
        return np.array([one.centred(quantile) for one, quantile in zip(searched, place.tolist(), strict=True)])

    def places(some: Sequence[Trial]) -> bayes.Array:
        return np.array([centred(np.array(trial.place)) for trial in some]).reshape(len(some), len(searched))

    outcomes = [(trial, trial.outcome()) for trial in trials]
    done = [(trial, outcome.error) for trial, outcome in outcomes if outcome]
    running = [trial for trial, outcome in outcomes if not outcome]
    errors = np.array([error for _, error in done])
    return bayes.propose(places([trial for trial, _ in done]), errors, places(running), generator, centred)


def start(trial: Trial, slot: int, workers: int) -> Worker:
    """Starts the process of a run; what it prints goes to log.txt."""
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers)), **os.environ}
    # so that `python` in a command is this one, even where its environment is not activated
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if workers > 1 and torch.cuda.is_available():
        count = torch.cuda.device_count()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % count]
    with (trial.folder / "log.txt").open("ab") as log:
        # held by the process until it ends: one that outlived a killed sweep is waited for
        fcntl.flock(log, fcntl.LOCK_EX)
        try:
            process = subprocess.Popen(trial.command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        except OSError as error:
            raise ConfigError(f"cannot start {trial.command[0]!r}, the first word of command: {error}") from None
    return Worker(trial, slot, process)


def ended_as(worker: Worker) -> str:
    """Records how a run's process ended, and says it."""
    trial, code = worker.trial, worker.process.returncode
    if code == 0:
        return summary(trial.end("finished") if trial.points() else trial.end("failed", "it has logged no val/error"))
    if worker.stopped:
        return summary(trial.end("stopped"))
    return summary(trial.end("failed", last_words(trial.folder / "log.txt", code)))


def stop_poor_runs(sweep: Sweep, working: Sequence[Worker], trials: Sequence[Trial]) -> None:
    """Asks the runs to stop that Hyperband gives up; each saves a checkpoint."""
    if sweep.early_terminate is None:
        return
    errors = {trial.folder: trial.errors() for trial in trials}
    for worker in working:
        if not worker.stopped and stops(sweep.early_terminate, errors[worker.trial.folder], list(errors.values())):
            worker.stopped = True
            worker.process.send_signal(signal.SIGTERM)


def summary(outcome: Outcome) -> str:
    """An outcome in a line."""
    if outcome.state == "failed":
        return f"failed: {outcome.words}"
    return f"{outcome.state}, error {outcome.error:.4g} at update {outcome.update:,}, {outcome.seconds:.0f} s"


def described(sweep: Sweep, values: Point) -> str:
    """The values that a run has of its own."""
    return ", ".join(f"{one.name}={short(values[one.name])}" for one in varied(sweep.parameters))


def short(value: object) -> str:
    """A value for reading."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
