"""CIFAR-10: 60,000 small colour photographs of ten kinds of things; read from the authors' python batches."""

import hashlib
import itertools
import math
import pickletools
import re
import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_ebm.data.archive import read_whole
from lightning_ebm.data.cache import digest
from lightning_ebm.data.download import Remote, find_or_fetch
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import ImageSet, ImageSplit, cached_splits, without_shared
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting
from lightning_ebm.signals import reason

FOLDER = "cifar-10-batches-py"
PUBLISHED = Remote("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")
CURE = f"get {PUBLISHED.name} from https://www.cs.toronto.edu/~kriz/cifar.html, or with data.download=true"
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
SHAPE = (3, 32, 32)
SIZE = math.prod(SHAPE)
LARGEST = 2**26
"""Bytes of a batch that are read, at most; a true one has 31 million."""
MOST = 2**18
"""Instructions of a batch that are read; a true one has about 40,000."""
INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1")
IGNORED = (
    *("PROTO", "FRAME", "MARK", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"),
    *("APPEND", "APPENDS"),
)
"""Instructions that say nothing about an array or a list of numbers."""
ARRAY = re.compile(
    rf"_reconstruct .* (?P<old>\d+) {SIZE} TUPLE2 .*\bu1 .*BUILD NEWFALSE (\S+ ){{0,2}}PIXELS "  # up to protocol 4
    rf"|_frombuffer (\S+ )?PIXELS .*\bu1 .*BUILD (?P<new>\d+) {SIZE} TUPLE2 C "  # protocol 5
)
"""How NumPy pickles an array (count, SIZE) of unsigned bytes in C order, whether in Python 2 or 3."""


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
    tenth, train the rest.
    """

    config = CIFAR10Config
    citation = "Krizhevsky: Learning Multiple Layers of Features from Tiny Images. University of Toronto, 2009"

    def __init__(self, config: CIFAR10Config = CIFAR10Config()) -> None:
        self.augment = config.augment
        self.spec = PatternSpec(SHAPE, binary=False)
        path = find_or_fetch(PUBLISHED, config, ("cifar10/", ""), (FOLDER, PUBLISHED.name), CURE)
        cure = f"remove {path}, and {CURE}"
        if path.is_dir():
            files = read_folder(path, cure)
            sums = [hashlib.sha256(content).hexdigest() for content in files.values()]
        else:
            sums = [digest(path)]
        key = {"files": sums, "format": 1}

        def build() -> dict[Split, ImageSplit]:
            contents = files if path.is_dir() else unpacked(path, cure)
            *training, test = (read_batch(content, name, cure) for name, content in contents.items())
            images = np.concatenate([part.images for part in training])
            together = ImageSplit(images, np.concatenate([part.labels for part in training]))
            first = len(together) - len(together) // 10
            return without_shared({"test": test, "val": together[first:], "train": together[:first]})

        self.splits = cached_splits("cifar10", key, build)


def read_folder(folder: Path, cure: str) -> dict[str, bytes]:
    """The contents of the batches of a folder by their names in errors, the test batch last."""
    training = [folder / name for name in BATCHES if (folder / name).exists()]
    if not training:
        raise DataError(f"{folder} has none of {BATCHES[0]} to {BATCHES[-1]}: {cure}")
    return {str(path): read_whole(path, LARGEST, cure) for path in [*training, folder / "test_batch"]}


def unpacked(packed: Path, cure: str) -> dict[str, bytes]:
    """As `read_folder`, from the authors' archive, without unpacking it to disk."""
    wanted = {f"{FOLDER}/{name}": b"" for name in (*BATCHES, "test_batch")}
    try:
        with tarfile.open(packed, "r:gz") as archive:
            for member in archive:
                if member.offset > len(wanted) * LARGEST:
                    raise ValueError("it unpacks to more than any such archive")
                if member.name in wanted and (file := archive.extractfile(member)):
                    wanted[member.name] = file.read(LARGEST)
    except Exception as error:  # damage can show as almost any
        raise DataError(f"{packed} is not a complete archive of CIFAR-10 ({reason(error)}): {cure}") from error
    if lacking := [name for name, content in wanted.items() if not content]:
        raise DataError(f"{packed} has no file {lacking[0]}: {cure}")
    return {f"{name} in {packed}": content for name, content in wanted.items()}


def read_batch(content: bytes, where: str, cure: str = CURE) -> ImageSplit:
    """The images and labels of one batch: a pickled dict with `data` (count, 3072) and `labels`, and more.

    A batch need not be the published one, byte for byte: many have been pickled again. A pickle may run anything, so it
    is not unpickled: pixels and labels are taken from its instructions.
    """
    try:
        steps = [step for step in itertools.islice(pickletools.genops(content), MOST) if step[0].name not in IGNORED]
        words = [code.name if given is None else as_text(given) for code, given, _ in steps]
        if words.count("data") != 1 or words.count("labels") != 1:
            raise ValueError("it has no data or no labels")
        said = words[words.index("data") + 1 :]
        found = ARRAY.search(" ".join(word[:40] if len(word) < SIZE else "PIXELS" for word in said[:50]))
        pixels = next((word for word in said if len(word) >= SIZE), "").encode("latin1")
        if not found or len(pixels) != int(found["old"] or found["new"]) * SIZE:
            raise ValueError(f"its data is not an array of unsigned bytes in C order of shape (count, {SIZE})")
        images = np.frombuffer(pixels, np.uint8).reshape(-1, *SHAPE)
        listed = steps[words.index("EMPTY_LIST", words.index("labels")) + 1 :]
        numbers = itertools.takewhile(lambda step: step[0].name in INTEGERS, listed)
        labels = [int(given or 0) for _, given, _ in numbers]
        if len(labels) != len(images) or not all(0 <= label < 10 for label in labels):
            raise ValueError(f"its labels are not {len(images)} numbers from 0 to 9, one for each image")
    except (ValueError, LookupError, OverflowError, MemoryError, struct.error) as error:
        raise DataError(f"{where} is not a complete batch of CIFAR-10 ({reason(error)}): {cure}") from error
    return ImageSplit(images, np.array(labels, np.int64))


def as_text(value: object) -> str:
    """What an instruction is given, as text; a character for each byte."""
    return value.decode("latin1") if isinstance(value, bytes | bytearray) else str(value)
