"""Folder: the images of a user's own folder or zip."""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import PIL

from lightning_ebm.data.archive import Archive, data_root, open_archive
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import SUFFIXES, ImageSet, ImageSplit, as_pattern, cached_splits, decode, without_shared
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

CURE = f"data.root must be a folder or zip of images ({', '.join(SUFFIXES)})"
KINDS = {"colour": (3, False), "grey": (1, False), "drawing": (1, True)}
"""Channels of an image, and whether its values are binary."""


@dataclass(frozen=True)
class ImageFolderConfig(Settings):
    """Settings of `ImageFolder`."""

    root: str = setting("", path=True)
    """A folder, with or without folders in it, or a zip; empty: $LIGHTNING_EBM_DATA."""
    size: int = setting(32, at_least=8, at_most=256)
    """Side of a pattern in pixels."""
    kind: str = setting("colour", one_of=tuple(KINDS))
    """colour, grey, or drawing: binary patterns in which ink, darker than middle grey, is 1."""
    augment: bool = False
    """Whether images of the train split are shifted by up to 2 pixels and mirrored left to right, at random."""


class ImageFolder(ImageSet):
    """The middle squares of all images below a folder or in a zip, (1 or 3, size, size), values in [0, 1].

    Classes are the folders that hold the images. About one image in ten is for validation and one for the test; which
    one follows from a hash of its path, so new images leave the others in their splits.
    """

    config = ImageFolderConfig
    citation = "your own images"
    dark_is_one = True  # of drawings

    def __init__(self, config: ImageFolderConfig = ImageFolderConfig()) -> None:
        self.augment = config.augment
        channels, binary = KINDS[config.kind]
        self.spec = PatternSpec((channels, config.size, config.size), binary)
        root = data_root(config.root, "the folder of images", CURE)
        if not root.exists():
            raise DataError(f"data.root: {root} does not exist; {CURE}")
        archive = open_archive(Path(root), CURE)
        parts = divide(archive)
        key = {"files": archive.fingerprint(), "size": config.size, "kind": config.kind}
        key |= {"pillow": PIL.__version__, "format": 1}
        self.splits = cached_splits(f"folder-{config.size}", key, lambda: read(archive, parts, self.spec))


def divide(archive: Archive) -> dict[Split, list[str]]:
    """The names of the images of each split."""
    parts: dict[Split, list[str]] = {"test": [], "val": [], "train": []}
    for name in archive.names:
        if name.lower().endswith(SUFFIXES):
            tenth = hashlib.sha256(name.encode(errors="surrogateescape")).digest()[0] % 10
            parts["test" if tenth == 0 else "val" if tenth == 1 else "train"].append(name)
    if not all(parts.values()):
        counts = ", ".join(f"{len(names)} for {split}" for split, names in parts.items())
        raise DataError(f"{archive.path} has too few images ({counts}): {CURE}, 50 or more")
    return parts


def read(archive: Archive, parts: dict[Split, list[str]], spec: PatternSpec) -> dict[Split, ImageSplit]:
    """The images of each split as patterns, and their folders as labels."""
    folders = sorted({str(PurePosixPath(name).parent) for part in parts.values() for name in part})
    numbers = {folder: number for number, folder in enumerate(folders)}
    white = 1 if spec.binary else 255
    splits = {}
    for split, part in parts.items():
        images = (decode(archive.read(name), archive.where(name), f"remove it, or {CURE}") for name in part)
        patterns = np.stack([as_pattern(image, spec, ImageFolder.dark_is_one) for image in images])
        labels = np.array([numbers[str(PurePosixPath(name).parent)] for name in part])
        splits[split] = ImageSplit(np.rint(white * patterns).astype(np.uint8), labels)
    return without_shared(splits)
