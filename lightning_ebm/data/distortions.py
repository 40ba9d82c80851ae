"""Distortions: where queries differ from patterns, and what stands there. Each one says in its mask where that is.

A place (`block`, `pixels`, `half`) is filled with one of `FILLS`; `gaussian` adds noise to every value. Two of them are
those of Bartunov et al., "Meta-Learning Deep Energy-Based Memory Models", ICLR 2020: a block of noise for images, and
pixels of noise, half of which become wrong on average, for random binary patterns.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lightning_ebm.config import naming
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import choices, distortions
from lightning_ebm.settings import Settings, setting

FILLS = ("noise", "salt_and_pepper", "pattern", 0, 0.5, 1)
"""What can stand in a place.

noise: independent values, uniform in [0, 1), or bits for binary patterns.
salt_and_pepper: 0 or 1 with equal chances, the same in all channels of a pixel.
pattern: what another pattern of the episode has there (an occlusion); all others are equally likely, one must exist.
0, 0.5, 1: that value. With 0.5, queries of binary patterns are no longer binary.
"""


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
    def of(cls, value: Any, key: str, least: float, most: float, limit: str = "", whole: bool = False) -> Self:
        """Reads the setting `key`, a number or a list [low, high] of two from `least` to `most`.

        Raises:
            ValueError: if it is anything else, or out of range; the message names the key, and calls `most` `limit`.
        """
        numbers = list(value) if isinstance(value, list | tuple) else [value] * 2
        kind = int if whole else (int, float)
        if len(numbers) != 2 or not all(isinstance(n, kind) and not isinstance(n, bool) for n in numbers):
            number = "whole number" if whole else "number"
            raise ValueError(f"distortion.{key} must be a {number} or a range [low, high] of them, got {value!r}")
        low, high = numbers
        if not (least <= low and high <= most):  # written so that NaN fails too
            most_in_words = limit or format(most, "g")
            raise ValueError(f"distortion.{key} must lie between {least:g} and {most_in_words}, got {value}")
        if low > high:
            raise ValueError(f"distortion.{key} must be a range [low, high] that rises, got {value}")
        return cls(low, high, whole)

    def draw(self, items: int, random: np.random.Generator) -> np.ndarray:
        """(items,): the number for each pattern, int64 or float64. A fixed number leaves the generator alone."""
        if self.low == self.high:
            return np.full(items, self.low, np.int64 if self.whole else np.float64)
        if self.whole:
            return random.integers(int(self.low), int(self.high), size=items, endpoint=True)
        return random.uniform(self.low, self.high, size=items)


class Filled(Distortion):
    """A distortion that fills a place of each pattern, as `config.fill` says, one of `FILLS`."""

    noise_everywhere: ClassVar[bool] = False  # whether noise is drawn for whole patterns even if they are not binary

    def __init__(self, spec: PatternSpec, config: Any) -> None:
        self.fill, self.binary = config.fill, spec.binary

    @abstractmethod
    def place(self, items: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """Where `items` patterns of `shape` are filled: (items, *shape), bool."""

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        items = len(patterns)
        if self.fill == "pattern" and items < 2:
            raise ValueError(
                "fill: pattern takes values from other patterns: episodes.patterns_per_episode must be at least 2,"
                " got 1"
            )
        mask = self.place(items, patterns.shape[1:], random)
        if self.fill == "pattern":
            new = patterns[(np.arange(items) + random.integers(1, items, size=items)) % items]
        elif self.fill == "salt_and_pepper":
            new = bits((items, *pixels(patterns.shape[1:])), random)
        elif self.fill != "noise":
            new = np.float32(self.fill)
        elif self.binary:  # bits are drawn for whole patterns, so that published episodes stay what they are
            new = bits(patterns.shape, random)
        elif self.noise_everywhere:
            new = random.random(patterns.shape, np.float32)
        else:  # drawn where it is needed only, which is five times faster in images of 3x64x64
            new = np.zeros(patterns.shape, np.float32)
            new[mask] = random.random(int(np.count_nonzero(mask)), np.float32)
        return np.where(mask, new, patterns), mask


@dataclass(frozen=True)
class BlockConfig(Settings):
    """Settings of `Block`."""

    size: Any = 16
    """Side of the block in pixels, from 1 to the shorter side of an image, or length of a stretch of a vector; or a
    range [low, high] from which each pattern draws its own."""
    fill: str | int | float = setting("noise", one_of=FILLS)
    """What stands in it: noise, salt_and_pepper, pattern (what another pattern has there), 0, 0.5 or 1."""


class Block(Filled):
    """A square somewhere in an image, in all channels; in a vector, a stretch. All places are equally likely."""

    config = BlockConfig

    def __init__(self, spec: PatternSpec, config: BlockConfig = BlockConfig()) -> None:
        super().__init__(spec, config)
        if len(spec.shape) not in (1, 3):
            raise ValueError(
                "block distorts vectors and images (channels, height, width) only, not patterns of shape"
                f" {spec.shape}: choose another, such as pixels"
            )
        longest = min(spec.shape[-2:])
        limit = f"the {'shorter side' if len(spec.shape) == 3 else 'length of a vector'}, {longest}"
        self.size = Strength.of(config.size, "size", 1, longest, limit, whole=True)

    def place(self, items: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """See `Filled.place`."""
        sizes = self.size.draw(items, random)
        if len(shape) == 1:
            return stretches(shape[0], sizes, random)
        rows, columns = stretches(shape[1], sizes, random), stretches(shape[2], sizes, random)
        return np.broadcast_to(rows[:, None, :, None] & columns[:, None, None, :], (items, *shape)).copy()


@dataclass(frozen=True)
class PixelsConfig(Settings):
    """Settings of `Pixels`."""

    amount: Any = 0.25
    """How many: up to 1, a share of the pixels, rounded to a whole number of them; above 1, a whole number of pixels.
    Or a range [low, high] of either, from which each pattern draws its own."""
    fill: str | int | float = setting("noise", one_of=FILLS)
    """What stands in them: noise, salt_and_pepper, pattern (what another pattern has there), 0, 0.5 or 1."""


class Pixels(Filled):
    """Some pixels of an image, in all channels; of other patterns, some values. All sets are equally likely."""

    config = PixelsConfig

    def __init__(self, spec: PatternSpec, config: PixelsConfig = PixelsConfig()) -> None:
        super().__init__(spec, config)
        ends = config.amount if isinstance(config.amount, list | tuple) else [config.amount]
        if all(isinstance(end, int | float) and end <= 1 for end in ends):
            self.amount = Strength.of(config.amount, "amount", 0, 1)
        else:
            there = int(np.prod(pixels(spec.shape)))
            self.amount = Strength.of(config.amount, "amount", 1, there, f"the {there} pixels there are", whole=True)

    def place(self, items: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """See `Filled.place`."""
        there = int(np.prod(pixels(shape)))
        counts = self.amount.draw(items, random)
        if not self.amount.whole:
            counts = np.rint(counts * there).astype(np.int64)
        chosen = some_of(there, counts, random).reshape(items, *pixels(shape))
        return np.broadcast_to(chosen, (items, *shape)).copy()


@dataclass(frozen=True)
class HalfConfig(Settings):
    """Settings of `Half`."""

    side: str = setting("random", one_of=("random", "left", "right", "top", "bottom"))
    """Which half is lost: left, right, top or bottom of an image, left (first) or right (second) of a vector; random
    draws one of them for each pattern."""
    fill: str | int | float = setting("noise", one_of=FILLS)
    """What stands in it: noise, salt_and_pepper, pattern (what another pattern has there), 0, 0.5 or 1."""


class Half(Filled):
    """Half of an image or of a vector. Of an odd side, it is the smaller half."""

    config = HalfConfig
    noise_everywhere = True

    def __init__(self, spec: PatternSpec, config: HalfConfig = HalfConfig()) -> None:
        super().__init__(spec, config)
        if len(spec.shape) not in (1, 3) or min(spec.shape[-2:]) < 2:
            raise ValueError(
                "half distorts vectors and images (channels, height, width) with sides of at least 2, not patterns"
                f" of shape {spec.shape}: choose another, such as pixels"
            )
        halves: dict[str, np.ndarray] = {}
        for axis, first, second in ((-1, "left", "right"), (-2, "top", "bottom"))[: len(spec.shape)]:
            place, side = np.indices(spec.shape)[axis], spec.shape[axis]
            halves |= {first: place < side // 2, second: place >= side - side // 2}  # an odd middle is in neither
        if config.side not in ("random", *halves):
            raise ValueError(f"distortion.side must be one of random, {', '.join(halves)}, got {config.side!r}")
        self.halves = np.stack([mask for name, mask in halves.items() if config.side in ("random", name)])

    def place(self, items: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """See `Filled.place`."""
        mask: np.ndarray = self.halves[random.integers(len(self.halves), size=items)]
        return mask


@dataclass(frozen=True)
class GaussianConfig(Settings):
    """Settings of `Gaussian`."""

    deviation: Any = 0.3
    """Standard deviation of the noise before clipping, from 0 to 10, where values lie in [0, 1]; or a range [low, high]
    from which each pattern draws its own."""


class Gaussian(Distortion):
    """Adds independent Gaussian noise to every value and clips the sum to [0, 1]. The mask is everything.

    Queries of binary patterns are real values between 0 and 1, as memories take them: half of the 0s and of the 1s
    stay, by clipping, what they are.
    """

    config = GaussianConfig

    def __init__(self, spec: PatternSpec, config: GaussianConfig = GaussianConfig()) -> None:
        self.deviation = Strength.of(config.deviation, "deviation", 0, 10)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        deviation = self.deviation.draw(len(patterns), random).astype(np.float32)
        deviation = deviation.reshape(-1, *[1] * (patterns.ndim - 1))
        noisy = patterns + deviation * random.standard_normal(patterns.shape, np.float32)
        return noisy.clip(0, 1), np.ones(patterns.shape, np.bool_)


@dataclass(frozen=True)
class AnyOfConfig(Settings):
    """Settings of `AnyOf`."""

    of: Any = choices(distortions)
    """Distortions by name, with their settings, such as [half, {name: block, size: 8}]; one that is named twice is
    twice as likely."""


class AnyOf(Distortion):
    """Draws one of several distortions for each pattern, all equally likely."""

    config = AnyOfConfig

    def __init__(self, spec: PatternSpec, config: AnyOfConfig) -> None:
        if not config.of:
            raise ValueError("distortion.of must name distortions, such as [half, pixels], got []")
        self.of: list[Distortion] = []
        for number, one in enumerate(config.of):
            with naming(f"distortion.of[{number}]"):
                self.of.append(distortions.build(one, spec))

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        drawn = random.integers(len(self.of), size=len(patterns))
        queries, mask = patterns.copy(), np.zeros(patterns.shape, np.bool_)
        for number, distort in enumerate(self.of):
            mine = drawn == number
            # of all patterns, as some distortions take from the others
            all_queries, all_mask = distort(patterns, random)
            queries[mine], mask[mine] = all_queries[mine], all_mask[mine]
        return queries, mask


def bits(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Independent 0s and 1s with equal chances, float32."""
    return (random.random(shape, np.float32) < 0.5).astype(np.float32)


def pixels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of what the channels of a pattern share: (1, height, width) for images, `shape` for others."""
    return (1, *shape[1:]) if len(shape) == 3 else shape


def some_of(there: int, counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(items, there), bool, with `counts` (items,) True in each row; all sets of that size are equally likely."""
    lots = random.random((len(counts), there))
    last = np.maximum(counts - 1, 0)
    ordered = np.partition(lots, np.unique(last), axis=1)  # in order where it is read
    greatest = np.take_along_axis(ordered, last[:, None], axis=1)
    chosen: np.ndarray = (lots <= greatest) & (counts[:, None] > 0)
    return chosen


def stretches(length: int, sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(items, length), bool: True along a random stretch of each size (items,)."""
    sizes = sizes[:, None]
    start = random.integers(length - sizes + 1)
    place = np.arange(length)
    stretch: np.ndarray = (start <= place) & (place < start + sizes)
    return stretch
