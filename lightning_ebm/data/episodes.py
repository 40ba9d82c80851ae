"""Episodes: N patterns, their corrupted queries, and where they were corrupted.

An episode, its distortion included, is a pure function of (seed, split, index). It therefore does not matter how many
workers or devices assemble it, or where training was interrupted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lightning_ebm.memory import PatternSpec

Split = Literal["train", "val", "test"]


class Episode(NamedTuple):
    """A batch of episodes.

    Attributes:
        patterns: (episodes, items, *shape), float32 in [0, 1].
        queries: the same patterns, corrupted.
        mask: bool, True where the distortion put a new value, which by chance may be the old one.
    """

    patterns: Tensor
    queries: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Episode:
        """The same on another device."""
        return Episode(*(tensor.to(device) for tensor in self))

    def __reduce__(self) -> tuple[Any, ...]:
        """As arrays, which a worker sends through its pipe: torch would need shared memory, which containers lack."""
        return from_arrays, tuple(tensor.numpy() for tensor in self)


def from_arrays(*arrays: np.ndarray) -> Episode:
    """The episodes of these patterns, queries and masks."""
    return Episode(*map(torch.from_numpy, arrays))


@dataclass(frozen=True)
class Sampling:
    """Which patterns may meet in an episode.

    Attributes:
        classes: how many classes the patterns come from, drawn anew for each episode; 0: from the whole split.
        with_replacement: whether a pattern may occur more than once.
    """

    classes: int = 0
    with_replacement: bool = False


ANY = Sampling()
"""From the whole split, none twice."""


class PatternSource(ABC):
    """A data set, seen as something that patterns are drawn from.

    Attributes:
        config: dataclass of the settings; its fields are the keys of a config file.
        citation: whom to cite.
        spec: shape and kind of the patterns.
    """

    config: ClassVar[type]
    citation: ClassVar[str]
    spec: PatternSpec

    @abstractmethod
    def __init__(self, config: Any) -> None:
        """Reads the files of the data set, if it has any.

        Raises:
            ValueError: if a setting is out of range; the message names the key.
            DataError: if a file is missing or damaged; the message names the file and the cure.
        """

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """What `registry.build` calls."""
        return cls(config)

    @abstractmethod
    def draw(self, split: Split, count: int, random: np.random.Generator, sampling: Sampling = ANY) -> np.ndarray:
        """Draws patterns of one split: (count, *shape), float32 in [0, 1]. All randomness comes from `random`.

        Raises:
            ValueError: if the split holds fewer patterns or classes; the message names the key.
        """


class Distortion(ABC):
    """A way to corrupt patterns.

    Attributes:
        config: dataclass of the settings; its fields are the keys of a config file.
    """

    config: ClassVar[type]

    @abstractmethod
    def __init__(self, spec: PatternSpec, config: Any) -> None:
        """Builds the distortion for patterns of `spec`.

        Raises:
            ValueError: if a setting does not fit such patterns; the message names the key.
        """

    @classmethod
    def from_config(cls, config: Any, spec: PatternSpec) -> Self:
        """What `registry.build` calls."""
        return cls(spec, config)

    @abstractmethod
    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Corrupts each pattern in its own way. All randomness comes from `random`.

        Args:
            patterns: (items, *shape), float32 in [0, 1]; not changed.
            random: the generator of the episode.

        Returns:
            The queries, float32, and the mask, bool, True where a value is new; both shaped as patterns.
        """


class DataError(ValueError):
    """A data file that is missing or damaged; the message names it and says what to do."""


def episode_random(seed: int, split: Split, index: int) -> np.random.Generator:
    """The generator of one episode, independent of all others."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, get_args(Split).index(split), index))))


class EpisodeDataset(Dataset[Episode]):
    """Episodes of one split, by index; there is no last index.

    `items` is the number of patterns in an episode, or gives it for an index, as a `Curriculum` does.

    Raises:
        ValueError: if there are no items or the seed is negative.
    """

    def __init__(
        self,
        source: PatternSource,
        distortion: Distortion,
        items: int | Callable[[int], int],
        split: Split,
        seed: int = 0,
        sampling: Sampling = ANY,
    ) -> None:
        if isinstance(items, int) and items < 1:
            raise ValueError(f"episodes.patterns_per_episode must be at least 1, got {items}")
        if seed < 0:
            raise ValueError(f"episodes.seed must be at least 0, got {seed}")
        self.source, self.distortion = source, distortion
        self.items, self.split, self.seed, self.sampling = items, split, seed, sampling

    def __getitem__(self, index: int) -> Episode:
        """The episode of this index, with an episode axis of one."""
        return self.batch([index])

    def batch(self, indices: Sequence[int]) -> Episode:
        """The episodes of these indices, stacked.

        Raises:
            ValueError: if they do not all have the same number of patterns.
        """
        items = {self.items if isinstance(self.items, int) else self.items(index) for index in indices}
        if len(items) != 1:
            raise ValueError(f"episodes of one batch must have the same number of patterns, got {sorted(items)}")
        (count,) = items
        shape = (len(indices), count, *self.source.spec.shape)
        patterns, queries = np.empty(shape, np.float32), np.empty(shape, np.float32)
        mask = np.empty(shape, np.bool_)
        for row, index in enumerate(indices):
            random = episode_random(self.seed, self.split, index)
            drawn = self.source.draw(self.split, count, random, self.sampling)
            patterns[row] = checked(self.source, "patterns", drawn, shape[1:], self.source.spec.binary)
            found = self.distortion(patterns[row].copy(), random)  # a copy: one's own may work in place
            if not isinstance(found, tuple) or len(found) != 2:
                raise ValueError(f"{type(self.distortion).__name__} must return queries and their mask")
            queries[row] = checked(self.distortion, "queries", found[0], shape[1:])
            mask[row] = checked(self.distortion, "a mask", found[1], shape[1:])
        return from_arrays(patterns, queries, mask)

    __getitems__ = batch  # a DataLoader asks for a whole batch at once; its `collate_fn` only hands it on


def checked(maker: object, kind: str, made: Any, shape: tuple[int, ...], binary: bool = False) -> np.ndarray:
    """What a data set or distortion, perhaps of the user's own, has made; NumPy would repeat what is too small to fit.

    Raises:
        ValueError: if patterns, queries or a mask, as `kind` says, have another shape; if a mask is not bool, binary
            patterns are not 0 and 1, or others or queries leave [0, 1]. The message names the class.
    """
    made = np.asarray(made)
    if made.shape != shape:
        raise ValueError(f"{type(maker).__name__} must make {kind} of shape {shape}, got {made.shape}")
    if kind == "a mask":
        right, allowed = made.dtype == np.bool_, "of bool"
    elif binary:
        right, allowed = bool(((made == 0) | (made == 1)).all()), "of 0 and 1, as spec.binary says"
    else:
        right, allowed = bool(((made >= 0) & (made <= 1)).all()), "within [0, 1]"  # NaN is not
    if not right:
        raise ValueError(f"{type(maker).__name__} must make {kind} {allowed}")
    return made


class EpisodeSampler(Sampler[list[int]]):
    """Indices of the episodes of each step, for one of several processes.

    A step uses `batch` episodes over all processes. Process `rank` of `world` takes every world-th of them, so that the
    episodes of a step do not depend on the number of processes.

    Args:
        batch: episodes of a step, over all processes; divisible by `world`.
        stop: index after the last episode, divisible by `world`; None for an endless stream.
        rank: this process, from 0.
        world: number of processes.
        used: how many episodes to skip, asked at the start of each pass; None: none. Only for an endless stream.

    Raises:
        ValueError: if the processes would not get the same number of episodes. (Padding would bias the mean.)
    """

    def __init__(
        self,
        batch: int,
        *,
        stop: int | None = None,
        rank: int = 0,
        world: int = 1,
        used: Callable[[], int] | None = None,
    ) -> None:
        if batch < 1 or batch % world:
            raise ValueError(f"episodes.batch={batch} must be a multiple of the number of processes, {world}")
        if stop is not None and stop % world:
            raise ValueError(f"{stop} evaluation episodes must be divisible by the number of processes, {world}")
        self.step, self.stop, self.rank, self.world, self.used = batch, stop, rank, world, used

    def __iter__(self) -> Iterator[list[int]]:
        first = self.used() if self.used else 0
        while self.stop is None or first < self.stop:
            last = first + self.step if self.stop is None else min(first + self.step, self.stop)
            yield list(range(first + self.rank, last, self.world))
            first = last

    def __len__(self) -> int:
        if self.stop is None:
            raise TypeError("an endless stream of episodes has no length")  # Python's convention
        return -(-self.stop // self.step)
