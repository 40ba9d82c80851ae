"""Image files of a user's own, as patterns of the kind that a data set has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lightning_ebm.data.archive import read_whole
from lightning_ebm.data.images import decode
from lightning_ebm.data.omniglot import shrink
from lightning_ebm.memory import PatternSpec, image_shape

CURE = "give images as PNG, JPEG, WebP, GIF, TIFF or BMP"
BYTES = 2**27
"""Of a file, at most."""
SIDE = 2048
"""Pixels a side that an image is shrunk to before it is told what is ink."""


def read_image(path: Path) -> Image.Image:
    """An image file, as `decode` reads it.

    Raises:
        DataError: if it cannot be read, is no image, cut off, or too large; the message names it.
    """
    return decode(read_whole(path, BYTES, CURE), str(path), CURE)


def as_pattern(image: Image.Image, spec: PatternSpec, dark_is_one: bool) -> np.ndarray:
    """The middle square of an image as a pattern.

    Of binary patterns, a value is 1 where at least half of its area was ink, as Omniglot's are made: darker than middle
    grey, or not darker where what is bright is 1.

    Args:
        image: of any size, RGB.
        spec: kind of the patterns: square images of one channel or three.
        dark_is_one: as in `ImageSet`.

    Returns:
        Of the spec's shape, float32 in [0, 1].

    Raises:
        ValueError: if the patterns are no such images.
    """
    channels, height, width = image_shape(spec)
    if height != width or channels not in (1, 3) or (spec.binary and channels != 1):
        raise ValueError(f"images become square patterns of one grey or three colour channels, not {spec}")
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    square = image.convert("RGB" if channels == 3 else "L").crop((left, top, left + short, top + short))
    if spec.binary:
        if short > SIDE:
            square = square.resize((SIDE, SIDE), Image.Resampling.BOX)
        ink = (np.asarray(square) < 128) == dark_is_one
        return shrink(ink[None], width).astype(np.float32)
    values = np.asarray(square.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))
    return np.divide(values.reshape(height, width, channels).transpose(2, 0, 1), np.float32(255), dtype=np.float32)
