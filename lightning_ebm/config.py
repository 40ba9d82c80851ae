"""Configuration: dataclass defaults < YAML file (which may name a `base:`) < key=value on the command line.

Each of them may name a `recipe:`, a packaged set of rates, steps and schedules (lightning_ebm/recipes), which lies
directly under what else it says: `lightning-ebm train configs/binary.yaml recipe=paper`.

    lightning-ebm train configs/glyphs.yaml training.updates=500 memory.writing.steps=3

A node that chooses a class by name (memory, energy, data, distortion) holds that class's settings beside the
name, `memory: {name: hopfield, rule: storkey}`, or is the bare name, `memory: hopfield`. Everything is strict: an
unknown key or a value of the wrong type is an error that says what is allowed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_ebm.registry import Choice, Registry, did_you_mean
from lightning_ebm.schema import ALLOWED, AT_LEAST, AT_MOST, NOT_TRAINING, PRECISIONS, RunConfig

RECIPES = Path(__file__).parent / "recipes"


class ConfigError(ValueError):
    """A mistake in a configuration; the message names the file or the key."""


Source = Path | str | Mapping[str, Any]
"""A YAML file, or, in a notebook, the mapping that one would hold."""
Overrides = Sequence[str] | Mapping[str, Any]
"""key=value words, or, in a notebook, the nested mapping that they stand for."""


def read(source: Source, overrides: Overrides = ()) -> dict[str, Any]:
    """The plain configuration of a file and of overrides, not yet checked against the schema.

    Raises:
        ConfigError: if a file is missing or no YAML mapping, or an override is no key=value.
    """
    return merge(*layers(source, overrides))


def layers(source: Source, overrides: Overrides) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plain configurations of a file and of overrides, before they are merged."""
    under = with_recipe(source) if isinstance(source, Mapping) else read_file(Path(source))
    over = with_recipe(overrides) if isinstance(overrides, Mapping) else parse_overrides(overrides)
    return under, over


def with_recipe(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer of configuration over the recipe that it names, if it does.

    Raises:
        ConfigError: if there is no such recipe.
    """
    name = layer.get("recipe")
    if not name:
        return dict(layer)
    files = {path.stem: path for path in RECIPES.glob("*.yaml")}
    if name not in files:
        raise ConfigError(f"there is no recipe {name!r}.{did_you_mean(str(name), files)}")
    return merge(read_file(files[name]), layer)


def read_file(path: Path) -> dict[str, Any]:
    """A YAML file merged over the files that its `base:` keys name, relative to it."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    try:
        loaded = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} must hold keys and values, not a {type(loaded).__name__}")
    base = loaded.pop("base", None)
    loaded = with_recipe(loaded)
    return merge(read_file(path.parent / base), loaded) if base else loaded


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """The nested mapping that key=value words stand for, over the recipe they name; values are read as YAML."""
    parsed: dict[str, Any] = {}
    for word in overrides:
        if "=" not in word or word.startswith(("=", "-")):
            raise ConfigError(f"{word!r} is not of the form key=value")
        try:
            one = OmegaConf.to_container(OmegaConf.from_dotlist([word]))
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read {word!r}: {' '.join(str(error).split())}") from None
        parsed = merge(parsed, typing.cast(dict[str, Any], one))
    return with_recipe(parsed)


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`. A bare name laid on a choice, or another `name`, replaces it with its settings."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, str) and isinstance(value, Mapping) and "name" not in value:
            old = {"name": old}  # a choice that was given as its bare name, and now gets settings
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            value = merge(old, value)
        merged[key] = value
    return merged


def resolve(plain: Mapping[str, Any]) -> RunConfig:
    """The checked configuration of a plain one.

    Raises:
        ConfigError: on an unknown key or name, a wrong type, or a value out of range; the message names the key.
    """
    try:
        interpolated = OmegaConf.to_container(OmegaConf.create(dict(plain)), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from None
    config: RunConfig = build(RunConfig, typing.cast(dict[str, Any], interpolated), "")
    for key, allowed in ALLOWED.items():
        if get(config, key) not in allowed:
            raise ConfigError(f"{key} must be one of {', '.join(allowed)}, got {get(config, key)!r}")
    for key, bound in AT_LEAST.items():
        if not get(config, key) >= bound:
            raise ConfigError(f"{key} must be at least {bound}, got {get(config, key)}")
    for key, bound in AT_MOST.items():
        if not get(config, key) <= bound:
            raise ConfigError(f"{key} must be at most {bound}, got {get(config, key)}")
    if any(count < 1 for count in config.compare.items):
        raise ConfigError(f"compare.items must be numbers of patterns from 1, got {config.compare.items}")
    if any(seed < 0 for seed in config.compare.seeds):
        raise ConfigError(f"compare.seeds must be whole numbers from 0, got {config.compare.seeds}")
    if not config.compare.precisions or not set(config.compare.precisions) <= set(PRECISIONS):
        raise ConfigError(
            f"compare.precisions must be some of {', '.join(PRECISIONS)}, got {config.compare.precisions}"
        )
    if (items := config.episodes.train_items) and not (len(items) == 2 and 1 <= items[0] <= items[1]):
        raise ConfigError(f"episodes.train_items must be a range [low, high] from 1, or empty, got {items}")
    if config.episodes.curriculum and not items:
        raise ConfigError("episodes.curriculum raises the upper end of episodes.train_items, which is empty")
    return config


def build(schema: type, node: Any, path: str) -> Any:
    """An instance of the dataclass `schema` from a plain mapping; `path` is its dotted key, for errors."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{path} must hold keys and values, got {node!r}")
    fields = {entry.name: entry for entry in dataclasses.fields(schema)}
    types = typing.get_type_hints(schema)
    for key in node:
        if key not in fields:
            raise ConfigError(f"unknown key {dotted(path, str(key))!r}.{did_you_mean(str(key), fields)}")
    values: dict[str, Any] = {}
    for key, entry in fields.items():
        if "registry" in entry.metadata:
            values[key] = build_choices(entry, node, dotted(path, key))
        elif dataclasses.is_dataclass(types[key]):
            values[key] = build(typing.cast(type, types[key]), node.get(key, {}), dotted(path, key))
    leaves = {key: value for key, value in node.items() if key not in values}
    try:
        checked: Any = OmegaConf.merge(OmegaConf.structured(schema), leaves)
        for key in fields.keys() - values.keys():
            values[key] = OmegaConf.to_container(checked[key]) if OmegaConf.is_config(checked[key]) else checked[key]
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or getattr(error, "key", None) or ""
        raise ConfigError(f"{dotted(path, str(key))}: {one_line(error)}") from None
    try:
        return schema(**values)
    except ValueError as error:  # it begins with the name of the field that is out of bounds
        raise ConfigError(dotted(path, str(error))) from None


def build_choices(entry: dataclasses.Field[Any], node: Mapping[str, Any], path: str) -> Choice | list[Choice] | str:
    """What a mapping says for a field made by `registry.choice`, which may be empty, or by `registry.choices`."""
    registry: Registry = entry.metadata["registry"]
    if entry.default is not dataclasses.MISSING:
        chosen = node.get(entry.name, {})
        return build_choice(registry, entry.default, chosen, path) if chosen or entry.default else ""
    several = node.get(entry.name, [])
    if not isinstance(several, list):
        raise ConfigError(f"{path} must be a list of {registry.kind} names, each with its settings, got {several!r}")
    return [build_choice(registry, "", one, f"{path}[{place}]") for place, one in enumerate(several)]


def build_choice(registry: Registry, default: str, node: Any, path: str) -> Choice:
    """What a bare name, or a mapping with a `name`, stands for; the default name if it has none."""
    settings = {"name": node} if isinstance(node, str) else node
    if isinstance(settings, Mapping):
        settings = {"name": default, **settings}
    if not isinstance(settings, Mapping) or not isinstance(settings["name"], str) or not settings["name"]:
        raise ConfigError(f"{path}.name must be one of {', '.join(registry.names())}, or package.module:Class")
    try:
        schema = registry.load(settings["name"]).config
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return Choice(settings["name"], build(schema, {k: v for k, v in settings.items() if k != "name"}, path))


def plain(config: Any) -> Any:
    """A resolved configuration as plain dicts, lists and values: for YAML, checkpoints and identities."""
    if isinstance(config, Choice):
        return {"name": config.name, **plain(config.config)}
    if dataclasses.is_dataclass(config):
        return {entry.name: plain(getattr(config, entry.name)) for entry in dataclasses.fields(config)}
    if isinstance(config, list):
        return [plain(value) for value in config]
    return config


def to_yaml(config: RunConfig) -> str:
    """The resolved configuration as a YAML file that gives it again."""
    return yaml.safe_dump(plain(config), sort_keys=False)


def identity(config: RunConfig) -> str:
    """Eight hexadecimal digits that all runs that learn the same share, on every rank and after a restart."""
    learned = plain(config)
    for key in NOT_TRAINING:
        *path, last = key.split(".")
        functools.reduce(dict.__getitem__, path, learned).pop(last)
    return hashlib.sha256(json.dumps(learned, sort_keys=True).encode()).hexdigest()[:8]


def run_folder(config: RunConfig) -> Path:
    """Where a run keeps everything: `<output>/<name>-<identity>`."""
    return Path(config.output) / f"{config.name}-{identity(config)}"


def distortion_in_test(config: RunConfig) -> Choice:
    """The distortion of the test's queries."""
    chosen: Choice = config.test_distortion or config.distortion
    return chosen


def get(config: Any, key: str) -> Any:
    """The value at a dotted key."""
    for part in key.split("."):
        config = getattr(config, part)
    return config


def dotted(path: str, key: str) -> str:
    """A key below a path."""
    return f"{path}.{key}" if path else key


def one_line(error: Exception) -> str:
    """The first line of an error, which in OmegaConf's says what is wrong."""
    return str(error).splitlines()[0]
