"""CIFAR-10: 60,000 small colour photographs of ten kinds of things; read from the authors' python batches."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import struct
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from lightning_ebm.data.archive import data_root, find, read_whole
from lightning_ebm.data.download import Remote, fetch_missing
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import ImageSet, ImageSplit, cached_splits, without_shared
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import setting

FOLDER = "cifar-10-batches-py"
PUBLISHED = Remote("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")
CURE = f"get {PUBLISHED.name} from https://www.cs.toronto.edu/~kriz/cifar.html, or with data.download=true"
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
SHAPE = (3, 32, 32)
LARGEST = 2**26
"""Bytes of a batch that are read, at most; a true one has 31 million."""


@dataclass
class CIFAR10Config:
    """Settings of `CIFAR10`.

    Attributes:
        root: folder that holds `cifar-10-batches-py`, or holds it in a folder `cifar10`; empty: $LIGHTNING_EBM_DATA.
        download: whether to fetch the set if it is missing.
        augment: whether images of the train split are shifted by up to 2 pixels and mirrored left to right, at random.
    """

    root: str = setting("", path=True)
    download: bool = False
    augment: bool = False


class CIFAR10(ImageSet):
    """Colour images of 3x32x32 values in [0, 1]; classes are the ten kinds of things.

    Test is the official test batch. Train and val are those of the five training batches that are there: val the last
    tenth, train the rest. Images that two splits have in common are taken from the one that is named last here.

    Args:
        root: as in `CIFAR10Config`.
        download: as in `CIFAR10Config`.
        augment: as in `CIFAR10Config`.

    Raises:
        DataError: if no training batch or no test batch is there, or one is damaged.
    """

    config = CIFAR10Config
    citation = "Krizhevsky: Learning Multiple Layers of Features from Tiny Images. University of Toronto, 2009"

    def __init__(self, root: str = "", download: bool = False, augment: bool = False) -> None:
        self.augment = augment
        self.spec = PatternSpec(SHAPE, binary=False)
        if download:
            fetch_batches(root)
        folder = find(root, (f"cifar10/{FOLDER}", FOLDER), CURE)[0]
        training = [folder / name for name in BATCHES if (folder / name).exists()]
        if not training:
            raise DataError(f"{folder} has none of {BATCHES[0]} to {BATCHES[-1]}: {CURE}")
        files = {path: read_whole(path, LARGEST, CURE) for path in [*training, folder / "test_batch"]}
        key = {"files": [hashlib.sha256(content).hexdigest() for content in files.values()], "format": 1}
        self.splits = cached_splits("cifar10", key, lambda: read_batches(files))

    @classmethod
    def from_config(cls, config: CIFAR10Config) -> Self:
        """See `PatternSource.from_config`."""
        return cls(config.root, config.download, config.augment)


def read_batches(files: dict[Path, bytes]) -> dict[Split, ImageSplit]:
    """The splits, from the contents of the batches, the last of which is the test batch."""
    *training, test = (read_batch(content, path) for path, content in files.items())
    together = ImageSplit(
        np.concatenate([part.images for part in training]), np.concatenate([part.labels for part in training])
    )
    first = len(together) - len(together) // 10
    return without_shared({"test": test, "val": together[first:], "train": together[:first]})


def read_batch(content: bytes, where: Path | str) -> ImageSplit:
    """The images and labels of one batch: a pickled dict with `data` (count, 3072) and `labels`, and more.

    Args:
        content: the file.
        where: its name, for errors.

    Raises:
        DataError: if it is no such pickle, or asks for what a batch does not need.
    """
    try:
        batch = Unpickler(content).load()
        if not isinstance(batch, dict):
            raise ValueError(f"it holds no dict but a {type(batch).__name__}")
        entries = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
        images, labels = array(entries.get("data")), entries.get("labels")
        if not isinstance(labels, list) or any(type(label) is not int or not 0 <= label < 10 for label in labels):
            raise ValueError("its labels are no list of numbers from 0 to 9")
        if len(labels) != len(images):
            raise ValueError(f"it has {len(labels)} labels for {len(images)} images")
    except PICKLE_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{where} is no whole batch of CIFAR-10 ({reason}): {CURE}") from error
    return ImageSplit(images, np.array(labels, np.int64))


def array(value: object) -> np.ndarray:
    """The images that a pickled array of bytes holds: (count, 3, 32, 32), uint8.

    Args:
        value: what stands in for the array.

    Raises:
        ValueError: if it is no array of (count, 3072) bytes in C order.
    """
    if not isinstance(value, Named) or not isinstance(value.state, tuple) or len(value.state) != 5:
        raise ValueError("its data is no array")
    _, shape, kind, fortran, raw = value.state
    if not isinstance(kind, Named) or not kind.arguments or kind.arguments[0] not in ("u1", b"u1") or fortran:
        raise ValueError("its data is no array of unsigned bytes in C order")
    size = int(np.prod(SHAPE))
    if not isinstance(shape, tuple) or len(shape) != 2 or type(shape[0]) is not int or shape[1:] != (size,):
        raise ValueError(f"its data has not the shape (count, {size})")
    if not isinstance(raw, bytes) or len(raw) != shape[0] * size:
        raise ValueError(f"its data has not the {shape[0]} x {size} bytes that its shape announces")
    return np.frombuffer(raw, np.uint8).reshape(-1, *SHAPE)


PICKLE_ERRORS: tuple[type[Exception], ...] = (  # what Python's unpickler raises on damaged input
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(OverflowError, MemoryError, RecursionError, AssertionError, struct.error),
)
NEEDED = {
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    *("numpy.ndarray", "numpy.dtype", "_codecs.encode"),
}
"""All that a batch names, whether Python 2 or 3 wrote it."""
OPCODES = b"".join(
    getattr(pickle, name)
    for name in (
        *("PROTO", "FRAME", "STOP", "MARK", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "SHORT_BINSTRING"),
        *("BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINUNICODE", "BINUNICODE"),
        *("EMPTY_DICT", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1"),
        *("TUPLE2", "TUPLE3", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    )
)
"""What a batch is made of. A pickle with other instructions is refused."""


@dataclass
class Named:
    """What stands in for anything that a pickle names: it does nothing, and keeps what was asked of it.

    Attributes:
        name: module and name.
        arguments: what it was called with; None if it was not.
        state: what it was to be filled with.
    """

    name: str
    arguments: tuple[Any, ...] | None = None
    state: Any = None

    def __call__(self, *arguments: Any) -> Named | bytes:
        """What stands in for the call's result; bytes where Python 3 wrote them as text for Python 2 to read."""
        if self.name == "_codecs.encode" and len(arguments) == 2 and isinstance(arguments[0], str):
            return arguments[0].encode("latin1")
        return Named(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        """Keeps the state."""
        self.state = state


class Instructions(dict[int, Any]):
    """What is done at each instruction: of those that a batch needs, and for as many as one could have."""

    left = 2**18
    """A true batch has about 30,000."""

    def __getitem__(self, code: int) -> Any:
        """The method for an instruction.

        Raises:
            UnpicklingError: if there is none, or there were too many.
        """
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError("it has more instructions than any batch, so it is not to be trusted")
        if code not in self:
            raise pickle.UnpicklingError("it has an instruction that no batch needs, so it is not to be trusted")
        return super().__getitem__(code)


class Unpickler(pickle._Unpickler):
    """Reads a pickle without importing, calling or building anything that it names.

    It is Python's unpickler in Python, because the one in C trusts the lengths and numbers that it reads: a file of a
    few bytes can ask it for gigabytes.

    Args:
        content: the pickle.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        known = {code: pickle._Unpickler.dispatch[code] for code in OPCODES}
        self.dispatch = Instructions(known | {pickle.SETITEMS[0]: Unpickler.load_setitems})  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Named:
        """What stands in for a name.

        Raises:
            UnpicklingError: if no batch needs it.
        """
        full = f"{module}.{name}"
        if full not in NEEDED:
            raise pickle.UnpicklingError(f"it names {full[:80]!r}, which no batch needs, so it is not to be trusted")
        return Named(full)

    def load_setitems(self) -> None:
        """Entries of a dict; their keys are text, as hashing tuples of tuples could take for ever."""
        if not all(isinstance(key, str | bytes) for key in self.stack[::2]):  # type: ignore[attr-defined]
            raise pickle.UnpicklingError("it has a dict whose keys are no text")
        super().load_setitems()  # type: ignore[misc]


def fetch_batches(root: str) -> None:
    """Fetches the batches and unpacks them, unless some are there: `cifar10/cifar-10-batches-py` in the data root.

    Raises:
        DataError: if they cannot be had or written, or the archive is damaged.
    """
    place = data_root(root, FOLDER, CURE)
    if (place / "cifar10" / FOLDER).is_dir() or (place / FOLDER).is_dir():
        return
    (packed,) = fetch_missing([PUBLISHED], root, "cifar10", CURE)
    unfinished = None
    try:
        unfinished = Path(tempfile.mkdtemp(".unfinished", FOLDER, packed.parent))
        with tarfile.open(packed, "r:gz") as archive:
            for name in (*BATCHES, "test_batch"):  # by their names alone: nothing else is unpacked
                member = archive.extractfile(f"{FOLDER}/{name}")
                if member is None:
                    raise DataError(f"{packed} has no file {FOLDER}/{name}: {CURE}")
                (unfinished / name).write_bytes(member.read(LARGEST))
        os.chmod(unfinished, 0o755)
        os.rename(unfinished, packed.parent / FOLDER)
        packed.unlink()
    except (tarfile.TarError, zlib.error, EOFError, KeyError) as error:
        raise DataError(f"{packed} is no whole archive of CIFAR-10 ({error}): remove it, and {CURE}") from error
    except OSError as error:
        raise DataError(f"{packed} cannot be unpacked ({error}): make room, or set data.root") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
