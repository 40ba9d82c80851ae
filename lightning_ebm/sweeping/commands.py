"""The command of a run, word for word as the agent of Weights & Biases builds it from `command:` and its macros."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from typing import Any

from lightning_ebm.sweeping.space import Parameter, Point

DEFAULT = ("${env}", "${interpreter}", "${program}", "${args}")
MACROS = (
    *("env", "interpreter", "program", "args", "args_no_hyphens", "args_no_equals", "args_no_boolean_flags"),
    *("args_json", "args_append_hydra", "args_override_hydra"),
)
VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


def arguments(parameters: Sequence[Parameter], values: Point) -> dict[str, Any]:
    """The arguments: a parameter's key -> its value, or a mapping if it has nested `parameters`."""
    found: dict[str, Any] = {}
    for parameter in parameters:
        node = found
        for part in parameter.path[:-1]:
            node = node.setdefault(part, {})
        node[parameter.path[-1]] = values[parameter.name]
    return found


def words(command: Sequence[Any], program: str, given: dict[str, Any]) -> list[str]:
    """The words of a command.

    Args:
        command: of the sweep's file.
        program: what stands for ${program}.
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
        word = VARIABLE.sub(lambda match: os.environ.get(match[1], match[1]), str(chunk))
        built += macros[word[2:-1]] if word.startswith("${") and word.endswith("}") else [word]
    return built
