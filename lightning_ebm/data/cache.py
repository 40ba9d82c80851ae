"""A folder for what is slow to read and small to keep. Nothing is lost when it is deleted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def cached(name: str, key: Mapping[str, object], build: Callable[[], Arrays]) -> Arrays:
    """What `build` returns, kept for the next process.

    A cache never stands in the way: a damaged file is built anew, a folder that cannot be written is left.

    Args:
        name: the start of the file's name, for people.
        key: all that the arrays depend on, as JSON values: settings, contents of files, versions.
        build: makes the arrays, none of them of objects.
    """
    text = json.dumps(dict(key), sort_keys=True)
    path = folder() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    # Damage can show as almost any exception; the file's checksums see to it that it shows.
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as stored:
        return dict(stored)
    arrays = build()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:  # so that no reader sees half a file
            np.savez(Path(unfinished) / path.name, **arrays)  # type: ignore[arg-type]
            os.replace(Path(unfinished) / path.name, path)
    return arrays


def folder() -> Path:
    """$XDG_CACHE_HOME/lightning_ebm, or ~/.cache/lightning_ebm."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "lightning_ebm"
