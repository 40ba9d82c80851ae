"""Completion in a shell: verbs, options, configurations, keys, and the names that keys take.

    eval "$(register-python-argcomplete lightning-ebm)"

Keys come from the schema file of the package, so that no class is imported while the user waits.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import argcomplete
from argcomplete.completers import ChoicesCompleter, FilesCompleter

from lightning_ebm import listing
from lightning_ebm.config import PACKAGE
from lightning_ebm.schema import DTYPES


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers the shell and exits, if it was the shell that asked. Otherwise nothing happens."""
    (verbs,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    completers = {"config": files("configs"), "memory": files("pretrained"), "dtype": words(DTYPES)}
    tools = {"list": words(listing.KINDS), "sweep": files("sweeps"), "recall": FilesCompleter(), "schema": words(())}
    for name, verb in verbs.choices.items():
        for action in verb._actions:
            if action.dest == "words":
                action.completer = tools.get(name, setting)
            elif action.dest in completers:
                action.completer = completers[action.dest]
    argcomplete.autocomplete(parser)


def words(known: Iterable[str]) -> ChoicesCompleter:
    """Completes some words."""
    return ChoicesCompleter(dict.fromkeys(known, ""))


def files(kind: str) -> Callable[..., list[str]]:
    """Completes the names of the package's files of a kind, one of `listing.FILES`, and paths of a user's own."""
    own = FilesCompleter([listing.FILES[kind][1].removeprefix(".")])
    return lambda prefix, **_: [*listing.files(kind), *own(prefix)]


def setting(prefix: str, **_: Any) -> list[str]:
    """Keys, each with its equals sign; after one, the names that the key takes."""
    key, equals, _text = prefix.partition("=")
    found: dict[str, dict[str, None]] = {}
    for name, values in keys(json.loads((PACKAGE / "configs" / "schema.json").read_text(encoding="utf-8"))):
        found.setdefault(name, {}).update(dict.fromkeys(values))
    return [f"{key}={value}" for value in found.get(key, ())] if equals else [f"{name}=" for name in found]


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Every dotted key of a JSON Schema, with the words that it may be; a key of several classes comes for each."""

    def below(node: dict[str, Any], path: str) -> Iterator[tuple[str, list[str]]]:
        if place := node.get("$ref"):
            yield from below(schema["definitions"][place.removeprefix("#/definitions/")], path)
        for one in (*node.get("oneOf", ()), *node.get("anyOf", ()), *node.get("allOf", ())):
            yield from below(one, path)
        words = [str(word) for word in (*node.get("enum", ()), node.get("const", "")) if word != ""]
        if node.get("type") == ["boolean", "string"]:
            words = ["true", "false"]
        if path and "properties" not in node:
            yield path, words
        for key, value in node.get("properties", {}).items():
            yield from below(value, f"{path}.{key}" if path else key)

    return below(schema, "")
