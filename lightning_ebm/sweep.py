"""Sweeps: trials of one command with many settings, from a file in the schema of Weights & Biases (W&B), unchanged.

    lightning-ebm sweep sweeps/glyphs-rate.yaml workers=2    or    sweep("sweeps/glyphs-rate.yaml", {"workers": 2})

Each trial is a job of the executor. Everything is kept in `<output>/sweep-<file>`; the same call resumes an interrupted
sweep. Bayesian search is Optuna's Gaussian process, the method of W&B's `bayes`. Early stopping is ours:
W&B's Hyperband judges the best error so far among the trials at a bracket; Optuna's pruners judge the last error.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
import yaml
from rich.console import Console

from lightning_ebm.config import ConfigError, Overrides, build, parse_overrides
from lightning_ebm.experiments.executor import QUIET, Job, UnfinishedError, make_executor, run_jobs
from lightning_ebm.files import atomic_write
from lightning_ebm.registry import did_you_mean
from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.reporting.figures.parallel import Axis, parallel_coordinates
from lightning_ebm.reporting.figures.style import save
from lightning_ebm.settings import Settings, setting
from lightning_ebm.signals import launched

METHODS = ("grid", "random", "bayes")
METRIC = {"name": "val/error", "goal": "minimize"}
KEYS = (
    *("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap"),
    *("name", "description", "project", "entity"),  # for W&B's pages only
)
RANGE, NORMAL = {"min": None, "max": None}, {"mu": 0.0, "sigma": 1.0}
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "constant": {"value": None},
    "categorical": {"values": None, "probabilities": ()},
    "uniform": RANGE,
    "q_uniform": RANGE | {"q": 1},
    "int_uniform": RANGE,
    "log_uniform_values": RANGE,
    "q_log_uniform_values": RANGE | {"q": 1},
    "inv_log_uniform_values": RANGE,
    "normal": NORMAL,
    "q_normal": NORMAL | {"q": 1},
    "log_normal": NORMAL,
}
"""The settings of each distribution, with W&B's names and meaning; None: it has to be given."""
MACROS = (
    *("env", "interpreter", "program", "args", "args_no_hyphens", "args_no_equals", "args_no_boolean_flags"),
    *("args_json", "args_append_hydra", "args_override_hydra"),
)
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
FIRST = 4
"""Trials of a Bayesian search that are drawn at random before there is anything to model."""
COLUMNS = ("run", "state", "error", "update", "validations", "seconds")

Made = TypeVar("Made")
Values = dict[str, Any]
"""Dotted name of a parameter -> the value that a trial has."""


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


# The file


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep.

    Attributes:
        path: its key in the file, and those of the `parameters:` nested below.
        distribution: a key of `DISTRIBUTIONS`.
        settings: those of the distribution, all of them.
    """

    path: tuple[str, ...]
    distribution: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The key of our configuration that it sets, dotted."""
        return ".".join(self.path)

    @property
    def values(self) -> list[Any]:
        """The values that a grid goes through; empty if they are not a list."""
        if self.distribution == "int_uniform":
            return list(range(self.settings["min"], self.settings["max"] + 1))
        return list(self.settings.get("values", [self.settings["value"]] if "value" in self.settings else []))

    @property
    def ends(self) -> list[float]:
        """Cumulative probabilities of `values`, from 0."""
        shares = self.settings.get("probabilities") or [1 / len(self.values)] * len(self.values)
        return [0.0, *itertools.accumulate(shares)]

    def rank(self, quantile: float) -> int:
        """Which of `values` a quantile falls on."""
        return next((rank for rank, end in enumerate(self.ends[1:]) if quantile < end), len(self.values) - 1)

    def centre(self, rank: int) -> float:
        """The middle of all quantiles that fall on one of `values`."""
        return (self.ends[rank] + self.ends[rank + 1]) / 2

    def at(self, quantile: float) -> Any:
        """The value at a quantile of the distribution, from 0 to below 1; whole where `q` is."""
        if self.values:
            return self.values[self.rank(quantile)]
        given = self.settings
        if "mu" in given:
            value = given["mu"] + given["sigma"] * NormalDist().inv_cdf(min(max(quantile, 1e-12), 1 - 1e-12))
        elif "log" in self.distribution:
            # log(1 / x) of inv_log_uniform_values is uniform between log(1 / max) and log(1 / min): log x is uniform
            value = math.log(given["min"]) + quantile * (math.log(given["max"]) - math.log(given["min"]))
        else:
            value = given["min"] + quantile * (given["max"] - given["min"])
        value = math.exp(value) if "log" in self.distribution else float(value)
        if (q := given.get("q")) is None:
            return value
        return round(value / q) * q if isinstance(q, int) else float(f"{round(value / q) * q:.12g}")


@dataclass(frozen=True)
class Search:
    """A checked sweep file.

    Attributes:
        path: the file.
        plain: what it holds.
        method: one of `METHODS`.
        parameters: in the order of the file.
        command: words and macros.
        brackets: validations at which Hyperband compares trials, rising; it stops those that are not among the best
            1 / `eta`. Empty: none is stopped.
        eta: above 1.
        run_cap: trials at most; 0: no bound.
    """

    path: Path
    plain: dict[str, Any]
    method: str
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    brackets: tuple[int, ...]
    eta: float
    run_cap: int

    @property
    def varied(self) -> list[Parameter]:
        """Parameters that are not constants."""
        return [parameter for parameter in self.parameters if parameter.distribution != "constant"]


def read_sweep(path: Path) -> Search:
    """Reads a file.

    Raises:
        ConfigError: if it is missing, no YAML mapping, or a key is unknown, missing or out of range; the message names
            file and key.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        return checked(path, plain)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def checked(path: Path, plain: Any) -> Search:
    """The search given by a plain mapping."""
    known(plain, KEYS, "")
    method = plain.get("method")
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if plain.get("metric", METRIC) != METRIC:
        raise ConfigError(f"metric must be {METRIC}, got {plain['metric']!r}")
    if not plain.get("parameters"):
        raise ConfigError("parameters must hold a key for each setting that is varied")
    found = tuple(parameters(plain["parameters"], ()))
    names = [parameter.name for parameter in found]
    for one in found:
        if names.count(one.name) > 1:
            raise ConfigError(f"parameters.{one.name} is given twice")
        if method == "grid" and (not one.values or one.settings.get("probabilities")):
            raise ConfigError(
                f"parameters.{one.name} must have a value, values or whole min and max in a grid,"
                f" not {one.distribution}{' with probabilities' if one.values else ''}"
            )
    command = plain.get("command", ["${env}", "${interpreter}", "${program}", "${args}"])
    if not isinstance(command, list) or not command:
        raise ConfigError(f"command must be a list of words, got {command!r}")
    for word in map(str, command):
        if word.startswith("${") and not VARIABLE.fullmatch(word) and word[2:-1] not in MACROS:
            raise ConfigError(f"command has {word!r}; the macros are ${{envvar:NAME}}, ${{{'}, ${'.join(MACROS)}}}")
    if "${program}" in command and not plain.get("program"):
        raise ConfigError("program must be given, because command has ${program}")
    if "run_cap" in plain:
        whole(plain["run_cap"], "run_cap", 1)
    elif method != "grid":
        raise ConfigError(f"run_cap must be given, because a {method} search has no end")
    brackets, eta = hyperband(plain["early_terminate"]) if "early_terminate" in plain else ((), 3)
    return Search(path, plain, method, found, tuple(map(str, command)), brackets, eta, plain.get("run_cap", 0))


def parameters(node: Any, above: tuple[str, ...]) -> Iterable[Parameter]:
    """The parameters of a mapping, and of the `parameters` nested in it."""
    known(node, None, ".".join(("parameters", *above)))
    for key, settings in node.items():
        path = (*above, str(key))
        where = ".".join(("parameters", *path))
        if isinstance(settings, Mapping) and "parameters" in settings:
            known(settings, ("parameters",), where)
            yield from parameters(settings["parameters"], path)
        else:
            yield parameter(path, settings, where)


def parameter(path: tuple[str, ...], settings: Any, where: str) -> Parameter:
    """One parameter, whose distribution, if it has no name, follows from its settings as in W&B."""
    known(settings, (*{name: 0 for one in DISTRIBUTIONS.values() for name in one}, "distribution"), where)
    given = {key: value for key, value in settings.items() if key != "distribution"}
    whole_ends = all(isinstance(given.get(key), int) for key in ("min", "max"))
    ranged = ("int_uniform" if whole_ends else "uniform") if {"min", "max"} <= given.keys() else None
    name = settings.get("distribution") or (
        "constant" if "value" in given else "categorical" if "values" in given else ranged
    )
    if name not in DISTRIBUTIONS:
        raise ConfigError(f"{where}.distribution must be one of {', '.join(DISTRIBUTIONS)}, got {name!r}")
    known(given, DISTRIBUTIONS[name], f"{where} ({name})")
    complete = {**DISTRIBUTIONS[name], **given}
    for key in complete.keys() - {"value", "values", "probabilities"}:
        value = complete[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{where}.{key} must be a number, got {value!r}; write 1.0e-3 instead of 1e-3")
        if key in ("min", "max") and name == "int_uniform":
            whole(value, f"{where}.{key}")
        if (key in ("q", "sigma") or (key == "min" and "log" in name)) and value <= 0:
            raise ConfigError(f"{where}.{key} must be above 0, got {value}")
    if "min" in complete and not complete["min"] < complete["max"]:
        raise ConfigError(f"{where}.min must be below its max, got {complete['min']} and {complete['max']}")
    values = complete.get("values", [complete.get("value")])
    if name in ("constant", "categorical"):
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{where}.values must be a list with at least one value, got {values!r}")
        if any(value is None for value in values):
            raise ConfigError(f"{where}: null cannot be passed to a command, where it would become the word None")
    shares = complete.get("probabilities") or []
    if shares and (
        not isinstance(shares, list)
        or len(shares) != len(values)
        or not all(isinstance(share, int | float) and share >= 0 for share in shares)
        or abs(sum(shares) - 1) > 1e-6
    ):
        raise ConfigError(f"{where}.probabilities must be one for each value and sum to 1, got {shares!r}")
    return Parameter(path, name, complete)


def hyperband(node: Any) -> tuple[tuple[int, ...], float]:
    """Brackets and eta of `early_terminate` (Li and others 2018, "Hyperband"), counted in validations.

    The brackets are min_iter, min_iter · eta, …, or max_iter / eta, …, max_iter / eta^s.
    """
    known(node, ("type", "min_iter", "max_iter", "s", "eta"), "early_terminate")
    if node.get("type") != "hyperband":
        raise ConfigError(f"early_terminate.type must be hyperband, got {node.get('type')!r}")
    if ("min_iter" in node) == ("max_iter" in node) or ("s" in node) != ("max_iter" in node):
        raise ConfigError("early_terminate must have min_iter, or max_iter and s")
    for name in node.keys() - {"type", "eta"}:
        whole(node[name], f"early_terminate.{name}", 1)
    eta = node.get("eta", 3)
    if isinstance(eta, bool) or not isinstance(eta, int | float) or not eta > 1:
        raise ConfigError(f"early_terminate.eta must be a number above 1, got {eta!r}")
    if "max_iter" in node:
        ends = [node["max_iter"] / eta**power for power in range(1, node["s"] + 1)]
    else:
        ends = [node["min_iter"] * eta**power for power in range(1 + int(math.log(1e9, eta)))]
    return tuple(sorted({int(end) for end in ends if end >= 1})), eta


def known(node: Any, allowed: Iterable[str] | None, where: str) -> None:
    """Checks that a node is a mapping, with known keys if they are given."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{where or 'the file'} must hold keys and values, got {node!r}")
    for key in node:
        if allowed is not None and key not in allowed:
            raise ConfigError(f"unknown key {key!r}{f' in {where}' if where else ''}.{did_you_mean(str(key), allowed)}")


def whole(value: Any, where: str, least: int | None = None) -> None:
    """Checks that a value is a whole number, from the least one."""
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise ConfigError(f"{where} must be a whole number{'' if least is None else f' from {least}'}, got {value!r}")


def arguments(search: Search, values: Values) -> dict[str, Any]:
    """The arguments of a trial: a parameter's key -> its value, or a mapping if it has nested `parameters`."""
    found: dict[str, Any] = {}
    for one in search.parameters:
        node = found
        for part in one.path[:-1]:
            node = node.setdefault(part, {})
        node[one.path[-1]] = values[one.name]
    return found


def words(command: Sequence[str], program: str, given: dict[str, Any]) -> list[str]:
    """The words of a command, as W&B's agent builds them.

    Args:
        command: of the sweep's file, with macros.
        program: the value of ${program}.
        given: as `arguments` gives them.
    """
    equal = [f"{key}={value}" for key, value in given.items()]
    macros: dict[str, list[str]] = {
        "env": [] if platform.system() == "Windows" else ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [program],
        "args": [f"--{word}" for word in equal],
        "args_no_hyphens": equal,
        "args_no_equals": [word for key, value in given.items() for word in (f"--{key}", str(value))],
        "args_no_boolean_flags": [
            f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items() if value is not False
        ],
        "args_json": [json.dumps(given)],
        "args_append_hydra": [f"+{word}" for word in equal],
        "args_override_hydra": [f"++{word}" for word in equal],
    }
    built: list[str] = []
    for chunk in command:
        # a variable that is not set leaves its name
        word = VARIABLE.sub(lambda match: os.environ.get(match[1], match[1]), chunk)
        built += macros[word[2:-1]] if word.startswith("${") and word.endswith("}") else [word]
    return built


# The search

Done = Sequence[tuple[list[float], float | None]]
"""Place and error of each trial before; None while it runs, infinite if it failed."""


def grid_values(search: Search) -> list[Values]:
    """All combinations, as W&B orders them: the last name of the alphabet varies fastest."""
    ordered = sorted(search.parameters, key=lambda one: one.name)
    names = [one.name for one in ordered]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(one.values for one in ordered))]


def values_at(search: Search, place: Sequence[float]) -> Values:
    """The values at a place: a quantile from 0 to below 1 for each of `search.varied`."""
    quantiles = iter(place)
    return {one.name: one.at(0.0 if one.distribution == "constant" else next(quantiles)) for one in search.parameters}


def propose(search: Search, seed: int, done: Done) -> list[float]:
    """The place of the next trial of a random or Bayesian search: a function of the seed and the trials before."""
    generator = np.random.default_rng([seed, len(done)])
    ended = sum(error is not None and math.isfinite(error) for _, error in done)
    if search.method == "random" or ended < FIRST or not search.varied:
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
        ordered = all(isinstance(value, int | float) for value in one.values) and one.values == sorted(one.values)
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
        if error is None:
            state, value = TrialState.RUNNING, None
        else:  # a failed trial is as bad as the worst
            state, value = TrialState.COMPLETE, min(error, worst)
        study.add_trial(create_trial(state=state, value=value, params=point, distributions=kinds))
    found = study.ask(kinds).params
    return [one.centre(found[one.name]) if one.values else min(found[one.name], 1 - 1e-9) for one in varied]


def is_hopeless(search: Search, errors: Sequence[float], of_all: Iterable[Sequence[float]]) -> bool:
    """Whether Hyperband stops a trial, as W&B does.

    Args:
        search: its brackets.
        errors: of the trial, one for each validation so far.
        of_all: those of all trials of the sweep, this one among them.

    Returns:
        True if, at the last bracket that it has reached, its best error is worse than that of rank n / eta (rounded
        down, from 0) of the n trials that have reached it.
    """
    bracket = max((end for end in search.brackets if end <= len(errors)), default=0)
    if not bracket:
        return False
    ranked = sorted(min(other[:bracket]) for other in of_all if len(other) >= bracket)
    return min(errors[:bracket]) > ranked[int(len(ranked) / search.eta)]


# Trials


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: finished; stopped, by Hyperband; or failed.
        error: the least val/error; infinite if there is none.
        update: at which it was.
        validations: how many there were.
        seconds: of training, up to the last of them.
        words: why it failed; else empty.
    """

    state: str
    error: float
    update: int
    validations: int
    seconds: float
    words: str = ""

    def __str__(self) -> str:
        """It in a line."""
        if self.state == "failed":
            return f"failed: {self.words}"
        return f"{self.state}, error {self.error:.4g} at update {self.update:,}"


@dataclass(frozen=True)
class Trial:
    """A trial, kept in its folder.

    Attributes:
        folder: `<output>/sweep-<file>/run-NNN`.
        values: of all parameters.
        place: quantiles of the varied ones; empty in a grid.
        command: its words, the folder that it writes to among them.
    """

    folder: Path
    values: Values
    place: list[float]
    command: list[str]

    def outcome(self) -> Outcome | None:
        """How it ended; None if it has not."""
        path = self.folder / "result.json"
        return from_json(path, Outcome) if path.exists() else None

    def points(self) -> list[tuple[int, float, float]]:
        """Update, seconds and val/error of each validation so far."""
        found = [path.parent for path in sorted(self.folder.glob("*/metrics"))]
        return read_curve(self.folder.name, found[0]).points if found else []

    def errors(self) -> list[float]:
        """val/error of each validation so far."""
        return [error for _, _, error in self.points()]

    def end(self, error: str, stopped: bool) -> Outcome:
        """Records how it ended.

        Args:
            error: why it failed; empty if it did not.
            stopped: whether it was asked to stop.
        """
        points = self.points()
        update, _, least = min(points, key=lambda point: point[2], default=(0, 0.0, math.inf))
        words = "" if stopped else error or ("" if points else "it has logged no val/error")
        state = "failed" if words else "stopped" if error else "finished"
        outcome = Outcome(state, least, update, len(points), round(points[-1][1], 3) if points else 0.0, words)
        write(self.folder / "result.json", asdict(outcome))
        return outcome


def new_trial(search: Search, seed: int, trials: Sequence[Trial], folder: Path) -> Trial | None:
    """The next trial, with its folder and what it is to do in it; None if there is none."""
    number, place = len(trials), []
    if search.run_cap and number >= search.run_cap:
        return None
    if search.method == "grid":
        if number >= len(combinations := grid_values(search)):
            return None
        values = combinations[number]
    else:
        outcomes = [(trial.place, trial.outcome()) for trial in trials]
        place = propose(search, seed, [(one, outcome.error if outcome else None) for one, outcome in outcomes])
        values = values_at(search, place)
    own = folder / f"run-{number:03d}"
    command = words(search.command, search.plain.get("program", ""), arguments(search, values))
    # metrics are read from our own folder: the last word wins over one that the sweep gives
    trial = Trial(own, values, place, [*command, f"output={own}"])
    write(own / "command.json", {"values": values, "place": place, "command": trial.command})
    return trial


def read_trials(folder: Path) -> list[Trial]:
    """The trials that a sweep has begun, by number.

    Raises:
        ConfigError: if a file of one is damaged.
    """
    paths = sorted(folder.glob("run-*/command.json"), key=lambda path: int(path.parent.name.split("-")[1]))
    return [from_json(path, partial(Trial, path.parent)) for path in paths]


def from_json(path: Path, make: Callable[..., Made]) -> Made:
    """What a side file of a trial holds."""
    try:
        return make(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is damaged; delete {path.parent} to run the trial again: {error}") from None


def write(path: Path, content: object) -> None:
    """Writes JSON, atomically."""
    atomic_write(path, json.dumps(content, indent=1).encode())


def sweep(file: Path | str, overrides: Overrides = (), console: Console = QUIET) -> list[Trial]:
    """Runs the trials of a sweep's file that have not ended, and writes what was found to `<output>/sweep-<file>`.

    Half-finished trials resume, failed ones run again, others are proposed again.

    Args:
        file: in the schema of W&B.
        overrides: fields of `SweepConfig`: key=value words or a mapping.
        console: shows progress and the ranking.

    Returns:
        All trials, by number; each has an outcome.

    Raises:
        ConfigError: if file or settings are wrong, or the folder holds another sweep.
        UnfinishedError: if some trials failed.
    """
    search = read_sweep(Path(file))
    settings: SweepConfig = build(
        SweepConfig, overrides if isinstance(overrides, Mapping) else parse_overrides(overrides), ""
    )
    if launched():
        raise ConfigError("a sweep starts the processes of its trials itself; start it as a single process")
    folder = Path(settings.output) / f"sweep-{search.path.stem}"
    claim(search, settings.seed, folder)
    trials = read_trials(folder)
    waiting = [trial for trial in trials if (outcome := trial.outcome()) is None or outcome.state == "failed"]
    for trial in waiting:
        (trial.folder / "result.json").unlink(missing_ok=True)
    total = len(grid_values(search)) if search.method == "grid" else search.run_cap
    total = min(total, search.run_cap or total) - len(trials) + len(waiting)
    at_work: dict[Path, Trial] = {}
    stopped: set[Path] = set()

    def jobs() -> Iterator[Job]:
        known = iter(waiting)
        while trial := next(known, None) or new_trial(search, settings.seed, trials, folder):
            if trial not in trials:
                trials.append(trial)
            at_work[trial.folder] = trial
            yield job(search, trial, settings.workers, trials, stopped)

    def ended(job: Job, error: str) -> str:
        return str(at_work[job.folder].end(error, job.folder in stopped))

    run_jobs(make_executor(settings.executor, settings.workers, settings.slurm), jobs(), total, ended, console)
    console.print(f"\n{write_report(search, trials, folder)}", markup=False, soft_wrap=True)
    console.print(f"\nTable, best command and figure: {folder.resolve()}", markup=False)
    if failed := [trial.folder.name for trial, outcome in ranked(trials) if outcome.state == "failed"]:
        raise UnfinishedError(failed, trials)
    return trials


def claim(search: Search, seed: int, folder: Path) -> None:
    """Makes the folder, and checks that it is empty or of the same sweep, which may have another run_cap."""
    now = {**search.plain, "seed": seed}
    now.pop("run_cap", None)
    kept = folder / "sweep.yaml"
    if kept.exists() and yaml.safe_load(kept.read_text(encoding="utf-8")) != now:
        raise ConfigError(f"{folder} holds another sweep or seed; choose another output=…, or delete it")
    atomic_write(kept, yaml.safe_dump(now, sort_keys=False).encode())


def job(search: Search, trial: Trial, workers: int, trials: Sequence[Trial], stopped: set[Path]) -> Job:
    """What runs a trial; once Hyperband stops it, its folder is in `stopped`."""
    seen = 0

    def gives_up() -> bool:
        nonlocal seen
        if not search.brackets or len(errors := trial.errors()) == seen:
            return False
        seen = len(errors)
        if is_hopeless(search, errors, [one.errors() for one in trials]):
            stopped.add(trial.folder)
        return trial.folder in stopped

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


# The report


def ranked(trials: Sequence[Trial]) -> list[tuple[Trial, Outcome]]:
    """The trials that have ended, the least error first, failed ones last."""
    ended = [(trial, outcome) for trial in trials if (outcome := trial.outcome())]
    return sorted(ended, key=lambda pair: (pair[1].state == "failed", pair[1].error, pair[0].folder.name))


def write_report(search: Search, trials: Sequence[Trial], folder: Path) -> str:
    """Writes sweep.csv, sweep.md, and sweep.png and .svg, where at least one trial has an error.

    Returns:
        The table, in Markdown.
    """
    runs, names = ranked(trials), [one.name for one in search.varied]
    rows = [
        [trial.folder.name, *(getattr(outcome, name) for name in COLUMNS[1:]), *(trial.values[name] for name in names)]
        for trial, outcome in runs
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[*COLUMNS, *names], *rows])
    atomic_write(folder / "sweep.csv", text.getvalue().encode())
    lines = [[*COLUMNS, *names], ["---"] * (len(COLUMNS) + len(names)), *([short(x) for x in line] for line in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    page = [f"# {search.path.name}", f"{len(runs)} trials, {search.method}; error: the least val/error of each.", table]
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
    atomic_write(folder / "sweep.md", ("\n\n".join(page) + "\n").encode())
    return table


def described(search: Search, values: Values) -> str:
    """The values that a trial has of its own."""
    return ", ".join(f"{one.name}={short(values[one.name])}" for one in search.varied)


def short(value: object) -> str:
    """A value for reading."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
