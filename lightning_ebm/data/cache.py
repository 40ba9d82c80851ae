"""A folder for what is slow to read, memory-mapped when it is read again. Nothing is lost when it is deleted."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

Arrays = dict[str, np.ndarray]
Allocate = Callable[[str, tuple[int, ...], DTypeLike], np.ndarray]

MANIFEST = "manifest.json"
CHECKED = 2**26
"""Bytes of a file whose checksum is verified at each opening; of a larger one, size and header are."""
ABANDONED = 24 * 3600
"""Seconds after which an unfinished folder is one that a killed process left."""


def cached(name: str, key: Mapping[str, object], build: Callable[[], Arrays]) -> Arrays:
    """What `build` returns, kept for the next process: read-only and memory-mapped, so that processes share it.

    A cache never stops a run: damaged files are rebuilt, and where nothing can be written, everything stays in memory,
    with a warning. Of processes that build the same at once, the first to finish counts.

    Args:
        name: the start of the folder's name, for people.
        key: all that the arrays depend on, as JSON values: settings, contents of files, versions.
        build: makes the arrays, none of them of objects.
    """
    once = functools.cache(build)

    def fill(allocate: Allocate) -> None:
        for label, array in once().items():
            allocate(label, array.shape, array.dtype)[...] = array

    return filled(name, key, fill)


def filled(name: str, key: Mapping[str, object], fill: Callable[[Allocate], None]) -> Arrays:
    """As `cached`, for arrays that may be larger than memory.

    `fill` asks `allocate(label, shape, dtype)` for each array, and fills it; again, in memory, if the disk is full.
    """
    text = json.dumps(dict(key), sort_keys=True)
    path = folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    found, arrays = opened(path), Arrays()
    if found is not None:
        return found
    try:
        with new_folder(path) as unfinished:
            fill(lambda label, *of: arrays.setdefault(label, claim(unfinished / f"{label}.npy", *of)))
            record(unfinished, arrays)
            publish(unfinished, path)
        found = opened(path)
    except OSError as error:
        warnings.warn(
            f"{path.parent} cannot be written ({error.strerror or error}): every process"
            " decodes data sets again and keeps them in memory. Make room, or set XDG_CACHE_HOME to another folder",
            stacklevel=2,
        )
    if found is None:
        found = Arrays()
        fill(lambda label, *of: found.setdefault(label, np.empty(*of)))
    return found


def folder() -> Path:
    """$XDG_CACHE_HOME/lightning_ebm, or ~/.cache/lightning_ebm."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "lightning_ebm"


def opened(path: Path) -> Arrays | None:
    """The arrays of a folder of the cache, or None if they are not there or not as they were written."""
    arrays: Arrays = {}
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for label, entry in manifest.items():
            file = path / f"{label}.npy"
            size = file.stat().st_size
            if size != entry["bytes"] or (size <= CHECKED and digest(file) != entry["sha256"]):
                return None
            mapped: Literal["r"] | None = "r" if math.prod(entry["shape"]) else None  # nothing cannot be mapped
            arrays[label] = np.load(file, mmap_mode=mapped, allow_pickle=False)
            if [[*arrays[label].shape], arrays[label].dtype.str] != [entry["shape"], entry["dtype"]]:
                return None
    except Exception:  # damage can show as almost any
        return None
    return arrays


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder next to `path`, so that nobody reads half a file. Removes what killed processes left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob("*.unfinished"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left)
    unfinished = Path(tempfile.mkdtemp(".unfinished", f"{path.name}.", path.parent))
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def claim(file: Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """A memory-mapped array to be filled. A disk without room for it raises `OSError` here, not later."""
    if not math.prod(shape):
        np.save(file, np.empty(shape, dtype))
        return np.empty(shape, dtype)
    array = np.lib.format.open_memmap(file, "w+", np.dtype(dtype), shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with file.open("r+b") as opened_file:
            os.posix_fallocate(opened_file.fileno(), 0, file.stat().st_size)
    return array


def record(unfinished: Path, arrays: Arrays) -> None:
    """Writes everything to disk, with the fingerprint that `opened` compares."""
    manifest = {}
    for label, array in arrays.items():
        if isinstance(array, np.memmap):
            array.flush()
        file = unfinished / f"{label}.npy"
        header = {"shape": [*array.shape], "dtype": array.dtype.str}
        manifest[label] = header | {"bytes": file.stat().st_size, "sha256": digest(file)}
    (unfinished / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def publish(unfinished: Path, path: Path) -> None:
    """Gives a finished folder its name, unless another process was first. Something damaged there is taken away."""
    with contextlib.suppress(OSError):
        os.rename(unfinished, path)
        return
    if opened(path) is None:
        if path.exists():
            with new_folder(path) as damaged:
                os.rename(path, damaged / "damaged")
        os.rename(unfinished, path)


def digest(file: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
