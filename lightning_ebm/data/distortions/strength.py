"""How strong a distortion is: a number, or a range of which each pattern draws its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class Strength:
    """A number for all patterns, or a range of equally likely numbers, one drawn for each pattern.

    Attributes:
        low: the least number.
        high: the greatest; equal to `low` if the number is fixed.
        whole: whether only whole numbers are drawn; both ends are then included.
    """

    low: float
    high: float
    whole: bool = False

    @classmethod
    def of(cls, setting: Any, key: str, least: float, most: float, limit: str = "", whole: bool = False) -> Self:
        """Reads a setting.

        Args:
            setting: a number, or a list [low, high] of two.
            key: the setting's name, for errors.
            least: the least number allowed.
            most: the greatest number allowed.
            limit: how errors name the greatest, such as "the 128 bits there are".
            whole: whether the numbers must be whole.

        Raises:
            ValueError: if it is anything else, or out of range; the message names the key.
        """
        numbers = list(setting) if isinstance(setting, Sequence) and not isinstance(setting, str) else [setting] * 2
        kind = int if whole else (int, float)
        if len(numbers) != 2 or not all(isinstance(n, kind) and not isinstance(n, bool) for n in numbers):
            number = "whole number" if whole else "number"
            raise ValueError(f"distortion.{key} must be a {number} or a range [low, high] of them, got {setting!r}")
        low, high = numbers
        if not (least <= low and high <= most):  # written so that NaN fails too
            raise ValueError(
                f"distortion.{key} must lie between {least:g} and {limit or format(most, 'g')}, got {setting}"
            )
        if low > high:
            raise ValueError(f"distortion.{key} must be a range [low, high] that rises, got {setting}")
        return cls(low, high, whole)

    def draw(self, items: int, random: np.random.Generator) -> np.ndarray:
        """(items,): the number for each pattern, int64 or float64. A fixed number leaves the generator alone."""
        if self.low == self.high:
            return np.full(items, self.low, np.int64 if self.whole else np.float64)
        if self.whole:
            return random.integers(int(self.low), int(self.high), size=items, endpoint=True)
        return random.uniform(self.low, self.high, size=items)
