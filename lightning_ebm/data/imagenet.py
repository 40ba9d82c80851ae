"""ImageNet, or any tree of images with a folder for each class: random crops for training, centre crops for testing."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import PIL
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from lightning_ebm.data.archive import Archive, find_tree, open_archive
from lightning_ebm.data.cache import Allocate, filled
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import SUFFIXES, ImageSet, ImageSplit, decode, splits_of
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

CURE = (
    "ImageNet's makers hand it out to those who register at https://www.image-net.org: unpack ILSVRC2012_img_train.tar"
    " and ILSVRC2012_img_val.tar so that images lie at imagenet/train/<class>/ and imagenet/val/<class>/ below the root"
)
REPAIR = "replace it, or remove it"
"""The cure of a damaged file, which cannot be downloaded again."""
LAYOUT = "a tree of images has them at train/<class>/<image> and val/<class>/<image>"
HELD_OUT = 10
"""Every tenth class of the training folder, from the first on, is val."""


@dataclass(frozen=True)
class ImageNetConfig(Settings):
    """Settings of `ImageNet`."""

    root: str = setting("", path=True)
    """The tree or a zip of it, or a folder that holds one as `imagenet*` or `imagenet*/*`; empty:
    $LIGHTNING_EBM_DATA."""
    size: int = setting(64, at_least=8, at_most="side")
    """Side of a crop in pixels, at most `side`."""
    side: int = setting(96, at_least=8, at_most=512)
    """Shorter side that images are scaled to before they are cut, in pixels. Only their middle square is kept:
    3 · side² bytes an image in the cache."""


class ImageNet(ImageSet):
    """Crops (3, size, size) of photographs, values in [0, 1]; classes are the folders.

    Test is the folder `val` (labels of the true test set are not public), val every tenth class of the folder `train`,
    train the rest. Training crops lie anywhere, those of val and test in the middle.
    """

    config = ImageNetConfig
    citation = "Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge. IJCV 115(3), 2015"

    def __init__(self, config: ImageNetConfig = ImageNetConfig()) -> None:
        self.spec = PatternSpec((3, config.size, config.size), binary=False)
        archive = open_archive(find_tree(config.root, "imagenet*", LAYOUT if config.root else CURE), REPAIR)
        self.splits = decoded(f"imagenet-{config.side}", archive, divide(archive), config.side)

    def take(self, split: Split, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """See `ImageSet.take`: a crop of each image, anywhere in training, otherwise in the middle."""
        size = self.spec.shape[1:]
        places = sliding_window_view(self.splits[split].images, size, axis=(2, 3))
        room = places.shape[2]
        if split != "train":
            return places[rows, :, (room - 1) // 2, (room - 1) // 2]
        top, left = random.integers(room, size=(2, len(rows)))
        return places[rows, :, top, left]


Parts = dict[Split, dict[str, int]]
"""Split -> name of an image -> number of its class; the most important split first."""


def divide(archive: Archive) -> Parts:
    """Which images `.../train/<class>/<image>` and `.../val/<class>/<image>` belong to which split."""
    folders: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}}
    for name in archive.names:
        *_, folder, kind, file = ("", "", *PurePosixPath(name).parts)
        if folder in folders and file.lower().endswith(SUFFIXES):
            folders[folder].setdefault(kind, []).append(name)
    for folder, kinds in folders.items():
        if len(kinds) < (2 if folder == "train" else 1):
            there = f"such files as {', '.join(archive.names[:3])}" if archive.names else "no files"
            raise DataError(
                f"{archive.path} has {len(kinds)} classes of images {folder}/<class>/<image>, and {there}: {LAYOUT}"
            )
    training = list(folders["train"].values())
    held_out = training[::HELD_OUT]
    rest = [names for rank, names in enumerate(training) if rank % HELD_OUT]
    classes: dict[Split, list[list[str]]] = {"test": list(folders["val"].values()), "val": held_out, "train": rest}
    return {
        split: {name: number for number, names in enumerate(kinds) for name in names}
        for split, kinds in classes.items()
    }


def decoded(name: str, archive: Archive, parts: Parts, side: int, exact: bool = False) -> dict[Split, ImageSplit]:
    """The splits, from the cache under a name if they were decoded before; without images that an earlier split has.

    Images become squares of `side` pixels, which they must be already if `exact` is true.
    """

    def decode_all(allocate: Allocate) -> None:
        earlier: set[bytes] = set()
        for split, numbers in parts.items():
            images = allocate(f"{split}_images", (len(numbers), 3, side, side), np.uint8)
            labels: list[int] = []
            own: set[bytes] = set()
            for file, number in numbers.items():
                content = archive.read(file)
                values = square(decode(content, archive.where(file), archive.cure, side if exact else None), side)
                same = hashlib.sha256(values.tobytes()).digest()
                if same not in earlier:
                    images[len(labels)] = values
                    labels.append(number)
                    own.add(same)
            earlier |= own
            allocate(f"{split}_labels", (len(labels),), np.int64)[...] = labels

    key = {"files": archive.fingerprint(), "side": side, "pillow": PIL.__version__, "format": 1}
    return splits_of(filled(name, key, decode_all))


def square(image: Image.Image, side: int) -> np.ndarray:
    """The middle square of an image, scaled: (3, side, side), uint8."""
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    scaled = image.resize((side, side), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    return np.ascontiguousarray(np.asarray(scaled).transpose(2, 0, 1))
