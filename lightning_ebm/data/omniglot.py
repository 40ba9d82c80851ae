"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people; read from the authors' zips."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np
from PIL import Image

from lightning_ebm.data.cache import cached
from lightning_ebm.data.episodes import DataError, PatternSource, Split
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import did_you_mean

SIDE = 105  # of the drawings, in pixels
LARGEST = 2**20  # bytes of a drawing's file; the real ones have about 250
CURE = "get it anew from https://github.com/brendenlake/omniglot, folder python"
HELD_OUT = (
    *("Alphabet_of_the_Magi", "Anglo-Saxon_Futhorc", "Burmese_(Myanmar)"),
    *("Korean", "Syriac_(Estrangelo)"),
)
"""Background alphabets for validation: 146 of the 964 characters."""


@dataclass
class OmniglotConfig:
    """Settings of `Omniglot`.

    Attributes:
        root: folder that holds the zips, or holds them in a folder `omniglot`; empty: $LIGHTNING_EBM_DATA.
        size: side of an image in pixels, 28 to 105.
        validation: names of the background alphabets that are held out of training.
    """

    root: str = ""
    size: int = 32
    validation: list[str] = field(default_factory=lambda: list(HELD_OUT))


class Omniglot(PatternSource):
    """Handwritten characters; train, val and test are different alphabets.

    Test is the evaluation set, val the held-out alphabets of the background set, train its rest. Images that
    two splits have in common are taken from the one that is named last here (at 32x32 there are none).
    Patterns of an episode are images drawn uniformly without repetition, as in the EBMM paper; two of them
    may be drawings of one character.

    Ink is 1 and paper 0, the reverse of the files.

    Args:
        root: as in `OmniglotConfig`.
        size: as in `OmniglotConfig`.
        validation: as in `OmniglotConfig`.

    Raises:
        ValueError: if `size` is out of range.
        DataError: if a zip is missing or damaged, or a validation alphabet is not in it.
    """

    config = OmniglotConfig
    citation = (
        "Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program"
        " induction. Science 350(6266), 2015"
    )

    def __init__(self, root: str = "", size: int = 32, validation: Sequence[str] = HELD_OUT) -> None:
        if not 28 <= size <= SIDE:  # below, many drawings become equal, even across splits
            raise ValueError(f"data.size must lie between 28 and {SIDE} pixels, got {size}")
        self.spec = PatternSpec((1, size, size), binary=True)
        background = find_zip(root, "images_background.zip")
        evaluation = find_zip(root, "images_evaluation.zip")

        images, alphabets = load(background, size)
        held_out = np.isin(alphabets, np.array(list(validation), dtype=str))
        if unknown := sorted(set(validation) - set(alphabets[held_out])):
            hint = did_you_mean(unknown[0], set(alphabets.tolist()))
            raise DataError(f"data.validation: {background} has no alphabet {unknown[0]!r}.{hint}")
        self.splits = without_shared(
            {"test": load(evaluation, size)[0], "val": images[held_out], "train": images[~held_out]}
        )

    @classmethod
    def from_config(cls, config: OmniglotConfig) -> Self:
        """See `PatternSource.from_config`."""
        return cls(config.root, config.size, config.validation)

    def draw(self, split: Split, count: int, random: np.random.Generator) -> np.ndarray:
        """Draws `count` different images: (count, 1, size, size). See `PatternSource.draw`."""
        images = self.splits[split]
        if count > len(images):
            raise DataError(
                f"episodes.items must be at most {len(images)}, the {split} images of Omniglot, got {count}"
                " (data.validation names the alphabets that are val instead of train)"
            )
        return images[random.choice(len(images), count, replace=False)].astype(np.float32)


def find_zip(root: str, name: str) -> Path:
    """Where a zip lies.

    Raises:
        DataError: if it lies nowhere, or no root is given.
    """
    root = root or os.environ.get("LIGHTNING_EBM_DATA", "")
    if not root:
        raise DataError(f"where is {name}? Set data.root or $LIGHTNING_EBM_DATA to its folder; or {CURE}")
    places = [Path(root).expanduser() / "omniglot" / name, Path(root).expanduser() / name]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"{places[0]} is missing: set data.root or $LIGHTNING_EBM_DATA to its folder; or {CURE}")


def load(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of a zip, from the cache if they have been read before.

    Args:
        path: the zip.
        size: side of an image in pixels.

    Returns:
        Images (count, 1, size, size), uint8, ink 1 and paper 0; their alphabets (count,), strings.

    Raises:
        DataError: if the zip is damaged, or has no images.
    """
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): mend that, or {CURE}") from error
    key = {"zip": content, "size": size, "format": 1}  # another format when what is stored changes
    stored = cached(f"omniglot-{size}", key, lambda: read_zip(path, size))
    return np.unpackbits(stored["bits"], axis=-1, count=size)[:, None], stored["alphabets"]


def read_zip(path: Path, size: int) -> dict[str, np.ndarray]:
    """Decodes and shrinks all drawings of a zip, in the order of their names.

    Returns:
        `bits`: (count, size, ceil(size / 8)), uint8, eight pixels a byte; `alphabets`: (count,), strings.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} is no whole zip file ({error}): {CURE}") from error
    bits = []
    with archive:
        names = sorted(name for name in archive.namelist() if is_drawing(name))
        if not names:
            raise DataError(f"{path} has no images <alphabet>/<character>/<drawing>.png: {CURE}")
        for first in range(0, len(names), 1000):  # a thousand at a time, to save memory
            ink = np.stack([read_png(archive, name) for name in names[first : first + 1000]])
            bits.append(np.packbits(shrink(ink, size), axis=-1))
    alphabets = [PurePosixPath(name).parts[-3] for name in names]
    return {"bits": np.concatenate(bits), "alphabets": np.array(alphabets)}


def is_drawing(name: str) -> bool:
    """Whether a member of the zip is a drawing; not so a folder, or what macOS leaves there."""
    parts = PurePosixPath(name).parts
    return len(parts) >= 3 and name.endswith(".png") and parts[0] != "__MACOSX"


def read_png(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """The ink of one drawing: (SIDE, SIDE), bool. What is absurdly large is refused before it is unpacked.

    Raises:
        DataError: if it cannot be decoded, or has another size.
    """
    where = f"{name} in {archive.filename}"
    if archive.getinfo(name).file_size > LARGEST:
        raise DataError(f"{where} is larger than {LARGEST} bytes, so no drawing: {CURE}")
    try:
        image = Image.open(io.BytesIO(archive.read(name)), formats=["PNG"])
        if image.size == (SIDE, SIDE):
            return np.asarray(image.convert("L")) < 128
    except DECODING_ERRORS as error:
        raise DataError(f"{where} cannot be decoded ({error}): {CURE}") from error
    raise DataError(f"{where} has {image.width}x{image.height} pixels, not {SIDE}x{SIDE}: {CURE}")


DECODING_ERRORS: tuple[type[Exception], ...] = (  # what zipfile and Pillow are seen to raise on damaged input
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, SyntaxError, struct.error),
    *(RuntimeError, NotImplementedError, Image.DecompressionBombError),
)


def shrink(ink: np.ndarray, size: int) -> np.ndarray:
    """Shrinks drawings: a pixel is ink where at least half of its area was, so "binarised at 0.5".

    At 32x32 this keeps the share of ink (7.8 %), and in 98 % of the drawings the number of unconnected parts.
    Bilinear and Lanczos filters do as well, lower thresholds worse: strokes thicken and merge.

    Args:
        ink: (count, SIDE, SIDE), bool.
        size: the new side.

    Returns:
        (count, size, size), bool.
    """
    # Overlaps of new pixels, SIDE units wide, with old ones, `size` units wide. Products and sums are whole
    # numbers below 2^24, exact in float32: the result is the same on every machine.
    new, old = np.arange(size)[:, None], np.arange(SIDE)
    overlap = np.minimum((new + 1) * SIDE, (old + 1) * size) - np.maximum(new * SIDE, old * size)
    weight = np.maximum(overlap, 0).astype(np.float32)
    return weight @ ink.astype(np.float32) @ weight.T * 2 >= SIDE * SIDE


def without_shared(parts: dict[Split, np.ndarray]) -> dict[Split, np.ndarray]:
    """Takes from each part the images that an earlier part has.

    Args:
        parts: images (count, 1, size, size) by split, the most important split first.
    """
    seen: set[bytes] = set()
    result: dict[Split, np.ndarray] = {}
    for split, images in parts.items():
        contents = [image.tobytes() for image in images]
        result[split] = images[[content not in seen for content in contents]]
        seen.update(contents)
    return result
