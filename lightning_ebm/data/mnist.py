"""MNIST: handwritten digits, for testing what a memory trained on other writing carries over; read from idx files."""

import contextlib
import gzip
import hashlib
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightning_ebm.data.archive import MissingError, read_whole
from lightning_ebm.data.download import Remote, find_or_fetch
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import ImageSet, ImageSplit, cached_splits, without_shared
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

HOME = "https://ossci-datasets.s3.amazonaws.com/mnist"
PUBLISHED = (
    Remote(f"{HOME}/train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    Remote(f"{HOME}/train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    Remote(f"{HOME}/t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    Remote(f"{HOME}/t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
CURE = f"get it from {HOME}, or with data.download=true"
FOLDERS = ("mnist/", "", "MNIST/raw/", "MNIST/", "mnist/raw/", "raw/")
SIDE = 28  # of the digits, in pixels
BORDER = 2  # blank pixels put around them
LARGEST = 2**27
"""Bytes of a file, packed or unpacked, at most; the true ones have up to 47 million."""


@dataclass(frozen=True)
class MNISTConfig(Settings):
    """Settings of `MNIST`."""

    root: str = setting("", path=True)
    """Folder that holds the four idx files, .gz or not, or holds them in a folder `mnist` or, as torchvision leaves
    them, `MNIST/raw`; empty: $LIGHTNING_EBM_DATA."""
    binary: bool = True
    """Whether pixels become 0 and 1, 1 where the grey value is at least 128, as Omniglot and glyphs have them."""
    t10k_alone: bool = False
    """Whether all splits come from the 10,000 test digits: their second half, whose writers are others than those of
    the first, is test; the first 4,000 are train, and the 1,000 between them val."""
    download: bool = False
    """Whether to fetch the files that are missing."""


class MNIST(ImageSet):
    """Digits of 1x32x32 pixels (28x28 and a blank border), ink 1; classes are the ten digits.

    Test is the official test set, t10k. Val is the last sixth of the training set, train the rest; where the training
    files are missing, there is a test split only, which is all that transfer needs.
    """

    config = MNISTConfig
    cure = f"{CURE}, or set data.t10k_alone=true, which divides the test digits"
    citation = "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition. 1998"

    def __init__(self, config: MNISTConfig = MNISTConfig()) -> None:
        binary, t10k_alone = config.binary, config.t10k_alone
        self.spec = PatternSpec((1, SIDE + 2 * BORDER, SIDE + 2 * BORDER), binary)
        files = {"t10k": find_pair(config, "t10k")}
        with contextlib.suppress(MissingError):
            files |= {} if t10k_alone else {"train": find_pair(config, "train")}
        contents = {kind: [read_whole(path, LARGEST, anew(path)) for path in pair] for kind, pair in files.items()}
        sums = [hashlib.sha256(content).hexdigest() for pair in contents.values() for content in pair]
        key = {"files": sums, "binary": binary, "t10k_alone": t10k_alone, "format": 1}

        def build() -> dict[Split, ImageSplit]:
            parts = {kind: read_pair(contents[kind], files[kind], binary) for kind in files}
            digits, split = parts["t10k"], parts.get("train")
            if t10k_alone:
                test, val = len(digits) // 2, len(digits) // 2 - len(digits) // 10
                return without_shared({"test": digits[test:], "val": digits[val:test], "train": digits[:val]})
            if split is None:
                return {"test": digits}
            first = len(split) - len(split) // 6
            return without_shared({"test": digits, "val": split[first:], "train": split[:first]})

        self.splits = cached_splits("mnist", key, build)


def find_pair(config: MNISTConfig, kind: str) -> tuple[Path, Path]:
    """Where the images and labels of `train` or `t10k` lie. A `MissingError` says that the images lie nowhere."""

    def one(remote: Remote) -> Path:
        name = remote.name.removesuffix(".gz")
        names = (f"{name}.gz", name, f"{name.replace('-idx', '.idx')}.gz", name.replace("-idx", ".idx"))
        return find_or_fetch(remote, config, FOLDERS, names, CURE)

    of_images, of_labels = (remote for remote in PUBLISHED if remote.name.startswith(kind))
    images = one(of_images)
    try:
        return images, one(of_labels)
    except MissingError as error:
        raise DataError(f"{images} has no labels: {error}") from error


def anew(path: Path | str) -> str:
    """How to replace a damaged file; ends an error message."""
    return f"remove {path}, and {CURE}"


def read_pair(contents: Sequence[bytes], paths: Sequence[Path], binary: bool) -> ImageSplit:
    """The digits of the contents of two files, of images and of labels, padded; `paths` are for errors."""
    digits = read_idx(contents[0], paths[0])
    labels = read_idx(contents[1], paths[1])
    if digits.ndim != 3 or digits.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{paths[0]} has the shape {digits.shape}, not (count, {SIDE}, {SIDE}): {anew(paths[0])}")
    if labels.shape != digits.shape[:1]:
        raise DataError(f"{paths[1]} has labels of shape {labels.shape} for {len(digits)} images: {anew(paths[1])}")
    if labels.size and labels.max() > 9:
        raise DataError(f"{paths[1]} has a label {labels.max()}, not 0 to 9: {anew(paths[1])}")
    images = np.pad(digits, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))[:, None]
    return ImageSplit((images >= 128).view(np.uint8) if binary else images, labels.astype(np.int64))


def read_idx(content: bytes, where: Path | str) -> np.ndarray:
    """An array of unsigned bytes in the idx format: two zeros, the type, the dimensions, their sizes, the values.

    The file may be packed by gzip; `where` is its name, for errors. The array is read-only.
    """
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.open(io.BytesIO(content)) as packed:
                content = packed.read(LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{where} cannot be unpacked ({error}): {anew(where)}") from error
        if len(content) > LARGEST:
            raise DataError(f"{where} unpacks to more than {LARGEST} bytes: {anew(where)}")
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 3:
        raise DataError(f"{where} is not an idx file of bytes with 1 to 3 dimensions: {anew(where)}")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[place : place + 4], "big") for place in range(4, start, 4))
    if len(content) < start or math.prod(shape) != len(content) - start:
        raise DataError(f"{where} announces {shape} values and has {max(len(content) - start, 0)}: {anew(where)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
