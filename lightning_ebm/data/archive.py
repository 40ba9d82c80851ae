"""Files of data sets: where they lie, and how folders and zips of unknown origin are read without trust."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from lightning_ebm.data.episodes import DataError

MEMBER = 2**25
"""Bytes of one unpacked file, at most; the largest of ImageNet has 15 million."""
RATIO = 100
"""How many times its packed size a zip may have when unpacked; images hardly shrink."""

READING_ERRORS: tuple[type[Exception], ...] = (  # what zipfile is seen to raise on damaged input
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError, OverflowError),
    *(MemoryError, KeyError, IndexError),
)


class MissingError(DataError):
    """Files of a data set that are not there."""


class Archive(ABC):
    """Files below a folder or in a zip.

    Attributes:
        path: the folder or zip.
        cure: what to do if it is damaged, the end of an error.
        names: paths of the files below it, with forward slashes, sorted; without what macOS leaves.
    """

    path: Path
    cure: str
    names: list[str]

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The contents of one file.

        Raises:
            DataError: if it cannot be read, or is larger than `MEMBER`.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Hexadecimal digits that change when a file does; found without reading the files."""

    def where(self, name: str) -> str:
        """What to call a file in an error."""
        return f"{name} in {self.path}"


class Folder(Archive):
    """Files below a folder. What changes their size or time changes the fingerprint.

    Args:
        path: the folder.
        cure: as in `Archive`.

    Raises:
        DataError: if the folder, or one below it, cannot be listed.
    """

    def __init__(self, path: Path, cure: str) -> None:
        self.path, self.cure = path, cure
        found: list[str] = []

        def refuse(error: OSError) -> None:
            raise DataError(f"{error.filename} cannot be listed ({error.strerror}): mend that, or {cure}") from error

        for place, _, files in os.walk(path, onerror=refuse):
            found += [(Path(place) / file).relative_to(path).as_posix() for file in files]
        self.names = sorted(name for name in found if is_content(name))

    def read(self, name: str) -> bytes:
        """See `Archive.read`."""
        return read_whole(self.path / name, MEMBER, self.cure)

    def fingerprint(self) -> str:
        """See `Archive.fingerprint`."""
        stats = ((name, (self.path / name).stat()) for name in self.names)
        return summed(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}" for name, stat in stats)


class Zip(Archive):
    """Files in a zip. Nothing is unpacked to the disk; names that would escape and sizes that explode are refused.

    Args:
        path: the zip.
        cure: as in `Archive`.

    Raises:
        DataError: if it is no whole zip, or one that nobody means well with.
    """

    def __init__(self, path: Path, cure: str) -> None:
        self.path, self.cure = path, cure
        try:
            packed = path.stat().st_size
            self.zip = zipfile.ZipFile(path)
        except READING_ERRORS as error:
            raise DataError(f"{path} is no whole zip file ({error}): {cure}") from error
        members = self.zip.infolist()
        escaping = next((member.filename for member in members if escapes(member.filename)), None)
        if escaping is not None:
            raise DataError(f"{path} has a file {escaping!r} that leads out of it, so it is not to be trusted: {cure}")
        unpacked = sum(member.file_size for member in members)
        if unpacked > RATIO * packed:
            raise DataError(
                f"{path} would unpack from {packed} to {unpacked} bytes, more than {RATIO} times as many, so it is"
                f" not to be trusted: {cure}"
            )
        self.names = sorted(member.filename for member in members if is_content(member.filename))
        if len(set(self.names)) < len(self.names):
            raise DataError(f"{path} has two files of one name, so it is not to be trusted: {cure}")

    def read(self, name: str) -> bytes:
        """See `Archive.read`. The checksum in the zip is verified."""
        size = self.zip.getinfo(name).file_size
        if size > MEMBER:
            raise DataError(f"{self.where(name)} is larger than {MEMBER} bytes: {self.cure}")
        try:
            content = self.zip.read(name)
            if len(content) == size:
                return content
        except READING_ERRORS as error:
            raise DataError(f"{self.where(name)} cannot be decoded ({error}): {self.cure}") from error
        raise DataError(f"{self.where(name)} cannot be decoded (it has {len(content)} of {size} bytes): {self.cure}")

    def fingerprint(self) -> str:
        """See `Archive.fingerprint`. Made of the sizes and checksums that the zip lists."""
        members = (self.zip.getinfo(name) for name in self.names)
        return summed(f"{member.filename}\0{member.file_size}\0{member.CRC}" for member in members)


def open_archive(path: Path, cure: str) -> Archive:
    """A folder or a zip, whichever `path` is."""
    return Folder(path, cure) if path.is_dir() else Zip(path, cure)


def find(root: str, places: Sequence[str], cure: str) -> list[Path]:
    """What lies at some places below the data root.

    Args:
        root: the data root; empty: $LIGHTNING_EBM_DATA.
        places: patterns relative to it, as `Path.glob` has them; of all that match, those of the first count.
        cure: how to get the set, the end of an error.

    Returns:
        At least one path, sorted.

    Raises:
        MissingError: if there is nothing in those places.
        DataError: if there is no root, or it cannot be listed.
    """
    folder = data_root(root, places[0], cure)
    for place in places:
        try:
            found = sorted(folder.glob(place))
        except OSError as error:
            raise DataError(f"{folder} cannot be listed ({error.strerror}): mend that, or {cure}") from error
        if found:
            return found
    raise MissingError(missing(folder / places[0], cure))


def find_tree(root: str, pattern: str, cure: str) -> Path:
    """Where a tree of images lies, a folder with folders `train` and `val`, or a zip of one.

    Args:
        root: the tree itself, or a folder that holds it; empty: $LIGHTNING_EBM_DATA.
        pattern: what its name looks like, or that of a folder between.
        cure: how to get the set, the end of an error.

    Raises:
        MissingError: if there is none.
        DataError: if there are several, or no root is given.
    """
    folder = data_root(root, pattern, cure)
    if is_tree(folder):
        return folder
    places = [*folder.glob(pattern), *folder.glob(f"{pattern}/*")] if folder.is_dir() else []
    found = sorted(place for place in places if is_tree(place))
    if not found:
        raise MissingError(missing(folder / pattern, cure))
    if len(found) > 1:
        raise DataError(f"{folder} has more than one such set: set data.root to one of {', '.join(map(str, found))}")
    return found[0]


def missing(path: Path, cure: str) -> str:
    """What to say of a file that is not there."""
    return f"{path} is missing: set data.root or $LIGHTNING_EBM_DATA to the folder that holds it; or {cure}"


def is_tree(path: Path) -> bool:
    """Whether a path is a zip, or a folder with folders `train` and `val`."""
    return (path.suffix == ".zip" and path.is_file()) or ((path / "train").is_dir() and (path / "val").is_dir())


def data_root(root: str, name: str, cure: str) -> Path:
    """The folder that `data.root` or $LIGHTNING_EBM_DATA names.

    Raises:
        DataError: if neither does, or it cannot be listed.
    """
    root = root or os.environ.get("LIGHTNING_EBM_DATA", "")
    if not root:
        raise DataError(f"where is {name}? Set data.root or $LIGHTNING_EBM_DATA to its folder; or {cure}")
    folder = Path(root).expanduser()
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{folder} cannot be listed (permission denied): mend that, or {cure}")
    return folder


def read_whole(path: Path, limit: int, cure: str) -> bytes:
    """The contents of a file.

    Raises:
        DataError: if it cannot be read, or has more than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): mend that, or {cure}") from error
    if len(content) > limit:
        raise DataError(f"{path} is larger than {limit} bytes: {cure}")
    return content


def escapes(name: str) -> bool:
    """Whether the path of a zip's member leads out of the folder that the zip would be unpacked in."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return bool(parts) and (parts[0] == "/" or ".." in parts or parts[0].endswith(":"))


def is_content(name: str) -> bool:
    """Whether a path is a file of the set; not so a folder, or what macOS leaves there."""
    return not name.endswith("/") and not name.startswith("__MACOSX/") and not PurePosixPath(name).name.startswith(".")


def summed(lines: Iterable[str]) -> str:
    """The SHA-256 of lines of text, in hexadecimal."""
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode(errors="surrogateescape") + b"\n")
    return total.hexdigest()
