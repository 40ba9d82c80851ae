"""A sweep's file, in the schema of Weights & Biases: its keys, its parameters, and the command of a trial."""

import itertools
import json
import math
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from lightning_ebm.config import ConfigError, TypedLoader, build, load_yaml, naming
from lightning_ebm.registry import did_you_mean
from lightning_ebm.settings import Settings, setting

FOR_PAGES = ("name", "description", "project", "entity")
"""Keys that only W&B's pages use."""
METRIC = {"name": "val/error", "goal": "minimize"}
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

Values = dict[str, Any]
"""Dotted name of a parameter -> the value that a trial has."""


@dataclass(frozen=True)
class Hyperband(Settings):
    """When trials are stopped early (Li and others 2018, "Hyperband"). Without a type, none is."""

    type: str = setting("", one_of=("", "hyperband"))
    """hyperband."""
    min_iter: int | None = setting(None, at_least=1)
    """First bracket, in validations; further ones at powers of eta times it."""
    max_iter: int | None = setting(None, at_least=1)
    """Instead: brackets at max_iter / eta, …, max_iter / eta^s."""
    s: int | None = setting(None, at_least=1)
    """Number of brackets below max_iter."""
    eta: float = setting(3.0, above=1)
    """A trial that is not among the best 1 / eta of those that reached a bracket is stopped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {name for name in ("min_iter", "max_iter", "s") if getattr(self, name)}
        if given and not self.type:
            raise ValueError("type must be hyperband, got ''")
        if self.type and given not in ({"min_iter"}, {"max_iter", "s"}):
            raise ValueError("min_iter must be given, or max_iter and s")

    @property
    def brackets(self) -> list[int]:
        """Validations at which trials are compared, rising."""
        ends: list[float] = []
        if self.max_iter and self.s:
            ends = [self.max_iter / self.eta**power for power in range(1, self.s + 1)]
        elif self.min_iter:
            ends = [self.min_iter * self.eta**power for power in range(1 + int(math.log(1e9, self.eta)))]
        return sorted({int(end) for end in ends if end >= 1})


@dataclass(frozen=True)
class SweepFile(Settings):
    """The keys of a sweep's file, with W&B's names and meaning."""

    method: str = setting("", one_of=("grid", "random", "bayes"))
    """How values are chosen."""
    parameters: dict[str, Any] = setting({}, min_length=1)
    """A key for each setting that is varied."""
    command: list[str] = setting(["${env}", "${interpreter}", "${program}", "${args}"], min_length=1)
    """Words and macros."""
    program: str = ""
    """The value of ${program}."""
    metric: dict[str, Any] = setting(METRIC, one_of=[METRIC])
    """What is minimised."""
    run_cap: int | None = setting(None, at_least=1)
    """Trials at most."""
    early_terminate: Hyperband = Hyperband()
    """Which trials are stopped early."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for word in self.command:
            if word.startswith("${") and not VARIABLE.fullmatch(word) and word[2:-1] not in MACROS:
                raise ValueError(f"command has {word!r}; the macros are ${{envvar:NAME}}, ${{{'}, ${'.join(MACROS)}}}")
        if "${program}" in self.command and not self.program:
            raise ValueError("program must be given, because command has ${program}")
        if self.method != "grid" and not self.run_cap:
            raise ValueError(f"run_cap must be given, because a {self.method} search has no end")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep."""

    path: tuple[str, ...]
    """Its key in the file, and those of the `parameters:` nested below."""
    distribution: str
    """A key of `DISTRIBUTIONS`."""
    settings: Mapping[str, Any]
    """All settings of the distribution."""

    @property
    def name(self) -> str:
        """The dotted key of our configuration that it sets."""
        return ".".join(self.path)

    @property
    def values(self) -> Sequence[Any]:
        """The values that a grid goes through, which may be billions; empty if they are not a list."""
        if self.distribution == "int_uniform":
            return range(self.settings["min"], self.settings["max"] + 1)
        return list(self.settings.get("values", [self.settings["value"]] if "value" in self.settings else []))

    @property
    def ends(self) -> list[float]:
        """Cumulative probabilities of `values`, from 0; empty if all are equally likely."""
        return [0.0, *itertools.accumulate(shares)] if (shares := self.settings.get("probabilities")) else []

    def rank(self, quantile: float) -> int:
        """Which of `values` a quantile falls on."""
        last = len(self.values) - 1
        if not self.ends:
            return min(int(quantile * len(self.values)), last)
        return next((rank for rank, end in enumerate(self.ends[1:]) if quantile < end), last)

    def centre(self, rank: int) -> float:
        """The middle of all quantiles that fall on one of `values`."""
        return sum(self.ends[rank : rank + 2]) / 2 if self.ends else (rank + 0.5) / len(self.values)

    def at(self, quantile: float) -> Any:
        """The value at a quantile of the distribution, from 0 to below 1; whole where `q` is."""
        if self.values:
            return self.values[self.rank(quantile)]
        given, logarithmic = self.settings, "log" in self.distribution
        if "mu" in given:
            value = given["mu"] + given["sigma"] * NormalDist().inv_cdf(min(max(quantile, 1e-12), 1 - 1e-12))
        else:  # log(1 / x) of inv_log_uniform_values is uniform where log x is
            low, high = (math.log(given[end]) if logarithmic else given[end] for end in ("min", "max"))
            value = low + quantile * (high - low)
        value = math.exp(value) if logarithmic else float(value)
        if (q := given.get("q")) is None:
            return value
        return round(value / q) * q if isinstance(q, int) else float(f"{round(value / q) * q:.12g}")


@dataclass(frozen=True)
class Search:
    """A checked sweep file."""

    path: Path
    plain: dict[str, Any]
    """What it holds."""
    file: SweepFile
    parameters: tuple[Parameter, ...]
    """In the order of the file."""

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
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {path}: {error.strerror}") from None
    plain = load_yaml(content, str(path), TypedLoader)  # a sweep's values keep their types, as W&B reads them
    with naming(str(path)):
        return checked(path, plain)


def checked(path: Path, plain: Any) -> Search:
    """The search given by a plain mapping."""
    known(plain, plain, "the file")
    file: SweepFile = build(SweepFile, {key: plain[key] for key in plain if key not in FOR_PAGES}, "")
    found = tuple(parameters(file.parameters, ()))
    names = [parameter.name for parameter in found]
    for one in found:
        if names.count(one.name) > 1:
            raise ConfigError(f"parameters.{one.name} is given twice")
        if one.name == "trainer.devices" and not (one.values and all(type(value) is int for value in one.values)):
            raise ConfigError("parameters.trainer.devices must have whole numbers as its value or values")
        if file.method == "grid" and (not one.values or one.settings.get("probabilities")):
            raise ConfigError(
                f"parameters.{one.name} must have a value, values or whole min and max in a grid,"
                f" not {one.distribution}{' with probabilities' if one.values else ''}"
            )
    return Search(path, dict(plain), file, found)


def parameters(node: Any, above: tuple[str, ...]) -> Iterable[Parameter]:
    """The parameters of a mapping, and of the `parameters` nested in it."""
    known(node, node, ".".join(("parameters", *above)))
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
    name = settings.get("distribution")
    if not name and "value" in given:
        name = "constant"
    elif not name and "values" in given:
        name = "categorical"
    elif not name and {"min", "max"} <= given.keys():
        name = "int_uniform" if isinstance(given["min"], int) and isinstance(given["max"], int) else "uniform"
    if not isinstance(name, str) or name not in DISTRIBUTIONS:
        raise ConfigError(f"{where}.distribution must be one of {', '.join(DISTRIBUTIONS)}, got {name!r}")
    known(given, DISTRIBUTIONS[name], f"{where} ({name})")
    complete = {**DISTRIBUTIONS[name], **given}
    for key in complete.keys() - {"value", "values", "probabilities"}:
        value = complete[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
            raise ConfigError(f"{where}.{key} must be a finite number, got {value!r}; write 1.0e-3 instead of 1e-3")
        if name == "int_uniform" and not isinstance(value, int):
            raise ConfigError(f"{where}.{key} must be a whole number, got {value!r}")
        if (key in ("q", "sigma") or (key == "min" and "log" in name)) and value <= 0:
            raise ConfigError(f"{where}.{key} must be above 0, got {value}")
    if "min" in complete and not complete["min"] < complete["max"]:
        raise ConfigError(f"{where}.min must be below its max, got {complete['min']} and {complete['max']}")
    if name in ("constant", "categorical"):
        values = complete.get("values", [complete.get("value")])
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{where}.values must be a list with at least one value, got {values!r}")
        if None in values:
            raise ConfigError(f"{where}: null cannot be passed to a command, where it would become the word None")
        for value in values:
            if not isinstance(value, bool | int | float | str | list | dict):
                raise ConfigError(f"{where}: {value!r} is a {type(value).__name__}; quote it to make it text")
        shares = complete.get("probabilities") or [1 / len(values)] * len(values)
        numbers = isinstance(shares, list) and all(isinstance(share, int | float) and share >= 0 for share in shares)
        if not numbers or len(shares) != len(values) or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(f"{where}.probabilities must be one for each value and sum to 1, got {shares!r}")
    found = Parameter(path, name, complete)
    try:
        found.at(1 - 1e-12)
    except OverflowError:
        raise ConfigError(f"{where}: its largest values are too large for a float") from None
    return found


def known(node: Any, allowed: Iterable[str], where: str) -> None:
    """Refuses what is no mapping, or has another key than those allowed."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{where} must hold keys and values, got {node!r}")
    for key in node:
        if key not in allowed:
            raise ConfigError(f"unknown key {key!r} in {where}.{did_you_mean(str(key), allowed)}")


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
    """The words of a command with macros, as W&B's agent builds them; `given` are the `arguments` of a trial."""
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
