"""Pretrained memories: a file each, with all that it takes to build the memory and to reproduce its published row.

    memory = EBMM.pretrained("glyphs-4096")    # or the path of a file that `lightning-ebm export` wrote
    state = memory.write(patterns)

A file may come from anybody: it is read as tensors and plain values only, and may name registered classes only.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import re
import struct
import typing
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_ebm.memory import AssociativeMemory, PatternSpec
from lightning_ebm.registry import Choice, Registry, did_you_mean, memories

FOLDER = Path(__file__).parent / "weights"
"""Where the memories lie that have names."""
FORMAT = 1
"""Of the file; another one when what is stored changes."""
NAME = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
"""What a pretrained memory may be called: it is the name of its file, and begins that of a folder."""

READING_ERRORS: tuple[type[Exception], ...] = (  # what reading is seen to raise on damaged input
    *(RuntimeError, EOFError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, struct.error, zipfile.BadZipFile),
)


class PretrainedError(ValueError):
    """A name that no pretrained memory has, or a file that holds none; the message names it."""


@dataclass(frozen=True)
class Pretrained:
    """What the file of a pretrained memory holds.

    Attributes:
        name: what the memory is called.
        memory: its registered name, under `name`, and its settings, as plain nested dicts.
        shape: shape of one pattern.
        binary: whether patterns are 0 and 1 only.
        parameters: the memory's `state_dict`, float32, or float16 where that is exact.
        config: the resolved configuration of the run that trained it, as YAML.
        rows: what it is published with, a row for each test setting and control: fields of `record.Record`, with the
            errors of each test episode; labels are given on reading.
        made: commit, date, hardware and versions that trained it, and that measured it.
    """

    name: str
    memory: dict[str, Any]
    shape: list[int]
    binary: bool
    parameters: dict[str, Tensor]
    config: str
    rows: list[dict[str, Any]]
    made: dict[str, str]

    @property
    def spec(self) -> PatternSpec:
        """Kind of the patterns that it stores."""
        return PatternSpec(tuple(self.shape), self.binary)

    def build(self) -> AssociativeMemory:
        """The memory, in eval mode. Torch's random generator is left as it was.

        Raises:
            PretrainedError: if a setting or a parameter does not fit its class.
        """
        try:
            with torch.random.fork_rng(devices=[]):
                choice = chosen(memories, self.memory)
                memory: AssociativeMemory = memories.build(choice, self.spec)
            memory.load_state_dict(self.parameters)
        except READING_ERRORS as error:
            raise PretrainedError(f"the pretrained memory {self.name} cannot be built: {one_line(error)}") from error
        return memory.eval()

    def content(self) -> bytes:
        """The file."""
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **vars(self)}, buffer)
        return buffer.getvalue()


KINDS = {
    "name": str, "memory": dict, "shape": list, "binary": bool, "parameters": dict, "config": str, "rows": list,
    "made": dict,
}  # fmt: skip


def names() -> list[str]:
    """All names that `load` knows, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.pt"))


def load(name_or_path: str | Path) -> AssociativeMemory:
    """A pretrained memory, in eval mode.

    Args:
        name_or_path: one of `names()`, or the path of a file, which ends in .pt.

    Raises:
        PretrainedError: if there is none, the file is damaged, or it holds anything else.
    """
    return read(name_or_path).build()


def read(name_or_path: str | Path) -> Pretrained:
    """All that the file of a pretrained memory holds. See `load`."""
    path = file_of(name_or_path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PretrainedError(f"the pretrained memory {path} cannot be read ({error.strerror})") from error
    return parse(content, str(path))


def file_of(name_or_path: str | Path) -> Path:
    """Where a pretrained memory lies. What ends in .pt is a path, all else a name.

    Raises:
        PretrainedError: if there is no such name; the message lists them.
    """
    if Path(name_or_path).suffix == ".pt":
        return Path(name_or_path)
    if name_or_path not in names():
        hint = did_you_mean(str(name_or_path), names())
        raise PretrainedError(f"there is no pretrained memory {str(name_or_path)!r}.{hint} Or the path of a file, ….pt")
    return FOLDER / f"{name_or_path}.pt"


def parse(content: bytes, where: str) -> Pretrained:
    """What a file holds, checked.

    Args:
        content: the file.
        where: what to call it in an error.

    Raises:
        PretrainedError: if it is damaged, or holds anything else.
    """
    try:
        check_whole(content)
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's message advises to trust the file
        raise PretrainedError(f"{where} is damaged, or holds more than tensors and plain values: refused") from error
    except READING_ERRORS as error:
        raise PretrainedError(f"{where} is damaged ({one_line(error)})") from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise PretrainedError(f"{where} is no pretrained memory of format {FORMAT}")
    for key, kind in KINDS.items():
        if type(saved.get(key)) is not kind:
            raise PretrainedError(f"{where} is no pretrained memory: {key} must be a {kind.__name__}")
    found = Pretrained(**{key: saved[key] for key in KINDS})
    if not NAME.fullmatch(found.name):
        raise PretrainedError(f"{where}: a name must be of letters and digits, with single . _ - between")
    if not all(isinstance(value, Tensor) and value.isfinite().all() for value in found.parameters.values()):
        raise PretrainedError(f"{where}: parameters must be tensors of finite values")
    if not found.shape or not all(type(size) is int and size > 0 for size in found.shape):
        raise PretrainedError(f"{where}: shape must be whole numbers above 0, got {found.shape}")
    refuse_imports(found.memory, where)
    return found


def check_whole(content: bytes) -> None:
    """Refuses what is no whole zip as `torch.save` writes it; `torch.load` would read a changed one without a word.

    Raises:
        ValueError, zipfile.BadZipFile: if it is not, or any part has another checksum than it should.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if packed := [part.filename for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"{packed[0]} is packed, which torch.save does not do")
        if changed := archive.testzip():
            raise ValueError(f"{changed} has another checksum than it should")


def refuse_imports(settings: Any, where: str) -> None:
    """Refuses names of classes that are import paths, as these run code, and interpolations, which could make some.

    Args:
        settings: a file's, as nested dicts, lists and values.
        where: what to call the file in an error.

    Raises:
        PretrainedError: if there is a colon, or what begins an interpolation, in any text.
    """
    for text in texts(settings):
        if ":" in text or "${" in text:
            raise PretrainedError(
                f"{where}: {text!r} could lead to an import; a pretrained memory may name registered classes only"
            )


def texts(node: Any) -> Iterator[str]:
    """All texts in nested dicts and lists."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from texts(key)
            yield from texts(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from texts(value)


def chosen(registry: Registry, node: Mapping[str, Any]) -> Choice:
    """The choice that plain settings, with the class's name under `name`, stand for."""
    others = {key: value for key, value in node.items() if key != "name"}
    return Choice(node["name"], settings(registry.load(node["name"]).config, others))


def settings(schema: type, node: Mapping[str, Any]) -> Any:
    """An instance of a config dataclass from plain values, which were checked when they were first read.

    Raises:
        ValueError: if there is a key that the dataclass has not.
    """
    types, values = typing.get_type_hints(schema), {}
    fields = {entry.name: entry for entry in dataclasses.fields(schema)}
    for key, value in node.items():
        if key not in fields:
            raise ValueError(f"unknown setting {key!r}.{did_you_mean(str(key), fields)}")
        registry = fields[key].metadata.get("registry")
        if registry and isinstance(value, list):
            value = [chosen(registry, one) for one in value]
        elif registry and value:  # some choices may be empty
            value = chosen(registry, value)
        elif dataclasses.is_dataclass(types[key]):
            value = settings(typing.cast(type, types[key]), value)
        values[key] = value
    return schema(**values)


def one_line(error: Exception) -> str:
    """An error's words in one line, the first of them if they are many."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 300 else f"{words[:300]}…"
