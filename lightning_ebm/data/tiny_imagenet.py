"""Tiny ImageNet: 64x64 photographs of 200 classes of ImageNet, read from the zip of Stanford's course CS231n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import PIL

from lightning_ebm.data.archive import Archive, MissingError, data_root, find_tree, open_archive
from lightning_ebm.data.download import Remote, fetch
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import ImageSet, ImageSplit, cached_splits, decode, without_shared
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

PATTERN = "tiny*imagenet*"
PUBLISHED = Remote("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")
CURE = f"get it from {PUBLISHED.url}, or with data.download=true"
SIDE = 64
HELD_OUT = 10
"""Every tenth class of the training images, from the first on, is val."""


@dataclass(frozen=True)
class TinyImageNetConfig(Settings):
    """Settings of `TinyImageNet`."""

    root: str = setting("", path=True)
    """The folder tiny-imagenet-200 or its zip, or a folder that holds one as `tiny*imagenet*` or `tiny*imagenet*/*`;
    empty: $LIGHTNING_EBM_DATA."""
    download: bool = False
    """Whether to fetch the zip if nothing is there."""
    augment: bool = False
    """Whether images of the train split are shifted by up to 2 pixels and mirrored left to right, at random."""


class TinyImageNet(ImageSet):
    """Colour images of 3x64x64 values in [0, 1]; classes are those of ImageNet.

    Test is the official validation set (labels of the true test set are not public), val every tenth class of the
    training set, train the rest. Images that two splits have in common are taken from the one that is named last here.

    Raises:
        DataError: if the images are missing, or one of them cannot be decoded.
    """

    config = TinyImageNetConfig
    citation = "Le, Yang: Tiny ImageNet visual recognition challenge. CS 231N, Stanford, 2015"

    def __init__(self, config: TinyImageNetConfig = TinyImageNetConfig()) -> None:
        self.augment = config.augment
        self.spec = PatternSpec((3, SIDE, SIDE), binary=False)
        try:
            path = find_tree(config.root, PATTERN, CURE)
        except MissingError:
            if not config.download:
                raise
            path = fetch(PUBLISHED, data_root(config.root, PATTERN, CURE) / "tiny_imagenet" / PUBLISHED.name)
        archive = open_archive(path, f"remove {path}, and {CURE}")
        key = {"files": archive.fingerprint(), "pillow": PIL.__version__, "format": 1}
        self.splits = cached_splits("tiny_imagenet", key, lambda: read_all(archive))


def read_all(archive: Archive) -> dict[Split, ImageSplit]:
    """The splits, from `train/<class>/images/*.JPEG`, `val/images/*.JPEG` and `val/val_annotations.txt`.

    Raises:
        DataError: if one of these is missing or damaged.
    """
    classes: dict[str, str] = {}  # of each image, by its name
    for name in archive.names:
        *_, folder, kind, images, file = ("", "", "", *PurePosixPath(name).parts)
        if folder == "train" and images == "images" and file.endswith(".JPEG"):
            classes[name] = kind
    training = sorted(set(classes.values()))
    validation = read_annotations(archive)
    if len(training) < 2:
        raise DataError(f"{archive.path} has {len(training)} classes of images train/<class>/images/: {archive.cure}")
    held_out = set(training[::HELD_OUT])
    return without_shared(
        {
            "test": read_images(archive, validation, training),
            "val": read_images(archive, {name: kind for name, kind in classes.items() if kind in held_out}, training),
            "train": read_images(
                archive, {name: kind for name, kind in classes.items() if kind not in held_out}, training
            ),
        }
    )


def read_annotations(archive: Archive) -> dict[str, str]:
    """The class of each image of the validation set, by the image's name in the archive.

    Raises:
        DataError: if the table is missing or damaged, or names an image that is missing.
    """
    tables = [name for name in archive.names if name.endswith("val/val_annotations.txt")]
    if len(tables) != 1:
        raise DataError(f"{archive.path} has {len(tables)} files val/val_annotations.txt, not 1: {archive.cure}")
    folder = PurePosixPath(tables[0]).parent / "images"
    there = set(archive.names)
    classes: dict[str, str] = {}
    for line in archive.read(tables[0]).decode("utf-8", errors="replace").splitlines():
        file, _, rest = line.partition("\t")
        name = str(folder / file)
        if name not in there or not rest:
            raise DataError(f"{archive.where(tables[0])} names {file!r}, which is missing: {archive.cure}")
        classes[name] = rest.partition("\t")[0]
    if not classes:
        raise DataError(f"{archive.where(tables[0])} names no images: {archive.cure}")
    return classes


def read_images(archive: Archive, classes: dict[str, str], known: Sequence[str]) -> ImageSplit:
    """Decodes images, in the order of their names.

    Args:
        archive: where they are.
        classes: the class of each by name.
        known: all classes, in the order of their numbers.

    Raises:
        DataError: if one cannot be decoded, has another size, or is of no known class.
    """
    names = sorted(classes)
    images = np.empty((len(names), 3, SIDE, SIDE), np.uint8)
    labels = np.empty(len(names), np.int64)
    number = {kind: index for index, kind in enumerate(known)}
    for row, name in enumerate(names):
        image = decode(archive.read(name), archive.where(name), archive.cure)
        if image.size != (SIDE, SIDE):
            raise DataError(f"{archive.where(name)} has {image.width}x{image.height} pixels, not 64x64: {archive.cure}")
        if classes[name] not in number:
            raise DataError(f"{archive.where(name)} is of class {classes[name]!r}, which train has not: {archive.cure}")
        images[row] = np.asarray(image).transpose(2, 0, 1)
        labels[row] = number[classes[name]]
    return ImageSplit(images, labels)
