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


def erased(setting: Any, key: str, also: tuple[str, ...] = ()) -> Any:
    """A setting that is one of the values of `ERASED`, or one of the words of `also`.

    Raises:
        ValueError: if it is none of them; the message names the key.
    """
    allowed = (*also, *ERASED)
    if isinstance(setting, bool) or setting not in allowed:
        raise ValueError(f"distortion.{key} must be one of {', '.join(map(str, allowed))}, got {setting!r}")
    return setting
