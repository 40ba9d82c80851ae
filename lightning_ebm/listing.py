"""What can be chosen by name, with a line and the paper of each: `lightning-ebm list`."""

import inspect
import itertools
import re
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from lightning_ebm.config import ConfigError, packaged
from lightning_ebm.registry import REGISTRIES, did_you_mean

FILES = {
    "pretrained": ("weights", ".safetensors", "--memory"),
    "configs": ("configs", ".yaml", "train, evaluate, compare, analyse, show"),
    "sweeps": ("sweeps", ".yaml", "sweep"),
}
"""Heading -> the folder of the package and the suffix of its files, and what takes their names."""
KINDS = (*REGISTRIES, *FILES)


class Entry(NamedTuple):
    """A name, a sentence, and the paper, if there is one."""

    name: str
    line: str
    citation: str = ""


def files(kind: str) -> dict[str, Path]:
    """The files of the package of a kind, one of `FILES`, by name. Reads none of them."""
    return packaged(*FILES[kind][:2])


def entries(kind: str) -> list[Entry]:
    """Everything of a kind, one of `KINDS`, sorted by name.

    Raises:
        ConfigError: if there is no such kind.
        UnknownNameError: if a registered class cannot be imported.
        PretrainedError: if a pretrained memory's file is damaged.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is nothing called {kind!r} to list.{did_you_mean(kind, KINDS)}")
    if kind == "pretrained":
        return [Entry(name, pretrained_line(name)) for name in files(kind)]
    if kind in FILES:
        return [Entry(name, first_sentence(comment(path))) for name, path in files(kind).items()]
    registry = REGISTRIES[kind][0]
    classes = {name: registry.load(name) for name in registry.names()}
    return [
        Entry(name, first_sentence(inspect.cleandoc(loaded.__doc__ or "")), getattr(loaded, "citation", ""))
        for name, loaded in classes.items()
    ]


def pretrained_line(name: str) -> str:
    """Data, energy or memory, size and error of a pretrained memory."""
    from lightning_ebm.pretrained import read  # torch, which completion in a shell does without

    saved = read(name)
    row, how = saved.rows[0], saved.memory
    mean = sum(row["error_corrupted"]) / len(row["error_corrupted"])
    return (
        f"Stores {row['items']} patterns of {name.partition('-')[0]} in {row['floats']:,} floats"
        f" ({how.get('energy', how)['name']}): error {mean:.1f} on corrupted values."
    )


def comment(path: Path) -> str:
    """The prose that a YAML file begins with, without commands and the line that tells editors its schema."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    prose = [line for line in lines if not line.startswith("# yaml-language-server:")]
    return "\n".join("" if line.startswith("#  ") else line[1:].strip() for line in prose)  # indented: a command


def first_sentence(text: str) -> str:
    """The first sentence of a docstring or comment, on one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]


def table(kind: str) -> Table:
    """The list of a kind, one of `KINDS`: name, sentence and, below it, paper; the title says what takes the names."""
    found, taken_by = entries(kind), f"{REGISTRIES[kind][1]}=" if kind in REGISTRIES else FILES[kind][-1]
    shown = Table(box=None, show_header=False, padding=(0, 0, 0, 2), title=f"{kind} ({taken_by})", title_style="")
    shown.title_justify = "left"
    shown.add_column(width=min(24, max(len(entry.name) for entry in found)), overflow="fold")
    for entry in found:
        shown.add_row(Text(entry.name), Text("\n".join(filter(None, (entry.line, entry.citation)))))
    return shown
