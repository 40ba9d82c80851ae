"""What all sets of images share, so that one file a set says only where its images come from; reading image files."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageOps

from lightning_ebm.data.archive import read_whole
from lightning_ebm.data.cache import Arrays, cached
from lightning_ebm.data.episodes import ANY, DataError, PatternSource, Sampling, Split
from lightning_ebm.memory import PatternSpec, image_shape
from lightning_ebm.signals import reason

FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM")
"""Of image files, as Pillow calls them; of others, some would start another program."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")
"""Of image files in a tree of them; small and capital letters are the same."""
LARGEST = 2**26
"""Pixels of an image that may be decoded; the largest of ImageNet has about 2^25."""
SHIFT = 2
"""Pixels that augmentation shifts an image by, at most, in each direction."""
TONED = 0.15
"""Share of grey or coloured pixels up to which an image is a drawing: 2 % of CIFAR-10's have less, scans of ink too."""
INKED = 2048
"""Side in pixels to which a large drawing is shrunk before ink is separated from paper."""


@dataclass(frozen=True)
class ImageSplit:
    """One split of a set of images.

    Attributes:
        images: (count, ...), uint8: 0 and 1 in binary sets, 0 to 255 in others; a memory map if it came from the cache.
        labels: (count,), whole numbers from 0: the class of each image.
    """

    images: np.ndarray
    labels: np.ndarray

    @cached_property
    def members(self) -> list[np.ndarray]:
        """The rows of each class that has any, in order."""
        order = np.argsort(self.labels, kind="stable")
        _, first = np.unique(self.labels[order], return_index=True)
        return np.split(order, first[1:])

    @cached_property
    def least(self) -> np.ndarray:
        """Images that any 1, 2, ... classes hold together at least."""
        return np.cumsum(np.sort([len(rows) for rows in self.members]))

    def __getitem__(self, rows: slice) -> ImageSplit:
        return ImageSplit(np.asarray(self.images)[rows], self.labels[rows])

    def __getstate__(self) -> dict[str, Any]:
        """For processes that are spawned: a memory map travels as the name of its file, not as its contents."""
        state = {key: value for key, value in vars(self).items() if key not in ("members", "least")}
        if isinstance(self.images, np.memmap):  # of the file's first rows
            state["images"] = (str(self.images.filename), len(self.images))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["images"], tuple):
            file, count = state["images"]
            state = state | {"images": np.load(file, mmap_mode="r", allow_pickle=False)[:count]}
        vars(self).update(state)

    def __len__(self) -> int:
        return len(self.labels)


class ImageSet(PatternSource):
    """A data set of images, held as bytes; an episode is assembled by one indexing operation.

    Attributes:
        splits: its parts. They share no image: what test has is taken from val and train, what val has from train.
        cure: what to do if a split is missing, in sets that may lack one.
        dark_is_one: whether dark pixels, such as ink, become 1, as in sets of drawings.
        turnable: whether what is turned or upside down belongs to the set as well, and not only what is mirrored.
        augment: whether images of the train split, and of no other, are shifted and mirrored at random.
    """

    cure: ClassVar[str] = ""
    dark_is_one: ClassVar[bool] = False
    turnable: ClassVar[bool] = False
    augment: bool = False
    splits: Mapping[Split, ImageSplit]

    def draw(self, split: Split, count: int, random: np.random.Generator, sampling: Sampling = ANY) -> np.ndarray:
        """See `PatternSource.draw`."""
        rows = self.choose(split, count, random, sampling)
        images = self.take(split, rows, random)
        if self.augment and split == "train":
            images = mirrored(shifted(images, random), random, self.turnable)
        return images.astype(np.float32) if self.spec.binary else np.divide(images, np.float32(255), dtype=np.float32)

    def choose(self, split: Split, count: int, random: np.random.Generator, sampling: Sampling) -> np.ndarray:
        """Rows of `count` images, all equally likely: of the whole split, or of the classes drawn first."""
        if split not in self.splits:
            raise DataError(f"{type(self).__name__} has no {split} images here: {self.cure}")
        part, classes, name = self.splits[split], sampling.classes, type(self).__name__
        if classes > len(part.members):
            raise DataError(
                f"episodes.classes must be at most {len(part.members)}, the {split} classes of {name}, got {classes}"
            )
        least = part.least[classes - 1] if classes else len(part)
        if count > least and not sampling.with_replacement:
            fewest = f" in episodes.classes={classes} classes that have fewest" if classes else ""
            raise DataError(
                f"episodes.patterns_per_episode must be at most {least}, the {split} images of {name}{fewest},"
                f" got {count} (episodes.with_replacement=true allows more)"
            )
        if not classes:
            return random.choice(len(part), count, replace=sampling.with_replacement)
        drawn = random.choice(len(part.members), classes, replace=False)
        rows = np.concatenate([part.members[index] for index in drawn])
        return rows[random.choice(len(rows), count, replace=sampling.with_replacement)]

    def take(self, split: Split, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The images of rows as `choose` gives them: (rows, *shape), uint8. A set that cuts its images overrides it."""
        return self.splits[split].images[rows]


def shifted(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Images (count, channels, height, width), each shifted by up to `SHIFT` pixels; what comes in repeats the edge."""
    count, _, *size = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    places = sliding_window_view(padded, tuple(size), axis=(2, 3))
    top, left = random.integers(2 * SHIFT + 1, size=(2, count))
    return places[np.arange(count), :, top, left]


def mirrored(images: np.ndarray, random: np.random.Generator, turnable: bool) -> np.ndarray:
    """Images (count, channels, height, width), each mirrored left to right or not.

    If they are `turnable`, and square, any of the eight symmetries of the square is drawn instead.
    """
    across, down, over = random.integers(2, size=(3, len(images), 1, 1, 1), dtype=np.uint8).view(np.bool_)
    images = np.where(across, images[..., ::-1], images)
    if turnable:  # across and down make the four of the rectangle; the diagonal doubles them
        images = np.where(down, images[..., ::-1, :], images)
        images = np.where(over, images.swapaxes(-1, -2), images)
    return images


def cached_splits(
    name: str, key: Mapping[str, object], build: Callable[[], dict[Split, ImageSplit]]
) -> dict[Split, ImageSplit]:
    """The splits that `build` returns, memory-mapped from the cache if they were built before; see `cached`."""

    def arrays() -> Arrays:
        return {
            f"{split}_{kind}": getattr(part, kind) for split, part in build().items() for kind in ("images", "labels")
        }

    return splits_of(cached(name, key, arrays))


def splits_of(stored: Arrays) -> dict[Split, ImageSplit]:
    """The splits among `<split>_images` and `<split>_labels` of the cache; images without a label are left out."""
    return {
        split: ImageSplit(stored[f"{split}_images"][: len(labels)], np.asarray(labels))
        for split in get_args(Split)
        if (labels := stored.get(f"{split}_labels")) is not None
    }


def without_shared(splits: Mapping[Split, ImageSplit]) -> dict[Split, ImageSplit]:
    """Takes from each split the images that an earlier, more important one has."""
    seen: set[bytes] = set()
    result: dict[Split, ImageSplit] = {}
    for split, part in splits.items():
        contents = [image.tobytes() for image in part.images]
        new = np.array([content not in seen for content in contents], dtype=bool)
        result[split] = part if new.all() else ImageSplit(part.images[new], part.labels[new])
        seen.update(contents)
    return result


def decode(content: bytes, where: str, cure: str, side: int | None = None) -> Image.Image:
    """The image in an untrusted file, whatever its suffix: the only reader of images.

    It is in RGB with 8 bits a channel, and upright; what is transparent shows white paper. An image of too many pixels
    is refused before it is decoded. Of several frames the first one counts. Colour profiles are ignored.

    Args:
        content: the file.
        where: what to call it in an error.
        cure: what to do about it, the end of an error.
        side: in pixels, that the image must have, a square; None: it may have any size.

    Raises:
        DataError: if it is not an image, is cut off or of a wrong size, or if its black and white levels are unknown.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, and of sizes that are refused here
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            if side and image.size != (side, side):
                wrong = f"not {side}x{side}"
            elif image.width * image.height > LARGEST:
                wrong = f"more than {LARGEST:,}: shrink it"
            else:
                image.load()
                with contextlib.suppress(Exception):  # metadata that cannot be read say nothing
                    ImageOps.exif_transpose(image, in_place=True)
                return on_paper(image)
    except Image.UnidentifiedImageError as error:
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        found = f"it begins with {content[:12]!r}, and is not a {kinds} that Pillow reads"
        raise DataError(f"{where} cannot be decoded ({found}): {cure}") from error
    except Exception as error:  # damage can show as almost any
        raise DataError(f"{where} cannot be decoded ({reason(error)}): {cure}") from error
    raise DataError(f"{where} has {image.width}x{image.height} pixels, {wrong}: {cure}")


def on_paper(image: Image.Image) -> Image.Image:
    """The image in RGB, on white paper; `ValueError` if nothing says which of its numbers are black and white."""
    if 2 in getattr(image, "tag_v2", {}).get(339, ()):
        raise ValueError("its numbers have signs, and nothing says which of them are black and white")
    if image.mode[0] in "IF":
        return Image.fromarray(eight_bits(image)).convert("RGB")
    if image.mode[-1] not in "Aa" and "transparency" not in image.info:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
    return Image.alpha_composite(paper, image.convert(straight).convert("RGBA")).convert("RGB")


def eight_bits(image: Image.Image) -> np.ndarray:
    """Grey values of more than 8 bits, scaled to 0 to 255: (height, width), uint8. Pillow itself would cut them off."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF file: bits 258, polarity 262
    if image.mode.startswith("I;16"):
        white = 2 ** tags.get(258, (16,))[0] - 1
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        white = 2**16 - 1
    elif image.mode == "F":
        white = 1
    else:
        raise ValueError("nothing says which of its 32-bit numbers is white; save it with 8 or 16 bits")
    values = np.asarray(image).astype(np.float32)
    if not (values.min() >= 0 and values.max() <= white):  # written so that NaN fails too
        raise ValueError(
            f"its values, {values.min():g} to {values.max():g}, are not within 0 (black) and {white} (white)"
        )
    scaled = np.rint(values * (255 / white)).astype(np.uint8)
    if "transparency" in image.info:
        scaled[values == image.info["transparency"]] = 255
    return 255 - scaled if tags.get(262) == 0 else scaled


def read_image(path: Path) -> Image.Image:
    """An image file of a user's own, read by `decode`, with its errors."""
    cure = "give images as PNG, JPEG, WebP, GIF, TIFF or BMP"
    return decode(read_whole(path, 2**27, cure), str(path), cure)


def is_drawing(image: Image.Image) -> bool:
    """Whether an image, RGB, is dark on light or light on dark: few of its pixels are grey or in a colour."""
    step = 1 + max(image.size) // INKED
    pixels = np.asarray(image)[::step, ::step].astype(np.int16)
    grey = pixels.mean(2)
    darkest, brightest = np.percentile(grey, (1, 99))
    between = np.abs(grey - (darkest + brightest) / 2) < (brightest - darkest) / 4
    in_colour = np.ptp(pixels, axis=2) > 64
    return bool((between | in_colour).mean() <= TONED)


def as_pattern(image: Image.Image, spec: PatternSpec, dark_is_one: bool) -> np.ndarray:
    """The middle square of an image, RGB and of any size, as a pattern: of the spec's shape, float32 in [0, 1].

    Of binary patterns, a value is 1 where at least half of its area was ink, as Omniglot's are made: darker than middle
    grey, or not darker where what is bright is 1.

    Raises:
        ValueError: if patterns are not square images of one channel or three.
    """
    channels, height, width = image_shape(spec)
    if height != width or channels not in (1, 3) or (spec.binary and channels != 1):
        raise ValueError(f"images become square patterns of one grey or three colour channels, not {spec}")
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    square = image.convert("RGB" if channels == 3 else "L").crop((left, top, left + short, top + short))
    if spec.binary:
        if short > INKED:
            square = square.resize((INKED, INKED), Image.Resampling.BOX)
        ink = (np.asarray(square) < 128) == dark_is_one
        return shrink(ink[None], width).astype(np.float32)
    values = np.asarray(square.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))
    return np.divide(values.reshape(height, width, channels).transpose(2, 0, 1), np.float32(255), dtype=np.float32)


def shrink(ink: np.ndarray, size: int) -> np.ndarray:
    """Shrinks drawings: a pixel is ink where at least half of its area was, so "binarised at 0.5".

    At 32x32 this keeps the share of ink (7.8 %), and in 98 % of the drawings the number of unconnected parts.
    Bilinear and Lanczos filters do as well, lower thresholds worse: strokes thicken and merge.

    `ink` is (count, side, side), bool, of a side of at most 2048; the result is (count, size, size), bool.
    """
    # Overlaps of new pixels, `side` units wide, with old ones, `size` units wide. Products and sums are whole
    # numbers below 2^24, exact in float32: the result is the same on every machine.
    side = ink.shape[-1]
    new, old = np.arange(size)[:, None], np.arange(side)
    overlap = np.minimum((new + 1) * side, (old + 1) * size) - np.maximum(new * side, old * size)
    weight = np.maximum(overlap, 0).astype(np.float32)
    return weight @ ink.astype(np.float32) @ weight.T * 2 >= side * side
