"""ImageNet, or any tree of images with a folder for each class: random crops for training, centre crops for testing."""

from __future__ import annotations

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
from lightning_ebm.data.images import ImageSet, ImageSplit, decode
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

CURE = (
    "ImageNet's makers hand it out to those who register at https://www.image-net.org: unpack ILSVRC2012_img_train.tar"
    " and ILSVRC2012_img_val.tar so that images lie at imagenet/train/<class>/ and imagenet/val/<class>/ below the root"
)
"""How to get ImageNet."""
REPAIR = "replace it, or remove it"
"""What to do about a damaged file: a tree of one's own cannot be had anew."""
LAYOUT = "a tree of images has them at train/<class>/<image> and val/<class>/<image>"
"""What any tree must look like."""
HELD_OUT = 10
"""Every tenth class of the training folder, from the first on, is val."""
ENDINGS = (".jpeg", ".jpg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")


@dataclass(frozen=True)
class ImageNetConfig(Settings):
    """Settings of `ImageNet`."""

    root: str = setting("", path=True)
    """The tree or a zip of it, or a folder that holds one as `imagenet*` or `imagenet*/*`; empty:
    $LIGHTNING_EBM_DATA."""
    size: int = setting(64, at_least=8)
    """Side of a crop in pixels, at most `side`."""
    side: int = setting(96, at_least=8, at_most=512)
    """Shorter side that images are scaled to before they are cut, in pixels. Only their middle square is kept:
    3 · side² bytes an image in the cache."""


class ImageNet(ImageSet):
    """Crops (3, size, size) of photographs, values in [0, 1]; classes are the folders.

    Test is the folder `val` (labels of the true test set are not public), val every tenth class of the folder `train`,
    train the rest. Images that two splits have in common are taken from the one that is named last here. Training crops
    lie anywhere, those of val and test in the middle.

    Raises:
        ValueError: if a crop would be larger than the images.
        DataError: if the images are missing, or one of them cannot be decoded.
    """

    config = ImageNetConfig
    citation = "Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge. IJCV 115(3), 2015"

    def __init__(self, config: ImageNetConfig = ImageNetConfig()) -> None:
        size, side = config.size, config.side
        if size > side:
            raise ValueError(f"data.size must be at most data.side={side} pixels, got {size}")
        self.spec = PatternSpec((3, size, size), binary=False)
        archive = open_archive(find_tree(config.root, "imagenet*", LAYOUT if config.root else CURE), REPAIR)
        parts = divide(archive)
        key = {"files": archive.fingerprint(), "side": side, "pillow": PIL.__version__, "format": 1}
        stored = filled(f"imagenet-{side}", key, lambda allocate: decode_all(archive, parts, side, allocate))
        self.splits = {
            split: ImageSplit(stored[f"{split}_images"][: len(labels)], np.asarray(labels))
            for split in parts
            for labels in [stored[f"{split}_labels"]]
        }

    def take(self, split: Split, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A crop of each image, anywhere in training, otherwise in the middle. See `ImageSet.take`."""
        size = self.spec.shape[1:]
        places = sliding_window_view(self.splits[split].images, size, axis=(2, 3))
        room = places.shape[2]
        if split != "train":
            return places[rows, :, (room - 1) // 2, (room - 1) // 2]
        top, left = random.integers(room, size=(2, len(rows)))
        return places[rows, :, top, left]


def divide(archive: Archive) -> dict[Split, dict[str, list[str]]]:
    """Which images belong to which class of which split.

    Args:
        archive: files `.../train/<class>/<image>` and `.../val/<class>/<image>`.

    Returns:
        Names of images by class by split, the most important split first, classes in order.

    Raises:
        DataError: if a folder has no images, or there is one training class only.
    """
    folders: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}}
    for name in archive.names:
        *_, folder, kind, file = ("", "", *PurePosixPath(name).parts)
        if folder in folders and file.lower().endswith(ENDINGS):
            folders[folder].setdefault(kind, []).append(name)
    for folder, kinds in folders.items():
        if len(kinds) < (2 if folder == "train" else 1):
            there = f"such files as {', '.join(archive.names[:3])}" if archive.names else "no files"
            raise DataError(
                f"{archive.path} has {len(kinds)} classes of images {folder}/<class>/<image>, and {there}: {LAYOUT}"
            )
    held_out = list(folders["train"])[::HELD_OUT]
    return {
        "test": folders["val"],
        "val": {kind: folders["train"][kind] for kind in held_out},
        "train": {kind: names for kind, names in folders["train"].items() if kind not in held_out},
    }


def decode_all(archive: Archive, parts: dict[Split, dict[str, list[str]]], side: int, allocate: Allocate) -> None:
    """Decodes the images of all splits, but those that an earlier split has.

    Args:
        archive: where they are.
        parts: as `divide` gives them.
        side: side of the squares that are kept, in pixels.
        allocate: makes the arrays `<split>_images`, (images or a few more, 3, side, side), and `<split>_labels`.
    """
    earlier: set[bytes] = set()
    for split, kinds in parts.items():
        images = allocate(f"{split}_images", (sum(map(len, kinds.values())), 3, side, side), np.uint8)
        labels: list[int] = []
        contents: set[bytes] = set()
        for label, names in enumerate(kinds.values()):
            for name in names:
                image = square(decode(archive.read(name), archive.where(name), archive.cure), side)
                content = hashlib.sha256(image.tobytes()).digest()
                if content not in earlier:
                    images[len(labels)] = image
                    labels.append(label)
                    contents.add(content)
        earlier |= contents
        allocate(f"{split}_labels", (len(labels),), np.int64)[...] = labels


def square(image: Image.Image, side: int) -> np.ndarray:
    """The middle square of an image, scaled: (3, side, side), uint8."""
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    scaled = image.resize((side, side), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    return np.ascontiguousarray(np.asarray(scaled).transpose(2, 0, 1))
