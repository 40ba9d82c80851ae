"""Choices a user makes by name: memories, energies, data sets, distortions, analyses.

A name is an entry point of the group (see pyproject.toml; any installed package may add some) or the import
path of a class, `package.module:Class`. Either way the class carries its settings as a dataclass in `config`,
and `from_config` builds it from them.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any


class UnknownNameError(ValueError):
    """A name that nothing is registered under."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A class, chosen by name, and its settings.

    Attributes:
        name: registered name or import path.
        config: an instance of the class's `config` dataclass.
    """

    name: str
    config: Any

    def __str__(self) -> str:
        """The name with all settings, as titles say it: `noise_block (size 16)`."""
        words = []
        for entry in dataclasses.fields(self.config):
            value = getattr(self.config, entry.name)
            several = isinstance(value, list) and all(isinstance(one, Choice) for one in value)
            words.append(f"{entry.name} {' or '.join(map(str, value)) if several else value}")
        return f"{self.name} ({', '.join(words)})" if words else self.name


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """An ending for error messages: the closest known word, then all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known) or 'none'}."


class Registry:
    """The classes of one kind, by name.

    Args:
        kind: what is registered, in the singular; the entry-point group is `lightning_ebm.<group>`.
        group: the plural that ends the entry-point group.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = f"lightning_ebm.{group}"

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(entry_points(group=self.group).names)

    def load(self, name: str) -> Any:
        """The class behind a name.

        Args:
            name: a registered name, or `package.module:Class`.

        Raises:
            UnknownNameError: if nothing is registered under the name, or the import path leads nowhere.
            TypeError: if the class has no `config` dataclass.
        """
        if ":" in name:
            loaded = self._import(name)
        else:
            found = entry_points(group=self.group, name=name)
            if not found:
                raise UnknownNameError(
                    f"there is no {self.kind} called {name!r}.{did_you_mean(name, self.names())}"
                    " A class of your own is given as package.module:Class"
                )
            loaded = next(iter(found)).load()
        if not dataclasses.is_dataclass(getattr(loaded, "config", None)):
            raise TypeError(f"{self.kind} {name!r} needs a class attribute `config` that is a dataclass")
        return loaded

    def build(self, choice: Choice | str, *args: Any) -> Any:
        """The chosen object: `Class.from_config(config, *args)`. A bare name takes the default settings."""
        if isinstance(choice, str):
            choice = Choice(choice, self.load(choice).config())
        return self.load(choice.name).from_config(choice.config, *args)

    def _import(self, path: str) -> Any:
        module, _, attribute = path.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # the user's own modules lie there; last, so that none stands in for another
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise UnknownNameError(f"the {self.kind} {path!r} cannot be imported: {error}") from error


def choice(registry: Registry, default: str) -> Any:
    """A field of a config dataclass that names a class of `registry`, with that class's settings beside it."""
    return dataclasses.field(default=default, metadata={"registry": registry})


def choices(registry: Registry) -> Any:
    """A field of a config dataclass that names any number of classes of `registry`, each with its settings."""
    return dataclasses.field(default_factory=list, metadata={"registry": registry})


memories = Registry("memory", "memories")
energies = Registry("energy", "energies")
datasets = Registry("data set", "datasets")
distortions = Registry("distortion", "distortions")
analyses = Registry("analysis", "analyses")
