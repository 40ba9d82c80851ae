"""Half of a pattern lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.distortions.filling import erased, noise
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec


@dataclass
class HalfConfig:
    """Settings of `Half`.

    Attributes:
        side: which half is lost: left, right, top or bottom of an image, left (first) or right (second) of a
            vector; random draws one of them for each pattern.
        fill: what takes its place: noise, or the value 0, 0.5 or 1.
    """

    side: str = "random"
    fill: Any = "noise"


class Half(Distortion):
    """Replaces half of an image or of a vector by noise or by one value. Of an odd side, it is the smaller half.

    The noise is uniform, or bits for binary patterns; with the value 0.5, queries of binary patterns are no
    longer binary.

    Args:
        spec: what the patterns look like: vectors, or images (channels, height, width).
        side: as in `HalfConfig`.
        fill: as in `HalfConfig`.

    Raises:
        ValueError: if the patterns are neither or have a side of one value, or a setting is not allowed.
    """

    config = HalfConfig

    def __init__(self, spec: PatternSpec, side: str = "random", fill: Any = "noise") -> None:
        if len(spec.shape) not in (1, 3) or min(spec.shape[-2:]) < 2:
            raise ValueError(
                "half distorts vectors and images (channels, height, width) with sides of at least 2, not patterns"
                f" of shape {spec.shape}: choose another, such as random_pixels"
            )
        halves = half_masks(spec.shape)
        allowed = ("random", *halves)
        if side not in allowed:
            raise ValueError(f"distortion.side must be one of {', '.join(allowed)}, got {side!r}")
        self.halves = np.stack([mask for name, mask in halves.items() if side in ("random", name)])
        self.fill, self.binary = erased(fill, "fill", also=("noise",)), spec.binary

    @classmethod
    def from_config(cls, config: HalfConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        return cls(spec, config.side, config.fill)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        mask = self.halves[random.integers(len(self.halves), size=len(patterns))]
        new = noise(patterns.shape, self.binary, random) if self.fill == "noise" else np.float32(self.fill)
        return np.where(mask, new, patterns), mask


def half_masks(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Name -> mask of `shape`, True in that half; the middle of an odd side is in neither."""
    axes = {-1: ("left", "right"), -2: ("top", "bottom")}
    masks = {}
    for axis in (-1, -2)[: len(shape)]:
        length, first = shape[axis], np.arange(shape[axis]) < shape[axis] // 2
        along = [1] * len(shape)
        along[axis] = length
        for name, half in zip(axes[axis], (first, first[::-1]), strict=True):
            masks[name] = np.broadcast_to(half.reshape(along), shape)
    return masks
