"""Fetching a data set from its public home: with checksum, resumed where it was cut off, never half under its name.

Pooch would do most of this, but begins again at the first byte after a cut, which a slow line may never survive; and
two processes that start together would both fetch.
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import wrap_file

from lightning_ebm.data.archive import MissingError, data_root, missing
from lightning_ebm.data.episodes import DataError
from lightning_ebm.files import lock

PATIENCE = 30.0
"""Seconds without a byte after which a server is given up."""


@dataclass(frozen=True)
class Remote:
    """A file at its public home, with the MD5 checksum that its makers and users publish, in hexadecimal.

    The checksum is against accidents, not against malice.
    """

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.url).name


def find_or_fetch(remote: Remote, config: Any, folders: Sequence[str], names: Sequence[str], cure: str) -> Path:
    """Where a file lies; it is fetched if it lies nowhere and may be.

    Args:
        remote: the file's public home.
        config: of the data set: `root`, and whether to `download`.
        folders: below the root, in which it may lie, each with a slash at its end; it is fetched into the first.
        names: that it may have; the first one that is there counts.
        cure: how to get the set, the end of an error.

    Raises:
        MissingError: if it lies nowhere, and may not be fetched.
        DataError: if it cannot be had; the message says why and what to do.
    """
    root = data_root(config.root, f"{folders[0]}{names[0]}", cure)
    for path in (root / f"{folder}{name}" for name in names for folder in folders):
        if path.exists():
            return path
    if config.download:
        return fetch(remote, root / folders[0] / remote.name)
    raise MissingError(missing(root, f"{folders[0]}{names[0]}", cure))


def fetch(remote: Remote, target: Path) -> Path:
    """Fetches a file, unless it is there, and names it `target` once it is whole and its checksum is right.

    What an interrupted transfer left, `<name>.part`, is continued.

    Raises:
        DataError: if the server cannot be reached or stops, the checksum is wrong, or nothing can be written.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock(target.with_name(f".{target.name}.lock")):
            if not target.exists():  # another process may have been at it
                with part.open("ab") as file:
                    transfer(remote, file)
                with part.open("rb") as content:
                    found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                if found != remote.md5:
                    part.unlink()
                    raise DataError(
                        f"{remote.url} came with the MD5 checksum {found} instead of {remote.md5}, and was removed:"
                        " try again, or get the file by other means"
                    )
                os.replace(part, target)
    except urllib.error.HTTPError as error:
        raise DataError(f"{remote.url} cannot be had: the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise DataError(
            f"{remote.url} cannot be reached ({reason}): check the network, or put the file at {target} by other means;"
            " what has arrived is kept, and the same command continues from it"
        ) from error
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error}): make room, or set data.root") from error
    finally:
        with contextlib.suppress(OSError):
            if part.exists() and not part.stat().st_size:
                part.unlink()
    return target


def transfer(remote: Remote, file: BinaryIO) -> None:
    """Appends the missing part of a file, or starts over if the server cannot resume.

    A bar on the terminal, if there is one, of the first process of a machine shows what arrives.
    """
    there = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "lightning-ebm", "Accept-Encoding": "identity"}
    if there:
        headers["Range"] = f"bytes={there}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if there and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # there is no more: whole, or damaged, which the checksum tells
        raise
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {there}-"):
            raise DataError(
                f"{remote.url}: the server continues at another byte than {there}; remove {file.name}, and start again"
            )
        if not goes_on:
            there = file.seek(0)
            file.truncate()
        announced = answer.headers.get("Content-Length", "")
        more = int(announced) if announced.isdigit() else 0
        quiet = not more or not sys.stderr.isatty() or os.environ.get("LOCAL_RANK", "0") != "0"
        bar = wrap_file(answer, more, description=remote.name, console=Console(stderr=True), disable=quiet)
        with bar as content:
            shutil.copyfileobj(content, file)
    if file.tell() < there + more:
        raise DataError(
            f"{remote.url}: the transfer stopped after {file.tell()} of {there + more} bytes; they are kept, and the"
            " same command continues from them"
        )
