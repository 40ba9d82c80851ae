"""Configuration: dataclass defaults < YAML file (which may name a `base:`) < key=value on the command line.

Each layer may name a `recipe:`, a packaged set of rates, steps and schedules (lightning_ebm/recipes), which its other
keys override: `lightning-ebm train configs/binary.yaml recipe=paper`.

    lightning-ebm train configs/glyphs.yaml training.max_steps=500 memory.writing.steps=3

A node that chooses a class by name (memory, energy, data, distortion) holds that class's settings next to the
name, `memory: {name: hopfield, rule: storkey}`, or is the bare name, `memory: hopfield`. Everything is strict: an
unknown key or a value of the wrong type is an error that says what is allowed.

All values are read as text, and only the schema says what they are: a name may be `12345e7`, `yes`, `2026-11-28` or
`[x] #1`. On the command line, what is a list or mapping in YAML's braces is one wherever the schema has no text.

Every mistake in a configuration is a `ConfigError`, from whichever of these functions finds it.
"""

import contextlib
import copy
import dataclasses
import hashlib
import json
import math
import os
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_ebm.registry import Choice, Registry, did_you_mean
from lightning_ebm.schema import NOT_TRAINING, RENAMED, RunConfig
from lightning_ebm.signals import reason

PACKAGE = Path(__file__).parent
MOST_VALUES = 100_000  # in one file; aliases of aliases would make billions of a few lines
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
"""What errors call the value of each type."""
BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
"""Text for yes and no, as in YAML and OmegaConf."""
NULLS = ("", "~", "null", "none")  # of YAML, and W&B's word for it


class ConfigError(ValueError):
    """A mistake in a configuration; the message names the file or the key."""


@contextlib.contextmanager
def naming(place: str) -> Iterator[None]:
    """Puts a key of the configuration, or a file, in front of what errors within it say."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None


class TypedLoader(yaml.SafeLoader):
    """YAML where no key is given twice."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """A mapping, refused if it has a key twice."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return node


class Loader(TypedLoader):
    """YAML of mappings, lists and text; a plain `5` or `yes` is text too."""

    yaml_implicit_resolvers: typing.ClassVar = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # merging mappings
    yaml_constructors: typing.ClassVar = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (*(f"tag:yaml.org,2002:{t}" for t in ("map", "seq", "str")), None)
    }


class ListWord(list[Any]):
    """A list given as a word of the command line, with that word, which is the value where the schema has text."""

    word: str


class MappingWord(dict[str, Any]):
    """A mapping given so."""

    word: str


def load_yaml(text: str | bytes, where: str, loader: type[TypedLoader] = Loader) -> Any:
    """What a YAML document of UTF-8, or of UTF-16 with its mark, holds: mappings, lists and what the loader makes.

    Errors begin with `where` and the line.
    """
    try:
        loaded = loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, UnicodeError) as error:
        raise ConfigError(f"{where} is not YAML in UTF-8: {reason(error)}") from None
    nodes, count = [loaded], 0
    while nodes:
        node = nodes.pop()
        nodes += list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
        if (count := count + 1) > MOST_VALUES:
            raise ConfigError(f"{where} holds more than {MOST_VALUES:,} values, its aliases written out")
    return loaded


Source = Path | str | Mapping[str, Any]
"""A YAML file, as a path, or as text that may also name one in the package; or the mapping that one would hold."""
Overrides = Sequence[str] | Mapping[str, Any]
"""key=value words, or, in a notebook, the equivalent nested mapping."""


def read(source: Source, overrides: Overrides = ()) -> dict[str, Any]:
    """The plain configuration of a file and of overrides, not yet checked against the schema."""
    return merge(*layers(source, overrides))


def layers(source: Source, overrides: Overrides) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plain configurations of a file or mapping and of overrides, before they are merged."""
    path = shipped(source, "configs", "configuration") if isinstance(source, str) else source
    under = with_base(path) if isinstance(path, Mapping) else read_file(path)
    return under, parse_overrides(overrides)


def shipped(word: str, folder: str, key: str, beside: Path = Path()) -> Path:
    """The file that a word names: a path from the folder `beside`, or one of a folder of the package, such as `demo`.

    A path has a suffix or exists; but a folder does not hide a name of the package. An error calls the word `key`.
    """
    path, files = beside / expanded(word, key), packaged(folder)
    if path.suffix or (path.exists() and not (path.is_dir() and word in files)):
        return path
    if word not in files:
        raise ConfigError(f"there is neither a file {word!r} nor a {key} of that name.{did_you_mean(word, files)}")
    return files[word]


def packaged(folder: str, suffix: str = ".yaml") -> dict[str, Path]:
    """The files of one of the package's folders, by name."""
    return {file.stem: file for file in sorted((PACKAGE / folder).glob(f"*{suffix}"))}


def with_recipe(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer of configuration over the recipe that it names, if it does."""
    name = layer.get("recipe")
    if not name:
        return dict(layer)
    files = packaged("recipes")
    if not isinstance(name, str) or name not in files:
        raise ConfigError(f"there is no recipe {shown(name)}.{did_you_mean(str(name), files)}")
    return merge(read_file(files[name]), layer)


def read_file(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML file merged over its recipe and those that `base:` keys name; `above` are the files that led here."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError: a path with NUL
        named = f", the base of {above[-1]}" if above else ""
        raise ConfigError(f"cannot read the configuration {path}{named}: {getattr(error, 'strerror', error)}") from None
    loaded = load_yaml(content, str(path)) or {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} must hold keys and values, not a {type(loaded).__name__}")
    return with_base(loaded, (*above, path))


def with_base(layer: Mapping[str, Any], files: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A layer over its recipe, over the file that its `base:` names: a name of the package's files, or a path.

    The path is relative to the last of `files`, which led to the layer, or to the working folder if there are none.
    """
    layer = with_recipe(layer)
    base = layer.pop("base", "")
    if not base:
        return layer
    where, folder = (f"{files[-1]}: ", files[-1].parent) if files else ("", Path())
    try:
        below = shipped(convert(str, base, "base"), "configs", "configuration", folder)
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from None
    if below.resolve() in [file.resolve() for file in files]:
        raise ConfigError(f"{where}base leads back to {below}")
    return merge(read_file(below, files), layer)


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """The nested mapping of overrides, merged over the recipe that they name."""
    if isinstance(overrides, Mapping):
        return with_recipe(overrides)
    parsed: dict[str, Any] = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not key or word.startswith("-"):
            raise ConfigError(f"{word!r} is not of the form key=value")
        one: Any = parse_value(text, key)
        for part in reversed(key.split(".")):
            one = {part: one}
        parsed = merge(parsed, one)
    return with_recipe(parsed)


def parse_value(text: str, key: str) -> Any:
    """The value of a word of the command line: a YAML list or mapping in brackets or braces, or else its text.

    A ConfigError that begins with the key if there is a mistake within braces. Text in brackets need not be YAML.
    """
    if not text.startswith(("[", "{")):
        return text
    try:
        loaded = load_yaml(text, key)
    except ConfigError:
        if text[0] + text.rstrip()[-1] == "{}":
            raise
        return text
    value = ListWord(loaded) if isinstance(loaded, list) else MappingWord(loaded)
    value.word = text
    return value


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`. A bare name laid on a choice, or another `name`, replaces it with its settings."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, str) and isinstance(value, Mapping) and "name" not in value:
            old = {"name": old}  # a choice that was given as its bare name, and now gets settings
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same_choice = value.get("name", old.get("name")) == old.get("name")
            value = merge(old, value) if same_choice else value
        merged[key] = value
    return merged


def resolve(plain: Mapping[str, Any]) -> RunConfig:
    """The checked configuration of a plain one.

    Raises:
        ConfigError: on an unknown key or name, a wrong type, or a value out of range; the message names the key.
    """
    config: RunConfig = build(RunConfig, interpolated(plain), "")
    return config


def interpolated(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plain configuration in which each `${key}` has become the value of that key, as OmegaConf reads it."""

    def filled(raw: Any, done: Any) -> Any:  # words of the command line stay what they are
        if isinstance(raw, dict):
            for key in raw:
                raw[key] = filled(raw[key], done[key])
        elif isinstance(raw, list):
            raw[:] = map(filled, raw, done)
        return done if isinstance(raw, str) and "${" in raw else raw

    if "${" not in str(plain):
        return plain
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        found = OmegaConf.to_container(OmegaConf.create(dict(plain)), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(reason(error)) from None
    return typing.cast(Mapping[str, Any], filled(copy.deepcopy(plain), found))


def check_keys(schema: type, node: Any, path: str = "") -> None:
    """Refuses keys that `schema` does not have; those of choices, whose classes must be imported, come later."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{path} must hold keys and values, got {shown(node)}")
    fields, types = [entry.name for entry in dataclasses.fields(schema)], typing.get_type_hints(schema)
    for key, value in node.items():
        if (place := dotted(path, str(key))) in RENAMED:
            raise ConfigError(f"{place} is now called {RENAMED[place]}")
        if key not in fields:
            raise ConfigError(f"unknown key {place!r}.{did_you_mean(str(key), fields)}")
        if dataclasses.is_dataclass(types[key]):
            check_keys(typing.cast(type, types[key]), value, place)


def build(schema: type, node: Any, path: str) -> Any:
    """An instance of the dataclass `schema` from a plain mapping; `path` is its dotted key, for errors."""
    check_keys(schema, node, path)
    types = typing.get_type_hints(schema)
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(schema):
        key, place = entry.name, dotted(path, entry.name)
        if "registry" in entry.metadata:
            values[key] = build_choices(entry, node, place)
        elif dataclasses.is_dataclass(types[key]):
            values[key] = build(typing.cast(type, types[key]), node.get(key, {}), place)
        elif key in node:
            values[key] = convert(types[key], node[key], place)
            if entry.metadata.get("path"):
                values[key] = expanded(values[key], place)
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{place} must be given, as it has no default")
    try:
        return schema(**values)
    except ValueError as error:  # it begins with the name of the field that is out of bounds
        raise ConfigError(dotted(path, str(error))) from None


def convert(kind: Any, value: Any, path: str) -> Any:
    """A value of the type that the schema says, from text or from Python's own values; `path` is its dotted key."""
    if isinstance(value, ListWord | MappingWord) and kind is str:
        value = value.word
    choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else ()
    if type(None) in choices:
        if value is None or (isinstance(value, str) and value.lower() in NULLS):
            return None
        (kind,) = (one for one in choices if one is not type(None))
    if kind is Any or str in choices:
        if kind is not Any and isinstance(value, list | Mapping):
            raise ConfigError(f"{path}: must be a word or a number, got {shown(value)}")
        return number_or_text(value)
    if typing.get_origin(kind) is list:
        if not isinstance(value, list):
            raise ConfigError(f"{path}: must be a list, got {shown(value)}")
        return [convert(typing.get_args(kind)[0], one, f"{path}[{place}]") for place, one in enumerate(value)]
    if typing.get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} must hold keys and values, got {shown(value)}")
        return dict(value)
    if kind not in NAMES:
        raise ConfigError(f"{path}: a setting must be of type bool, int, float, str, list or dict, not {kind}")
    found: Any = str(value) if kind is str and isinstance(value, str | int | float) else None
    if kind is bool:
        found = value if isinstance(value, bool) else BOOLEANS.get(str(value).strip().lower())
    elif kind in (int, float) and isinstance(value, str | kind | int) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            found = kind(value)
    if found is None:
        raise ConfigError(f"{path}: must be {NAMES[kind]}, got {shown(value)}")
    if isinstance(found, str) and "\0" in found:
        raise ConfigError(f"{path}: text must not hold NUL, got {shown(value)}")
    if isinstance(found, float) and not math.isfinite(found):
        raise ConfigError(f"{path}: must be a finite number, got {shown(value)}")
    if isinstance(found, int) and abs(found) >= 2**63:
        raise ConfigError(f"{path}: a whole number must fit into 64 bits, got {shown(value)}")
    return found


def number_or_text(value: Any) -> Any:
    """What a setting that takes numbers and words is given: text as the number that it spells, if it does."""
    if isinstance(value, list):
        return [number_or_text(one) for one in value]
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            return kind(value)
        except ValueError:
            pass
    return value


def expanded(path: str, key: str) -> str:
    """A path whose first part `~` or `~user` is that home folder."""
    found = os.path.expanduser(path)
    if found.startswith("~"):
        raise ConfigError(f"{key}: {path!r} names an unknown home folder; a folder of that name here is ./{path}")
    return found


def build_choices(entry: dataclasses.Field[Any], node: Mapping[str, Any], path: str) -> Choice | list[Choice] | str:
    """What a mapping says for a field made by `registry.choice`, which may be empty, or by `registry.choices`."""
    registry: Registry = entry.metadata["registry"]
    if entry.default is not dataclasses.MISSING:
        chosen = node.get(entry.name, {})
        return build_choice(registry, entry.default, chosen, path) if chosen or entry.default else ""
    several = node.get(entry.name, [])
    if not isinstance(several, list):
        what = f"a list of {registry.kind} names, each with its settings"
        raise ConfigError(f"{path} must be {what}, got {shown(several)}")
    return [build_choice(registry, "", one, f"{path}[{place}]") for place, one in enumerate(several)]


def build_choice(registry: Registry, default: str, node: Any, path: str) -> Choice:
    """The choice given by a bare name, or by a mapping with a `name`; without one, the default name."""
    settings = {"name": node} if isinstance(node, str) else node
    name = settings.get("name", default) if isinstance(settings, Mapping) else ""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{path}.name must be one of {', '.join(registry.names())}, or package.module:Class")
    try:
        schema = registry.load(name).config
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return Choice(name, build(schema, {k: v for k, v in settings.items() if k != "name"}, path))


def plain(config: Any) -> Any:
    """A resolved configuration as plain dicts, lists and values: for YAML, checkpoints and identities."""
    if isinstance(config, Choice):
        return {"name": config.name, **plain(config.config)}
    if dataclasses.is_dataclass(config):
        return {entry.name: plain(getattr(config, entry.name)) for entry in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, list):
        return [plain(value) for value in config]
    return config


def chosen(config: Any) -> Iterator[Choice]:
    """All classes that a resolved configuration names, those within the settings of others too."""
    if isinstance(config, Choice):
        yield config
        yield from chosen(config.config)
    elif dataclasses.is_dataclass(config):
        for entry in dataclasses.fields(config):
            yield from chosen(getattr(config, entry.name))
    elif isinstance(config, list):
        for one in config:
            yield from chosen(one)


def to_yaml(config: RunConfig) -> str:
    """The resolved configuration as a YAML file that gives it again."""
    return yaml.safe_dump(plain(config), sort_keys=False)


def identity(config: RunConfig) -> str:
    """Eight hexadecimal digits that all runs that learn the same share, on every rank and after a restart."""
    learned = without(plain(config), NOT_TRAINING)
    return hashlib.sha256(json.dumps(learned, sort_keys=True).encode()).hexdigest()[:8]


def without(settings: Mapping[str, Any], keys: Collection[str], above: str = "") -> dict[str, Any]:
    """A plain configuration without some dotted keys; `above` ends in a dot and begins those of `settings`."""
    return {
        key: without(value, keys, f"{above}{key}.") if isinstance(value, dict) else value
        for key, value in settings.items()
        if f"{above}{key}" not in keys
    }


def run_folder(config: RunConfig) -> Path:
    """Where a run keeps everything: `<output>/<name>-<identity>`."""
    return Path(config.output) / f"{config.name}-{identity(config)}"


def distortion_in_test(config: RunConfig) -> Choice:
    """The distortion of the test's queries."""
    chosen: Choice = config.test_distortion or config.distortion
    return chosen


def dotted(path: str, key: str) -> str:
    """A key below a path."""
    return f"{path}.{key}" if path else key


def shown(value: Any) -> str:
    """A value as an error shows it: at most 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
