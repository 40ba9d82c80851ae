"""The trials of a sweep: what is tried next and given up, each a job of the executor and a row of the report.

Bayesian search is Optuna's Gaussian process, the method of W&B's `bayes`. Early stopping is ours: W&B's Hyperband
judges the best error so far among the trials at a bracket; Optuna's pruners judge the last error.
"""

import csv
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from rich.console import Console

from lightning_ebm.config import ConfigError, Overrides, build, load_yaml, parse_overrides, shipped
from lightning_ebm.experiments.executor import Job, Running, UnfinishedError, make_executor, run_jobs
from lightning_ebm.files import atomic_write
from lightning_ebm.launcher import launched
from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.reporting.figures.parallel import Axis, parallel_coordinates
from lightning_ebm.reporting.figures.style import save
from lightning_ebm.reporting.table import Table, plain_table
from lightning_ebm.reporting.terminal import QUIET
from lightning_ebm.settings import Settings, setting
from lightning_ebm.sweeping.file import Hyperband, Parameter, Search, Values, arguments, read_sweep, words

COLUMNS = ("run", "state", "error", "update", "validations", "seconds")
FIRST = 4
"""Trials of a Bayesian search that are drawn at random before there is anything to model."""
Done = Sequence[tuple[list[float], float | None]]
"""Place and error of each trial before; None while it runs, infinite if it failed."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class SweepConfig(Settings):
    """How a sweep is run."""

    workers: int = setting(1, at_least=0)
    """Trials at a time; 0: one for each GPU or, without, each core; with SLURM, all. A single one has all GPUs that are
    shown, of several each has `trainer.devices` of them."""
    output: str = setting("runs", path=True)
    """Folder in which `sweep-<file>` is made."""
    seed: int = setting(0, at_least=0)
    """Of random and Bayesian search."""
    executor: str = setting("local", one_of=("local", "slurm"))
    """Where trials run, as `compare.executor`."""
    slurm: dict[str, Any] = setting({})
    """Settings of sbatch, as `compare.slurm`."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: str
    """finished; stopped, by Hyperband; or failed."""
    error: float
    """The least val/error; infinite if there is none."""
    update: int
    """At which it was."""
    validations: int
    seconds: float
    """Of training, up to the last validation."""
    words: str = ""
    """Why it failed; else empty."""

    def __str__(self) -> str:
        if self.state == "failed":
            return f"failed: {self.words}"
        return f"{self.state}, error {self.error:.4g} at update {self.update:,}"


@dataclass(frozen=True)
class Trial:
    """A trial, kept in its folder."""

    folder: Path
    """`<output>/sweep-<file>/run-NNN`."""
    values: Values
    """Of all parameters."""
    place: list[float]
    """Quantiles of the varied parameters; empty in a grid."""
    command: list[str]
    """Words; the last one is the folder that it writes to."""

    def outcome(self) -> Outcome | None:
        """How it ended; None if it has not."""
        path = self.folder / "result.json"
        return from_json(path, Outcome) if path.exists() else None

    def points(self) -> list[tuple[int, float, float]]:
        """Update, seconds and val/error of each validation so far; a NaN is the worst of all errors."""
        found = [path.parent for path in sorted(self.folder.glob("*/metrics"))]
        points = read_curve(found[0]) if found else []
        return [(update, seconds, math.inf if math.isnan(error) else error) for update, seconds, error in points]

    def errors(self) -> list[float]:
        """val/error of each validation so far."""
        return [error for *_, error in self.points()]

    def end(self, error: str, stopped: bool) -> Outcome:
        """Records how it ended: why it failed, empty if it did not, and whether it was asked to stop."""
        points = self.points()
        update, _, least = min(points, key=lambda point: point[2], default=(0, 0.0, math.inf))
        why = "" if stopped else error or ("" if points else "it has logged no val/error")
        state = "failed" if why else "stopped" if error else "finished"
        outcome = Outcome(state, least, update, len(points), round(points[-1][1], 3) if points else 0.0, why)
        atomic_write(self.folder / "result.json", json.dumps(asdict(outcome), indent=1).encode())
        return outcome


def grid_at(search: Search, number: int) -> Values:
    """The combination of this number, as W&B orders them: the last name of the alphabet varies fastest."""
    found = {}
    for one in sorted(search.parameters, key=lambda one: one.name, reverse=True):
        number, rank = divmod(number, len(one.values))
        found[one.name] = one.values[rank]
    return found


def values_at(search: Search, place: Sequence[float]) -> Values:
    """The values at a place: a quantile from 0 to below 1 for each of `search.varied`."""
    quantiles = iter(place)
    return {one.name: one.at(0.0 if one.distribution == "constant" else next(quantiles)) for one in search.parameters}


def propose(search: Search, seed: int, done: Done) -> list[float]:
    """The place of the next trial of a random or Bayesian search: a function of the seed and the trials before."""
    generator = np.random.default_rng([seed, len(done)])
    ended = sum(error is not None and math.isfinite(error) for _, error in done)
    if search.file.method == "random" or ended < FIRST or not search.varied:
        return generator.random(len(search.varied)).tolist()
    return modelled(search.varied, done, int(generator.integers(2**31)))


def modelled(varied: Sequence[Parameter], done: Done, seed: int) -> list[float]:
    """The place of greatest expected improvement under Optuna's Gaussian process.

    Of its samplers this one, since trials are few: it needs four where TPE needs ten before it learns anything.
    """
    try:
        import optuna
        import scipy  # noqa: F401  (which Optuna's Gaussian process imports)
    except ImportError:
        raise ConfigError("method: bayes needs Optuna and SciPy: pip install 'lightning-ebm[sweep]'") from None
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import TrialState, create_trial

    kinds: dict[str, Any] = {}
    for one in varied:
        ordered = isinstance(one.values, range) or (
            all(isinstance(value, int | float) for value in one.values) and one.values == sorted(one.values)
        )
        if not one.values:
            kinds[one.name] = FloatDistribution(0.0, 1.0)
        elif ordered:
            kinds[one.name] = IntDistribution(0, len(one.values) - 1)
        else:
            kinds[one.name] = CategoricalDistribution(range(len(one.values)))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=seed, n_startup_trials=1))
    worst = max(error for _, error in done if error is not None and math.isfinite(error))
    for place, error in done:
        pairs = zip(varied, place, strict=True)
        point = {one.name: one.rank(quantile) if one.values else quantile for one, quantile in pairs}
        state = TrialState.RUNNING if error is None else TrialState.COMPLETE
        value = None if error is None else min(error, worst)  # a failed trial is as bad as the worst
        study.add_trial(create_trial(state=state, value=value, params=point, distributions=kinds))
    found = study.ask(kinds).params
    return [one.centre(found[one.name]) if one.values else min(found[one.name], 1 - 1e-9) for one in varied]


def is_hopeless(early: Hyperband, errors: Sequence[float], of_all: Iterable[Sequence[float]]) -> bool:
    """Whether Hyperband stops a trial, as W&B does; errors are those of all validations so far, `of_all` those of all.

    True if, at the last bracket that it has reached, its best error is worse than that of rank n / eta (rounded down,
    from 0) of the n trials that have reached it, this one among them.
    """
    bracket = max((end for end in early.brackets if end <= len(errors)), default=0)
    if not bracket:
        return False
    ranked = sorted(min(other[:bracket]) for other in of_all if len(other) >= bracket)
    return min(errors[:bracket]) > ranked[int(len(ranked) / early.eta)]


def new_trial(search: Search, seed: int, trials: Sequence[Trial], folder: Path) -> Trial | None:
    """The next trial, with its folder and what it is to do in it; None if there is none."""
    if len(trials) >= most(search):
        return None
    if search.file.method == "grid":
        place, values = [], grid_at(search, len(trials))
    else:
        outcomes = [(trial.place, trial.outcome()) for trial in trials]
        place = propose(search, seed, [(one, outcome.error if outcome else None) for one, outcome in outcomes])
        values = values_at(search, place)
    own, file = folder / f"run-{len(trials):03d}", search.file
    # metrics are read from our own folder: the last word wins over one that the sweep gives
    command = [*words(file.command, file.program, arguments(search, values)), f"output={own}"]
    kept: dict[str, Any] = {"values": values, "place": place, "command": command}
    atomic_write(own / "command.json", json.dumps(kept, indent=1).encode())
    return Trial(own, **kept)


def most(search: Search) -> int:
    """Number of all trials."""
    combinations = math.prod(len(one.values) for one in search.parameters) if search.file.method == "grid" else math.inf
    return int(min(search.file.run_cap or math.inf, combinations))


def read_trials(folder: Path) -> list[Trial]:
    """The trials that a sweep has begun, by number."""
    paths = sorted(folder.glob("run-*/command.json"), key=lambda path: int(path.parent.name.split("-")[1]))
    return [from_json(path, partial(Trial, path.parent)) for path in paths]


def from_json(path: Path, make: Callable[..., Made]) -> Made:
    """What a side file of a trial holds; a ConfigError if it is damaged."""
    try:
        return make(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is damaged; delete {path.parent} to run the trial again: {error}") from None


def sweep(file: Path | str, overrides: Overrides = (), console: Console = QUIET) -> list[Trial]:
    """Runs the trials of a sweep's file that have not ended, and writes what was found to `<output>/sweep-<file>`.

    The file, a path or the name of one in the package, is in the schema of W&B; overrides are fields of `SweepConfig`.
    Half-finished trials resume, failed ones run again. Returns all trials, by number; each has an outcome.

    Raises:
        ConfigError: if file or settings are wrong, or the folder holds another sweep.
        UnfinishedError: if some trials failed.
    """
    search = read_sweep(shipped(file, "sweeps", "sweep") if isinstance(file, str) else file)
    settings: SweepConfig = build(SweepConfig, parse_overrides(overrides), "")
    if launched():
        raise ConfigError("a sweep starts the processes of its trials itself; start it as a single process")
    folder = Path(settings.output) / f"sweep-{search.path.stem}"
    claim(search, settings.seed, folder)
    trials = read_trials(folder)
    waiting = [trial for trial in trials if (outcome := trial.outcome()) is None or outcome.state == "failed"]
    for trial in waiting:
        (trial.folder / "result.json").unlink(missing_ok=True)
    total = most(search) - len(trials) + len(waiting)

    def jobs() -> Iterator[Job]:
        for trial in waiting:
            yield job(search, trial, settings.workers, trials)
        while new := new_trial(search, settings.seed, trials, folder):
            trials.append(new)
            yield job(search, new, settings.workers, trials)

    def ended(one: Running, error: str) -> str:
        trial = next(trial for trial in trials if trial.folder == one.job.folder)
        return str(trial.end(error, one.asked))

    run_jobs(make_executor(settings.executor, settings.workers, settings.slurm), jobs(), total, ended, console)
    console.print(write_report(search, trials, folder))
    console.print(f"\nTable, best command and figure: {folder.resolve()}", markup=False)
    if failed := [trial.folder.name for trial, outcome in ranked(trials) if outcome.state == "failed"]:
        raise UnfinishedError(failed, trials)
    return trials


def claim(search: Search, seed: int, folder: Path) -> None:
    """Makes the folder; refuses one of another sweep, but for its run_cap."""
    now = {key: value for key, value in search.plain.items() if key != "run_cap"} | {"seed": seed}
    kept, content = folder / "sweep.yaml", yaml.safe_dump(now, sort_keys=False).encode()
    if kept.exists() and load_yaml(kept.read_bytes(), str(kept)) != load_yaml(content, str(kept)):
        raise ConfigError(f"{folder} holds another sweep or seed; choose another output=…, or delete it")
    atomic_write(kept, content)


def job(search: Search, trial: Trial, workers: int, trials: Sequence[Trial]) -> Job:
    """What runs a trial, until Hyperband, which compares it with all `trials`, stops it."""
    early, seen = search.file.early_terminate, 0

    def gives_up() -> bool:
        nonlocal seen
        if not early.brackets or len(errors := trial.errors()) == seen:
            return False
        seen = len(errors)
        return is_hopeless(early, errors, [one.errors() for one in trials])

    return Job(
        name=f"{trial.folder.name}, {described(search, trial.values)}",
        command=trial.command,
        folder=trial.folder,
        devices=0 if workers == 1 else int(trial.values.get("trainer.devices", 1)),
        environment={
            # `python` in a command is this one, even where its environment is not activated
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONSAFEPATH": None,  # the user's own command finds modules in its folder, as under W&B's agent
        },
        gives_up=gives_up,
    )


def ranked(trials: Sequence[Trial]) -> list[tuple[Trial, Outcome]]:
    """The trials that have ended, the least error first, failed ones last."""
    ended = [(trial, outcome) for trial in trials if (outcome := trial.outcome())]
    return sorted(ended, key=lambda pair: (pair[1].state == "failed", pair[1].error, pair[0].folder.name))


def write_report(search: Search, trials: Sequence[Trial], folder: Path) -> Table:
    """Writes sweep.csv, sweep.md and, if a trial has an error at all, sweep.png. Returns the table."""
    runs, columns = ranked(trials), [*COLUMNS, *(one.name for one in search.varied)]
    rows = [
        [trial.folder.name, *list(asdict(outcome).values())[:-1], *(trial.values[one.name] for one in search.varied)]
        for trial, outcome in runs
    ]
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    caption = f"{len(runs)} trials, {search.file.method}; error: the least val/error of each."
    table = plain_table(search.path.name, caption, columns, rows)
    page = [f"# {search.path.name}", table.markdown().rstrip()]
    page += [f"{trial.folder.name} failed: {outcome.words}" for trial, outcome in runs if outcome.state == "failed"]
    good = [(trial, outcome) for trial, outcome in runs if math.isfinite(outcome.error)]
    if good:
        # without the folder of the run, the command is the user's own
        page += ["The best run again:", f"```bash\n{shlex.join(good[0][0].command[:-1])}\n```"]
        axes = [
            Axis(
                one.name.replace(".", ".\n"),
                [trial.values[one.name] for trial, _ in good],
                choices=one.values if one.distribution == "categorical" else (),
                logarithmic="log" in one.distribution,
            )
            for one in search.varied
        ]
        axes.append(Axis("val/error", [outcome.error for _, outcome in good]))
        labels = [f"{outcome.error:.4g}: {described(search, trial.values)}" for trial, outcome in good]
        save(parallel_coordinates(axes, labels), folder / "sweep")
    (folder / "sweep.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
    return table


def described(search: Search, values: Values) -> str:
    """The values that a trial has of its own."""
    shown = {one.name: values[one.name] for one in search.varied}
    return ", ".join(f"{name}={f'{x:.4g}' if isinstance(x, float) else x}" for name, x in shown.items())
