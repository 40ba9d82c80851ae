"""Classes chosen by name: memories, energies, data sets, distortions, analyses.

A name is an entry point of the group (see pyproject.toml; any installed package may add some) or the import
path of a class, `package.module:Class`. Either way the class carries its settings as a dataclass in `config`,
and `from_config` builds it from them.
"""

import dataclasses
import difflib
import functools
import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any


class UnknownNameError(ValueError):
    """A name that is not registered."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A class, chosen by name, and its settings."""

    name: str
    """Registered name or import path."""
    config: Any
    """An instance of the class's `config` dataclass."""

    def __str__(self) -> str:
        """The name with all settings, as titles say it: `block (size 16, fill noise)`."""
        words = []
        for entry in dataclasses.fields(self.config):
            value = getattr(self.config, entry.name)
            several = isinstance(value, list) and all(isinstance(one, Choice) for one in value)
            words.append(f"{entry.name} {' or '.join(dict.fromkeys(map(str, value))) if several else value}")
        return f"{self.name} ({', '.join(words)})" if words else self.name


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """An ending for error messages: the closest known word, then all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known) or 'none'}."


class Registry:
    """The classes of one kind, which are entry points of `lightning_ebm.<group>`, by name.

    `renamed` has the replacements of former names, for error messages.
    """

    def __init__(self, kind: str, group: str, renamed: Mapping[str, str] = MappingProxyType({})) -> None:
        self.kind, self.renamed = kind, renamed
        self.group = f"lightning_ebm.{group}"

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(registered(self.group).names)

    def load(self, name: str) -> Any:
        """The class behind a registered name, or `package.module:Class`.

        Raises:
            UnknownNameError: if nothing is registered under the name, or the import path leads nowhere.
            TypeError: if the class has no `config` dataclass.
        """
        found = registered(self.group).select(name=name)
        if not found and name in self.renamed:
            raise UnknownNameError(f"the {self.kind} {name!r} is now {self.renamed[name]}")
        if not found and ":" not in name:
            raise UnknownNameError(
                f"there is no {self.kind} called {name!r}.{did_you_mean(name, self.names())}"
                " A class of your own is given as package.module:Class"
            )
        try:
            loaded = next(iter(found)).load() if found else imported(name)
        except (Exception, SystemExit) as error:  # importing runs the module, which may raise anything
            raise UnknownNameError(
                f"the {self.kind} {name!r} cannot be imported: {str(error) or type(error).__name__}"
            ) from error
        config = getattr(loaded, "config", None)
        if not isinstance(config, type) or not dataclasses.is_dataclass(config) or not hasattr(loaded, "from_config"):
            raise TypeError(
                f"{self.kind} {name!r} needs a class attribute `config` that is a dataclass, and `from_config`, as"
                " the base class has it"
            )
        if forgotten := set(inspect.get_annotations(config)) - {entry.name for entry in dataclasses.fields(config)}:
            raise TypeError(
                f"{self.kind} {name!r}: {config.__name__} has {min(forgotten)}, but lacks @dataclass(frozen=True)"
            )
        return loaded

    def build(self, choice: Choice | str, *args: Any) -> Any:
        """The chosen object: `Class.from_config(config, *args)`. A bare name takes the default settings.

        Raises:
            ValueError: if a setting does not fit, or a class of the user's own raises anything.
        """
        if isinstance(choice, str):
            choice = Choice(choice, self.load(choice).config())
        kind = self.load(choice.name)
        try:
            return kind.from_config(choice.config, *args)
        except Exception as error:
            if isinstance(error, ValueError) or ":" not in choice.name:
                raise
            words = f"{type(error).__name__}: {error}"
            raise ValueError(f"the {self.kind} {choice.name!r} cannot be built: {words}") from error


def digest_of_file(path: str) -> str:
    """SHA-256 of the file in which an import path's class is written; empty where there is none, as in a notebook."""
    try:
        return hashlib.sha256(Path(inspect.getfile(imported(path))).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""


@functools.cache
def registered(group: str) -> EntryPoints:
    """The entry points of a group; looking for them reads the metadata of every installed package."""
    return entry_points(group=group)


def imported(path: str) -> Any:
    """What the import path `package.module:Class` leads to, also in the working folder."""
    module, _, attribute = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the user's own modules lie there; last, so that none stands in for another
    return getattr(importlib.import_module(module), attribute)


def choice(registry: Registry, default: str) -> Any:
    """A field of a config dataclass that names a class of `registry`, with that class's settings."""
    return dataclasses.field(default=default, metadata={"registry": registry})


def choices(registry: Registry) -> Any:
    """A field of a config dataclass that names any number of classes of `registry`, each with its settings."""
    return dataclasses.field(default_factory=list, metadata={"registry": registry})


memories = Registry("memory", "memories")
energies = Registry("energy", "energies")
datasets = Registry("data set", "datasets")
distortions = Registry(
    "distortion",
    "distortions",
    renamed={
        "noise_block": "{name: block, size: …}",
        "erased_block": "{name: block, size: …, fill: …}, `value` being `fill`",
        "occlusion": "{name: block, size: …, fill: pattern}",
        "redrawn_bits": "{name: pixels, amount: …}, `count` being `amount`",
        "random_pixels": "{name: pixels, amount: …}, `share` being `amount`",
        "salt_and_pepper": "{name: pixels, amount: …, fill: salt_and_pepper}, `share` being `amount`",
    },
)
analyses = Registry(
    "analysis",
    "analyses",
    renamed={"portions": "incremental_writing", "where": "error_map", "path": "read_trajectory"},
)
REGISTRIES = {
    "memories": (memories, "memory"),
    "energies": (energies, "memory.energy"),
    "data": (datasets, "data"),
    "distortions": (distortions, "distortion"),
    "analyses": (analyses, "analysis"),
}
"""What a list of names is called -> the classes in it, and the key of a configuration that takes their names."""
