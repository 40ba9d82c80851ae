"""A folder for what is slow to read, memory-mapped when it is read again. Nothing is lost when it is deleted."""

import functools
import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from lightning_ebm.files import atomic_write, lock

Arrays = dict[str, np.ndarray]
Allocate = Callable[[str, tuple[int, ...], DTypeLike], np.ndarray]

MANIFEST = "manifest.json"
CHECKED = 2**26
"""Bytes of a file whose checksum is verified at each opening; of a larger one, size and header are."""


def cached(name: str, key: Mapping[str, object], build: Callable[[], Arrays]) -> Arrays:
    """What `build` returns, kept for the next process: read-only and memory-mapped, so that processes share it.

    A cache never stops a run: damaged files are rebuilt, and where nothing can be written, everything stays in memory,
    with a warning. One process builds; others that want the same wait for it.

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
    found = opened(path)
    try:
        if not found:
            with lock(path.with_suffix(".lock")):
                found = opened(path) or rebuild(path, fill)
    except OSError as error:
        warnings.warn(
            f"{path.parent} cannot be written ({error.strerror or error}): every process"
            " decodes data sets again and keeps them in memory. Make room, or set XDG_CACHE_HOME to another folder",
            stacklevel=2,
        )
    if not found:
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


def rebuild(path: Path, fill: Callable[[Allocate], None]) -> Arrays | None:
    """Fills a folder of the cache, in place of what may be there; its manifest, written last, makes it complete."""
    remove(path)
    try:
        path.mkdir()
        arrays = Arrays()
        fill(lambda label, *of: arrays.setdefault(label, claim(path / f"{label}.npy", *of)))
        record(path, arrays)
    except BaseException:
        remove(path)
        raise
    return opened(path)


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there. A process that has mapped a file of it keeps what it has mapped."""
    if path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


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


def record(path: Path, arrays: Arrays) -> None:
    """Writes everything to disk, with the fingerprint that `opened` compares."""
    manifest = {}
    for label, array in arrays.items():
        if isinstance(array, np.memmap):
            array.flush()
        file = path / f"{label}.npy"
        header = {"shape": [*array.shape], "dtype": array.dtype.str}
        manifest[label] = header | {"bytes": file.stat().st_size, "sha256": digest(file)}
    atomic_write(path / MANIFEST, json.dumps(manifest).encode())


def digest(file: Path) -> str:
    """The SHA-256 of a file's contents, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
