"""What distortions put in: noise, or one value."""

from __future__ import annotations

from typing import Any

import numpy as np

ERASED = (0, 0.5, 1)
"""Values that erase: the darkest, the one between, which says nothing about a binary pattern, and the brightest."""


def noise(shape: tuple[int, ...], binary: bool, random: np.random.Generator) -> np.ndarray:
    """Independent float32 values: 0 or 1 with equal chances if `binary`, otherwise uniform in [0, 1)."""
    values = random.random(shape, np.float32)
    return (values < 0.5).astype(np.float32) if binary else values


def with_noise(patterns: np.ndarray, mask: np.ndarray, binary: bool, random: np.random.Generator) -> np.ndarray:
    """The patterns with noise where the mask is True.

    Bits are drawn for whole patterns, as they always were, so that published episodes stay what they are; other
    values for the places that need them, which is five times faster in images of 3x64x64.

    Args:
        patterns: (items, *shape), float32; not changed.
        mask: of the same shape, bool.
        binary: as in `noise`.
        random: the only source of randomness.
    """
    if binary:
        return np.where(mask, noise(patterns.shape, True, random), patterns)
    queries = patterns.copy()
    queries[mask] = noise((int(np.count_nonzero(mask)),), False, random)
    return queries


def erased(setting: Any, key: str, also: tuple[str, ...] = ()) -> Any:
    """A setting that is one of the values of `ERASED`, or one of the words of `also`.

    Raises:
        ValueError: if it is none of them; the message names the key.
    """
    allowed = (*also, *ERASED)
    if isinstance(setting, bool) or setting not in allowed:
        raise ValueError(f"distortion.{key} must be one of {', '.join(map(str, allowed))}, got {setting!r}")
    return setting
