"""A sweep's file, in the schema of Weights & Biases, read and checked strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_ebm.config import ConfigError
from lightning_ebm.registry import did_you_mean
from lightning_ebm.sweeping.commands import DEFAULT, MACROS, VARIABLE
from lightning_ebm.sweeping.hyperband import Hyperband
from lightning_ebm.sweeping.space import DEFAULTS, Parameter

METHODS = ("grid", "random", "bayes")
METRIC = {"name": "val/error", "goal": "minimize"}
KEYS = (
    *("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap"),
    *("name", "description", "project", "entity"),  # for W&B's pages only
)


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        path: its file.
        method: one of `METHODS`.
        parameters: in the order of the file.
        command: words and macros.
        program: what stands for ${program}; may be empty.
        early_terminate: when runs are stopped; None: never.
        run_cap: runs at most; 0: no bound.
    """

    path: Path
    method: str
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    program: str
    early_terminate: Hyperband | None
    run_cap: int


def read_sweep(path: Path) -> Sweep:
    """Reads a file.

    Raises:
        ConfigError: if it is missing, no YAML mapping, or a key is unknown, missing or out of range; the message names
            file and key.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        return checked(path, plain)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def checked(path: Path, plain: Any) -> Sweep:
    """The sweep of a plain mapping."""
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
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"parameters.{twice[0]} is given twice")
    for parameter in found:
        if method == "grid" and (not parameter.values or parameter.settings.get("probabilities")):
            raise ConfigError(
                f"parameters.{parameter.name} must have a value, values or whole min and max in a grid,"
                f" not {parameter.distribution}{' with probabilities' if parameter.values else ''}"
            )
    command = plain.get("command", list(DEFAULT))
    program = plain.get("program", "")
    if not isinstance(command, list) or not command:
        raise ConfigError(f"command must be a list of words, got {command!r}")
    for word in map(str, command):
        if word.startswith("${") and not VARIABLE.fullmatch(word) and word[2:-1] not in MACROS:
            raise ConfigError(f"command has {word!r}; the macros are ${{envvar:NAME}}, ${{{'}, ${'.join(MACROS)}}}")
    if "${program}" in command and not program:
        raise ConfigError("program must be given, for command has ${program}")
    run_cap = whole(plain.get("run_cap", 0), "run_cap", 1 if "run_cap" in plain else 0)
    early = early_terminate(plain["early_terminate"]) if "early_terminate" in plain else None
    return Sweep(path, method, found, tuple(map(str, command)), program, early, run_cap)


def parameters(node: Any, above: tuple[str, ...]) -> Iterable[Parameter]:
    """The parameters of a mapping, and of the `parameters` nested in it."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{'.'.join(('parameters', *above))} must hold keys and values, got {node!r}")
    for key, settings in node.items():
        path = (*above, str(key))
        where = ".".join(("parameters", *path))
        if isinstance(settings, Mapping) and "parameters" in settings:
            known(settings, ("parameters",), where)
            yield from parameters(settings["parameters"], path)
        else:
            yield parameter(path, settings, where)


def parameter(path: tuple[str, ...], settings: Any, where: str) -> Parameter:
    """One parameter, whose distribution, if it has no name, follows from its settings as in Weights & Biases."""
    known(settings, (*{name: 0 for one in DEFAULTS.values() for name in one}, "distribution"), where)
    given = {key: value for key, value in settings.items() if key != "distribution"}
    name = settings.get("distribution") or inferred(given)
    if name not in DEFAULTS:
        raise ConfigError(f"{where}.distribution must be one of {', '.join(DEFAULTS)}, got {name!r}")
    known(given, DEFAULTS[name], f"{where} ({name})")
    complete = {**DEFAULTS[name], **given}
    for key, value in complete.items():
        if key in ("value", "values", "probabilities"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{where}.{key} must be a number, got {value!r}; 1.0e-3, not 1e-3, is one in YAML")
        if key in ("min", "max") and name == "int_uniform":
            whole(value, f"{where}.{key}")
        if (key in ("q", "sigma") or (key == "min" and "log" in name)) and value <= 0:
            raise ConfigError(f"{where}.{key} must be above 0, got {value}")
    if "min" in complete and not complete["min"] < complete["max"]:
        raise ConfigError(f"{where}.min must be below its max, got {complete['min']} and {complete['max']}")
    if name in ("constant", "categorical"):
        choices(complete, where)
    return Parameter(path, name, complete)


def inferred(given: Mapping[str, Any]) -> str | None:
    """The distribution that settings without one have; None if they have none."""
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical"
    if {"min", "max"} <= given.keys():
        return "int_uniform" if all(isinstance(given[key], int) for key in ("min", "max")) else "uniform"
    return None


def choices(settings: Mapping[str, Any], where: str) -> None:
    """Checks the values of a parameter that has a list of them, or one."""
    values = settings.get("values", [settings.get("value")])
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}.values must be a list with at least one value, got {values!r}")
    if any(value is None for value in values):
        raise ConfigError(f"{where}: null cannot be given to a command, where it would be the word None")
    shares = settings.get("probabilities") or []
    if shares and (
        not isinstance(shares, list)
        or len(shares) != len(values)
        or not all(isinstance(share, int | float) and share >= 0 for share in shares)
        or abs(sum(shares) - 1) > 1e-6
    ):
        raise ConfigError(f"{where}.probabilities must be one for each value and sum to 1, got {shares!r}")


def early_terminate(node: Any) -> Hyperband:
    """The settings of Hyperband."""
    names = [entry.name for entry in dataclasses.fields(Hyperband)]
    known(node, ("type", *names), "early_terminate")
    if node.get("type") != "hyperband":
        raise ConfigError(f"early_terminate.type must be hyperband, got {node.get('type')!r}")
    if ("min_iter" in node) == ("max_iter" in node) or ("s" in node) != ("max_iter" in node):
        raise ConfigError("early_terminate must have min_iter, or max_iter and s")
    for name in set(names) & set(node) - {"eta"}:
        whole(node[name], f"early_terminate.{name}", 1)
    eta = node.get("eta", 3)
    if isinstance(eta, bool) or not isinstance(eta, int | float) or eta <= 1:
        raise ConfigError(f"early_terminate.eta must be a number above 1, got {eta!r}")
    return Hyperband(**{name: node[name] for name in names if name in node})


def known(node: Any, allowed: Iterable[str], where: str) -> None:
    """Checks that a node is a mapping with known keys."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{where or 'the file'} must hold keys and values, got {node!r}")
    for key in node:
        if key not in allowed:
            raise ConfigError(f"unknown key {key!r}{f' in {where}' if where else ''}.{did_you_mean(str(key), allowed)}")


def whole(value: Any, where: str, least: int | None = None) -> int:
    """Checks that a value is a whole number, from the least one."""
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise ConfigError(f"{where} must be a whole number{'' if least is None else f' from {least}'}, got {value!r}")
    return value
