"""Files that are whole on the disk, or not there."""

from __future__ import annotations

import os
from pathlib import Path


def write_through(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def keep(path: Path, content: bytes) -> None:
    """Writes a file so that a kill leaves the old one or the new one, whole; makes its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    write_through(unfinished, content)
    os.replace(unfinished, path)


def slug(label: str) -> str:
    """A label as the name of a file or folder: lower-case letters, digits and single hyphens."""
    words = "".join(letter if letter.isalnum() else " " for letter in label.lower()).split()
    return "-".join(words) or "row"
