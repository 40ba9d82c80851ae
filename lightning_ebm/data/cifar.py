"""CIFAR-10: 60,000 small colour photographs of ten kinds of things; read from the authors' python batches."""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_ebm.data.archive import read_whole
from lightning_ebm.data.cache import digest
from lightning_ebm.data.download import Remote, find_or_fetch
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import ImageSet, ImageSplit, cached_splits, without_shared
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

FOLDER = "cifar-10-batches-py"
PUBLISHED = Remote("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")
CURE = f"get {PUBLISHED.name} from https://www.cs.toronto.edu/~kriz/cifar.html, or with data.download=true"
PLACES = [f"{place}{name}" for name in (FOLDER, PUBLISHED.name) for place in ("cifar10/", "")]
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
SHAPE = (3, 32, 32)
LARGEST = 2**26
"""Bytes of a batch that are read, at most; a true one has 31 million."""


@dataclass(frozen=True)
class CIFAR10Config(Settings):
    """Settings of `CIFAR10`."""

    root: str = setting("", path=True)
    """Folder that holds `cifar-10-batches-py` or `cifar-10-python.tar.gz`, or holds one in a folder `cifar10`; empty:
    $LIGHTNING_EBM_DATA."""
    download: bool = False
    """Whether to fetch the set if it is missing."""
    augment: bool = False
    """Whether images of the train split are shifted by up to 2 pixels and mirrored left to right, at random."""


class CIFAR10(ImageSet):
    """Colour images of 3x32x32 values in [0, 1]; classes are the ten kinds of things.

    Test is the official test batch. Train and val are those of the five training batches that are there: val the last
    tenth, train the rest. Images that two splits have in common are taken from the one that is named last here.

    Raises:
        DataError: if no training batch or no test batch is there, or one is damaged.
    """

    config = CIFAR10Config
    citation = "Krizhevsky: Learning Multiple Layers of Features from Tiny Images. University of Toronto, 2009"

    def __init__(self, config: CIFAR10Config = CIFAR10Config()) -> None:
        self.augment = config.augment
        self.spec = PatternSpec(SHAPE, binary=False)
        path = find_or_fetch(PUBLISHED, config.root, PLACES, "cifar10", config.download, CURE)
        cure = f"remove {path}, and {CURE}"
        if path.is_dir():
            files = read_folder(path, cure)
            sums = [hashlib.sha256(content).hexdigest() for content in files.values()]
        else:
            sums = [digest(path)]
        key = {"files": sums, "format": 1}

        def build() -> dict[Split, ImageSplit]:
            return read_batches(files if path.is_dir() else unpacked(path, cure), cure)

        self.splits = cached_splits("cifar10", key, build)


def read_folder(folder: Path, cure: str) -> dict[str, bytes]:
    """The contents of the batches of a folder by their names in errors, the test batch last.

    Raises:
        DataError: if there is no training batch or no test batch, or one cannot be read.
    """
    training = [folder / name for name in BATCHES if (folder / name).exists()]
    if not training:
        raise DataError(f"{folder} has none of {BATCHES[0]} to {BATCHES[-1]}: {cure}")
    return {str(path): read_whole(path, LARGEST, cure) for path in [*training, folder / "test_batch"]}


def unpacked(packed: Path, cure: str) -> dict[str, bytes]:
    """As `read_folder`, from the authors' archive, of which nothing is unpacked to the disk.

    Raises:
        DataError: if it is damaged, or lacks a batch.
    """
    wanted = {f"{FOLDER}/{name}": b"" for name in (*BATCHES, "test_batch")}
    try:
        with tarfile.open(packed, "r:gz") as archive:
            for member in archive:
                if member.offset > len(wanted) * LARGEST:
                    raise ValueError("it unpacks to more than any such archive")
                if member.name in wanted and (file := archive.extractfile(member)):
                    wanted[member.name] = file.read(LARGEST)
    except TAR_ERRORS as error:
        raise DataError(
            f"{packed} is no whole archive of CIFAR-10 ({error or type(error).__name__}): {cure}"
        ) from error
    if lacking := [name for name, content in wanted.items() if not content]:
        raise DataError(f"{packed} has no file {lacking[0]}: {cure}")
    return {f"{name} in {packed}": content for name, content in wanted.items()}


def read_batches(files: dict[str, bytes], cure: str) -> dict[Split, ImageSplit]:
    """The splits, from the contents of the batches, the last of which is the test batch."""
    *training, test = (read_batch(content, name, cure) for name, content in files.items())
    together = ImageSplit(
        np.concatenate([part.images for part in training]), np.concatenate([part.labels for part in training])
    )
    first = len(together) - len(together) // 10
    return without_shared({"test": test, "val": together[first:], "train": together[:first]})


def read_batch(content: bytes, where: str, cure: str = CURE) -> ImageSplit:
    """The images and labels of one batch: a pickled dict with `data` (count, 3072) and `labels`, and more.

    A batch need not be the published one, byte for byte: many have been pickled anew.

    Args:
        content: the file.
        where: its name, for errors.
        cure: what to do about it, the end of an error.

    Raises:
        DataError: if it is no such pickle, or asks for what a batch does not need.
    """
    try:
        check_instructions(content)
        batch = Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(batch, dict):
            raise ValueError(f"it holds no dict but a {type(batch).__name__}")
        entries = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
        images, labels = array(entries.get("data")), entries.get("labels")
        if not isinstance(labels, list) or any(type(label) is not int or not 0 <= label < 10 for label in labels):
            raise ValueError("its labels are no list of numbers from 0 to 9")
        if len(labels) != len(images):
            raise ValueError(f"it has {len(labels)} labels for {len(images)} images")
    except PICKLE_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where} is no whole batch of CIFAR-10 ({reason}): {cure}") from error
    return ImageSplit(images, np.array(labels, np.int64))


def array(value: object) -> np.ndarray:
    """The images that a pickled array of bytes holds: (count, 3, 32, 32), uint8.

    Args:
        value: what stands in for the array.

    Raises:
        ValueError: if it is no array of (count, 3072) bytes in C order.
    """
    size = int(np.prod(SHAPE))
    match value:
        case Named(state=(_, shape, kind, fortran, raw)):  # up to protocol 4
            pass
        case Named(arguments=(raw, kind, shape, str(order))):  # protocol 5
            fortran = order != "C"
        case _:
            raise ValueError("its data is no array")
    if not isinstance(kind, Named) or not kind.arguments or kind.arguments[0] not in ("u1", b"u1") or fortran:
        raise ValueError("its data is no array of unsigned bytes in C order")
    if not isinstance(shape, tuple) or len(shape) != 2 or type(shape[0]) is not int or shape[1:] != (size,):
        raise ValueError(f"its data has not the shape (count, {size})")
    if not isinstance(raw, bytes | bytearray) or len(raw) != shape[0] * size:
        raise ValueError(f"its data has not the {shape[0]} x {size} bytes that its shape announces")
    return np.frombuffer(raw, np.uint8).reshape(-1, *SHAPE)


TAR_ERRORS: tuple[type[Exception], ...] = (  # what tarfile is seen to raise on damaged input
    *(tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError, MemoryError, KeyError, IndexError),
    struct.error,
)
PICKLE_ERRORS: tuple[type[Exception], ...] = (  # what Python's unpickler raises on damaged input
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(OverflowError, MemoryError, RecursionError, AssertionError, struct.error),
)
NEEDED = {
    *(
        f"numpy.{core}.{name}"
        for core in ("core", "_core")
        for name in ("multiarray._reconstruct", "numeric._frombuffer")
    ),
    *("numpy.ndarray", "numpy.dtype", "_codecs.encode"),
}
"""All that a batch names, whether Python 2 or 3 wrote it."""
MOST = 2**18
"""Instructions of a batch, at most; a true one has about 30,000."""
TUPLES = 1000
"""Tuples of a batch, at most; a true one has five."""
SHARED = {
    *("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8", "SHORT_BINUNICODE"),
    *("BINUNICODE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "EMPTY_DICT", "EMPTY_LIST"),
}
"""Instructions that make what a batch may refer to again: never a tuple, as hashing tuples of tuples of the same tuples
could take for ever."""
ALLOWED = SHARED | {
    *("PROTO", "FRAME", "STOP", "MARK", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "NONE"),
    *("NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "SETITEM", "SETITEMS", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BUILD"),
}
"""What a batch is made of. A pickle with other instructions is refused."""


def check_instructions(content: bytes) -> None:
    """Reads the instructions of a pickle, without following any.

    Python's unpickler trusts the lengths and numbers in a pickle: a few bytes can ask it for gigabytes, or for ever.

    Raises:
        ValueError: if there is one that no batch has, or one that is cut off.
    """
    shared: dict[int, bool] = {}
    tuples, before = 0, ""
    for count, (code, argument, _) in enumerate(pickletools.genops(content)):
        tuples += "TUPLE" in code.name
        if code.name not in ALLOWED:
            raise ValueError(f"it has the instruction {code.name}, which no batch needs, so it is not to be trusted")
        if count > MOST or tuples > TUPLES:
            raise ValueError("it has more instructions than any batch, so it is not to be trusted")
        if "PUT" in code.name or code.name == "MEMOIZE":
            number = len(shared) if argument is None else argument
            if number > MOST:
                raise ValueError("it numbers more things than any batch, so it is not to be trusted")
            shared[number] = before in SHARED
        if "GET" in code.name and not shared.get(argument or 0):
            raise ValueError("it repeats what no batch repeats, so it is not to be trusted")
        before = code.name


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


class Unpickler(pickle.Unpickler):
    """Reads a pickle without importing, calling or building anything that it names."""

    def find_class(self, module: str, name: str) -> Named:
        """What stands in for a name.

        Raises:
            UnpicklingError: if no batch needs it.
        """
        full = f"{module}.{name}"
        if full not in NEEDED:
            raise pickle.UnpicklingError(f"it names {full[:80]!r}, which no batch needs, so it is not to be trusted")
        return Named(full)
