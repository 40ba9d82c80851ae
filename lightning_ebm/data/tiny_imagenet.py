"""Tiny ImageNet: 64x64 photographs of 200 classes of ImageNet, read from the zip of Stanford's course CS231n."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from lightning_ebm.data.archive import Archive, MissingError, data_root, find_tree, open_archive
from lightning_ebm.data.download import Remote, fetch
from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.imagenet import HELD_OUT, Parts, decoded
from lightning_ebm.data.images import ImageSet
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

PATTERN = "tiny*imagenet*"
PUBLISHED = Remote("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")
CURE = f"get it from {PUBLISHED.url}, or with data.download=true"
SIDE = 64


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
    training set, train the rest.
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
        self.splits = decoded("tiny_imagenet", archive, divide(archive), SIDE, exact=True)


def divide(archive: Archive) -> Parts:
    """The images `train/<class>/images/*.JPEG`, and `val/images/*.JPEG` with classes from `val/val_annotations.txt`."""
    training: dict[str, list[str]] = {}
    for name in archive.names:
        *_, folder, kind, images, file = ("", "", "", *PurePosixPath(name).parts)
        if folder == "train" and images == "images" and file.endswith(".JPEG"):
            training.setdefault(kind, []).append(name)
    kinds = sorted(training)
    annotated = read_annotations(archive)
    if len(kinds) < 2:
        raise DataError(f"{archive.path} has {len(kinds)} classes of images train/<class>/images/: {archive.cure}")
    for name, kind in annotated.items():
        if kind not in training:
            raise DataError(f"{archive.where(name)} is of class {kind!r}, which train has not: {archive.cure}")
    parts: Parts = {"test": {name: kinds.index(annotated[name]) for name in sorted(annotated)}, "val": {}, "train": {}}
    for number, kind in enumerate(kinds):
        parts["train" if number % HELD_OUT else "val"] |= dict.fromkeys(training[kind], number)
    return parts


def read_annotations(archive: Archive) -> dict[str, str]:
    """The class of each image of the validation set, by the image's name in the archive."""
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
