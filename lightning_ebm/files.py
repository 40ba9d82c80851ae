"""Files that several processes share: written whole or not at all, and locked while in use."""

import contextlib
import errno
import os
import platform
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
"""Error numbers with which a file system says that it has no locks."""


class LockedError(RuntimeError):
    """Another process holds a lock; the message names the folder and, where it is known, the process."""


def atomic_write(path: Path, content: bytes) -> None:
    """Writes a file, so that a kill, an error or a second writer leaves the old content or the new, whole and on disk.

    Raises:
        OSError: if it cannot be written; the old file is as it was, and nothing else is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can do that (Windows cannot)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def lock(path: Path, wait: bool = True, say: Callable[[str], object] = print) -> Iterator[None]:
    """Keeps other processes out of the folder of `path`. This process may enter again; its death ends the lock.

    A file system without locks costs a warning. filelock would put up a marker there instead, but one that a killed
    process left on another machine would keep everybody out for ever.

    The lock's file stays and names the last holder. `say` is called with the process it waits for.

    Raises:
        LockedError: if another process holds it and `wait` is false.
        OSError: if the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path, is_singleton=True, fallback_to_soft=False)
    try:
        try:
            held.acquire(timeout=0)
        except Timeout:
            found = f"{path.parent} is in use by {holder(path)}"
            if not wait:
                raise LockedError(found) from None
            say(f"{found}; waiting until it ends")
            held.acquire(poll_interval=0.2)
        with contextlib.suppress(OSError):  # Windows lets nobody write into a locked file
            path.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        without = f"its file system has no locks ({error.strerror})"
        warnings.warn(f"{path.parent}: {without}; start only one process that writes there", stacklevel=3)
    try:
        yield
    finally:
        held.release()


def holder(path: Path) -> str:
    """Who holds a lock, as its file says."""
    try:
        return path.read_text(encoding="utf-8")[:200] or "another process"
    except (OSError, ValueError):
        return "another process"


def slug(label: str) -> str:
    """A label as the name of a file or folder: lower-case letters, digits and single hyphens."""
    words = "".join(letter if letter.isalnum() else " " for letter in label.lower()).split()
    return "-".join(words) or "row"
