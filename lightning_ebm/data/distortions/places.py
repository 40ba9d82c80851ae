"""Where distortions strike: some places of a pattern, or a block of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lightning_ebm.data.distortions.strength import Strength
from lightning_ebm.memory import PatternSpec


def some_of(places: int, counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Chooses places; all sets of the wanted size are equally likely.

    Args:
        places: how many there are.
        counts: how many to choose for each pattern, (items,), each from 0 to `places`.
        random: the only source of randomness.

    Returns:
        (items, places), bool, with `counts` True in each row.
    """
    lots = random.random((len(counts), places))
    last = np.maximum(counts - 1, 0)
    ordered = np.partition(lots, np.unique(last), axis=1)  # in order where it is read
    greatest = np.take_along_axis(ordered, last[:, None], axis=1)
    chosen: np.ndarray = (lots <= greatest) & (counts[:, None] > 0)
    return chosen


def some_pixels(shape: tuple[int, ...], shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Chooses a share of the pixels of images (all channels of a pixel together), or of the values of other patterns.

    Args:
        shape: of one pattern; three axes are an image (channels, height, width).
        shares: for each pattern, (items,), in [0, 1]; rounded to whole numbers of pixels.
        random: the only source of randomness.

    Returns:
        (items, *pixels), bool; `pixels` is (1, height, width) for images, `shape` for others.
    """
    pixels = (1, *shape[1:]) if len(shape) == 3 else shape
    places = int(np.prod(pixels))
    return some_of(places, np.rint(shares * places).astype(np.int64), random).reshape(-1, *pixels)


def block_size(setting: Any, spec: PatternSpec, name: str) -> Strength:
    """The size of blocks in such patterns: values of a vector, or side of a square in an image, in pixels.

    Args:
        setting: `distortion.size`, a whole number or a range.
        spec: what the patterns look like.
        name: the distortion's, for errors.

    Raises:
        ValueError: if it is out of range, or the patterns are neither vectors nor images.
    """
    if len(spec.shape) not in (1, 3):
        raise ValueError(
            f"{name} distorts vectors and images (channels, height, width) only, not patterns of shape"
            f" {spec.shape}: choose another, such as random_pixels"
        )
    longest = min(spec.shape[-2:])
    limit = f"the {'shorter side' if len(spec.shape) == 3 else 'length of a vector'}, {longest}"
    return Strength.of(setting, "size", 1, longest, limit, whole=True)


def blocks(shape: tuple[int, ...], sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A block for each pattern: a stretch of a vector, or a square in all channels of an image.

    All positions where the block lies inside the pattern are equally likely.

    Args:
        shape: of one pattern, (length,) or (channels, height, width).
        sizes: length of the stretch or side of the square, (items,).
        random: the only source of randomness.

    Returns:
        (items, *shape), bool, True in the block; a copy that may be changed.
    """
    if len(shape) == 1:
        return stretches(shape[0], sizes, random)
    rows, columns = stretches(shape[1], sizes, random), stretches(shape[2], sizes, random)
    block = rows[:, None, :, None] & columns[:, None, None, :]
    return np.broadcast_to(block, (len(sizes), *shape)).copy()


def stretches(length: int, sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(items, length), bool: True along a random stretch of each size (items,)."""
    sizes = sizes[:, None]
    start = random.integers(length - sizes + 1)
    place = np.arange(length)
    stretch: np.ndarray = (start <= place) & (place < start + sizes)
    return stretch
