"""Files of data sets: where they lie, and how folders and zips of unknown origin are read without trust."""

import errno
import hashlib
import os
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from lightning_ebm.data.episodes import DataError

MEMBER = 2**25
"""Bytes of one unpacked file, at most; the largest of ImageNet has 15 million."""
RATIO = 100
"""How many times its packed size a zip may have when unpacked; images hardly shrink."""


class MissingError(DataError):
    """Files of a data set that are not there."""


class Archive(ABC):
    """Files below a folder or in a zip.

    Attributes:
        path: the folder or zip.
        cure: what to do if it is damaged, the end of an error.
        names: paths of the files below it, with forward slashes, sorted, without `CLUTTER`.
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
    """Files below a folder; links are followed, and an error if they lead nowhere or back to where they are.

    What changes a file's size or time changes the fingerprint.
    """

    def __init__(self, path: Path, cure: str) -> None:
        self.path, self.cure = path, cure
        self.names = sorted(self.below(path, "", ()))

    def below(self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
        """Prefixed names of the files below one folder; `above` are device and number of the folders that lead here."""
        place = folder
        try:
            here = (folder.stat().st_dev, folder.stat().st_ino)
            if here in above:
                raise DataError(f"{folder} is a link to a folder that it lies in, a loop: remove the link")
            for entry in os.scandir(folder):
                if is_clutter(entry.name):
                    continue
                place = folder / entry.name
                if entry.is_symlink():
                    place.stat()
                if entry.is_dir():
                    yield from self.below(place, f"{prefix}{entry.name}/", (*above, here))
                elif entry.is_file():
                    yield prefix + entry.name
        except OSError as error:
            if place.is_symlink() and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                gone = f"a link to {os.readlink(place)}, which is not there"
                what = "a loop of links" if error.errno == errno.ELOOP else gone
                raise DataError(f"{place} is {what}: remove or fix the link") from error
            raise DataError(f"{place} cannot be listed ({error.strerror}): fix that, or {self.cure}") from error

    def read(self, name: str) -> bytes:
        """See `Archive.read`."""
        return read_whole(self.path / name, MEMBER, self.cure)

    def fingerprint(self) -> str:
        """See `Archive.fingerprint`."""
        stats = ((name, (self.path / name).stat()) for name in self.names)
        return summed(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}" for name, stat in stats)


class Zip(Archive):
    """Files in a zip. Nothing is unpacked to the disk; a damaged or malicious zip is a `DataError`."""

    def __init__(self, path: Path, cure: str) -> None:
        self.path, self.cure = path, cure
        try:
            packed = path.stat().st_size
            self.zip = zipfile.ZipFile(path)
        except Exception as error:  # damage can show as almost any, here and below
            raise DataError(f"{path} is not a complete zip file ({error}): {cure}") from error
        members = [member for member in self.zip.infolist() if not member.is_dir()]
        unpacked = sum(member.file_size for member in members)
        if unpacked > RATIO * packed:
            raise DataError(
                f"{path} would unpack from {packed} to {unpacked} bytes, more than {RATIO} times as many, so it is"
                f" not to be trusted: {cure}"
            )
        named = [(member.filename.replace("\\", "/"), member) for member in members]  # some Windows programs' names
        kept = [(name, member) for name, member in named if not any(map(is_clutter, name.split("/")))]
        if link := next((name for name, member in kept if stat.S_ISLNK(member.external_attr >> 16)), None):
            raise DataError(f"{path} has a symbolic link in place of {link}: zip the files that the links lead to")
        self.members = dict(sorted(kept, key=lambda pair: pair[0]))
        self.names = list(self.members)
        if len(self.names) < len(kept):
            raise DataError(f"{path} has two files of one name, so it is not to be trusted: {cure}")

    def read(self, name: str) -> bytes:
        """See `Archive.read`. The checksum in the zip is verified."""
        size = self.members[name].file_size
        if size > MEMBER:
            raise DataError(f"{self.where(name)} is larger than {MEMBER} bytes: {self.cure}")
        try:
            content = self.zip.read(self.members[name])
            if len(content) != size:
                raise ValueError(f"it has {len(content)} of {size} bytes")
        except Exception as error:
            raise DataError(f"{self.where(name)} cannot be decoded ({error}): {self.cure}") from error
        return content

    def fingerprint(self) -> str:
        """See `Archive.fingerprint`. Made of the sizes and checksums that the zip lists."""
        return summed(f"{name}\0{member.file_size}\0{member.CRC}" for name, member in self.members.items())


def open_archive(path: Path, cure: str) -> Archive:
    """A folder or a zip, whichever `path` is."""
    return Folder(path, cure) if path.is_dir() else Zip(path, cure)


def find_tree(root: str, pattern: str, cure: str) -> Path:
    """Where a tree of images lies, a folder with folders `train` and `val`, or a zip of one.

    It is the root itself, or lies below it as `pattern` or in a folder `pattern`. Errors end with the cure.

    Raises:
        MissingError: if there is none.
        DataError: if there are several, or no root is given.
    """
    folder = data_root(root, pattern, cure)
    if is_tree(folder):
        return folder
    places = [*folder.glob(pattern), *folder.glob(f"{pattern}/*")]
    found = sorted(place for place in places if is_tree(place) and not is_clutter(place.name))
    if not found:
        looked_for = f"{pattern}, a zip or a folder with folders train and val,"
        raise MissingError(missing(folder, looked_for, cure, also="no folders train and val itself, and "))
    if len(found) > 1:
        raise DataError(f"{folder} has more than one such set: set data.root to one of {', '.join(map(str, found))}")
    return found[0]


def missing(folder: Path, looked_for: str, cure: str, also: str = "") -> str:
    """What to say of what is not in the data root: what is looked for, and what is there."""
    try:
        there = sorted(entry for entry in os.listdir(folder) if not is_clutter(entry))
        holds = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "") or "nothing"
        found = f"{folder} has {also}no {looked_for} but {holds}"
    except OSError as error:
        found = f"{folder / looked_for} is missing ({folder}: {error.strerror})"
    return f"{found}: set data.root or $LIGHTNING_EBM_DATA to the folder that holds it; or {cure}"


def is_tree(path: Path) -> bool:
    """Whether a path is a zip, or a folder with folders `train` and `val`."""
    return (path.suffix.lower() == ".zip" and path.is_file()) or ((path / "train").is_dir() and (path / "val").is_dir())


def data_root(root: str, name: str, cure: str) -> Path:
    """The folder that `data.root` or $LIGHTNING_EBM_DATA names.

    Raises:
        DataError: if neither does, or it cannot be listed.
    """
    given = root or os.path.expanduser(os.environ.get("LIGHTNING_EBM_DATA", ""))  # a shell may leave its ~
    folder = Path(given)
    if not given:
        raise DataError(
            f"where is {name}? Set data.root or $LIGHTNING_EBM_DATA to the folder that holds it or is to hold it;"
            f" if it is not there yet, {cure}"
        )
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{folder} cannot be listed (permission denied): fix that, or {cure}")
    return folder


def read_whole(path: Path, limit: int, cure: str) -> bytes:
    """The contents of a file of at most `limit` bytes.

    Raises:
        DataError: if it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): fix that, or {cure}") from error
    if len(content) > limit:
        raise DataError(f"{path} is larger than {limit} bytes: {cure}")
    return content


CLUTTER = {"__macosx", "thumbs.db", "desktop.ini", "lost+found", "@eadir", "$recycle.bin", "system volume information"}
"""What systems and file servers leave in folders, in addition to names that begin with a dot."""


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name belongs to no data set."""
    return (name.startswith(".") and name.strip(".") != "") or name.lower() in CLUTTER


def summed(lines: Iterable[str]) -> str:
    """The SHA-256 of lines of text, in hexadecimal."""
    total = hashlib.sha256()
    for line in lines:
        total.update(line.encode(errors="surrogateescape") + b"\n")
    return total.hexdigest()
