"""The contract that every associative memory keeps.

A memory *writes* N patterns into a state of fixed size and *reads* them back from corrupted queries.
Episodes, training, evaluation, plots and launching know nothing else about it.

    memory = EBMM(GatedRNN(PatternSpec((128,), binary=True)))
    state = memory.write(patterns)                # patterns: (episodes, items, 128), values in [0, 1]
    recalled = memory.read(state, queries)[-1]    # queries and recalled: the shape of patterns

State in, state out: everything that an episode writes is in the returned dict of tensors, and nothing in the
module. So a state can be counted, rounded, saved, moved, or handed to another process.
"""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
"""What writing made: tensors of shape (episodes, ...), one entry per written thing."""
Keep = Callable[[State], State]
"""What happens to a state between writing and reading, such as rounding."""


def as_is(state: State) -> State:
    """Nothing happens to it."""
    return state


@dataclass(frozen=True)
class PatternSpec:
    """What one pattern looks like.

    Attributes:
        shape: shape of one pattern, such as (128,) for bits or (1, 32, 32) for a grey image.
        binary: whether its values are 0 and 1 only; otherwise they lie anywhere in [0, 1].
    """

    shape: tuple[int, ...]
    binary: bool

    @property
    def size(self) -> int:
        """Number of values in one pattern."""
        return torch.Size(self.shape).numel()


class AssociativeMemory(nn.Module, ABC):
    """Base class of all memories, meta-trained or not.

    A subclass is built as `Class(spec, config)`: for patterns of a `PatternSpec`, with its settings, or their defaults.
    It raises a ValueError that names the key where a setting does not go with another, or with such patterns.

    Attributes:
        config: dataclass of the settings, a subclass of `settings.Settings`; its fields are the keys of a config file.
        citation: the publication that the class implements.
        order_invariant: whether the order in which patterns are written leaves what is read unchanged.
        shape: shape of a pattern, if the memory takes no other; then it is checked.
        bookkeeping: names of state entries that the literature's way of counting leaves out (usage counters
            and the like). The strict count includes them.
    """

    config: ClassVar[type]
    citation: ClassVar[str]
    order_invariant: bool = False
    shape: tuple[int, ...] | None = None
    bookkeeping: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Has `write`, `update`, `read` and `energy` of every memory keep to the contract, see `checked`."""
        super().__init_subclass__(**arguments)
        for name in {"write", "update", "read", "energy"} & vars(cls).keys():
            setattr(cls, name, checked(vars(cls)[name]))

    @classmethod
    def from_config(cls, config: Any, spec: PatternSpec) -> Self:
        """Builds the memory from its settings, for patterns of `spec`."""
        return cls(spec, config)

    @abstractmethod
    def initial_state(self, episodes: int) -> State:
        """The state of `episodes` memories into which nothing has been written yet."""

    def write(self, patterns: Tensor) -> State:
        """Writes all patterns of each episode, together, into a fresh state; if not overridden, by `update`.

        Args:
            patterns: (episodes, items, *shape), values in [0, 1].

        Returns:
            The written state; every tensor has a leading episode axis.

        Raises:
            ValueError: if the patterns are not floating point or leave [0, 1].
        """
        return self.update(self.initial_state(len(patterns)), patterns)

    @abstractmethod
    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Maps each query to the stored pattern that it resembles.

        Args:
            state: what `write` returned, for the same episodes.
            queries: (episodes, items, *shape), values in [0, 1]. `items` may differ from that of writing.
            mask: (episodes, items, *shape), bool, True where the query was corrupted; the values elsewhere
                are then known to be right and are kept. None: the memory does not get it.

        Returns:
            The trajectory (steps, episodes, items, *shape), values in [0, 1]; its last entry is the answer.

        Raises:
            ValueError: if the queries are not floating point or leave [0, 1].
        """

    def update(self, state: State, patterns: Tensor) -> State:
        """Adds patterns (episodes, items, *shape) to a state and returns the new state.

        Raises:
            NotImplementedError: if the memory can only write all patterns at once.
        """
        raise NotImplementedError(f"{type(self).__name__} writes all patterns at once: use write()")

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """Energy of each pattern under a state.

        Args:
            state: what `write` returned.
            patterns: (episodes, items, *shape), values in [0, 1].

        Returns:
            (episodes, items); stored patterns lie in minima.

        Raises:
            NotImplementedError: if the memory has no energy.
        """
        raise NotImplementedError(f"{type(self).__name__} has no energy")

    def meta_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor | None = None, keep: Keep = as_is) -> Tensor:
        """Reconstruction error that meta-training minimises (EBMM paper, section 4).

        By default `reading_error`; a memory with another objective overrides this.

        Args:
            patterns: (episodes, items, *shape), values in [0, 1].
            queries: the same patterns, corrupted.
            mask: as for `read`.
            keep: what happens to the state between writing and reading.

        Returns:
            A scalar.
        """
        return reading_error(self.read(keep(self.write(patterns)), queries, mask), patterns)

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """An objective of single patterns, without any memory, such as autoencoding them.

        The first steps of training minimise it (`training.pretrain_steps`); later it may be added to the meta-loss
        (`training.auxiliary_weight`). Arguments and result are those of `meta_loss`, but the mask is always given: it
        may be a target of learning even where `read` does not get it.

        Raises:
            NotImplementedError: if the memory has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no objective of single patterns")


def is_trainable(memory: AssociativeMemory) -> bool:
    """Whether a memory has parameters to meta-train."""
    return any(parameter.requires_grad for parameter in memory.parameters())


def checked(method: Callable[..., Any]) -> Callable[..., Any]:
    """A memory's `write`, `update`, `read` or `energy` that refuses arguments and results that it may not have.

    Tensors of other shapes would often be broadcast, and a memory trained and measured on the wrong thing. Compiled
    code is not checked; it has run uncompiled before.

    Raises:
        ValueError: if a tensor has the wrong type or shape, patterns or queries are changed in place, or the method
            does not take the contract's arguments. The message names the class and the method where these are wrong.
    """
    name, signature = method.__name__, inspect.signature(method)

    @functools.wraps(method)
    def call(memory: AssociativeMemory, *given: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling():
            return method(memory, *given, **named)
        where = f"{type(memory).__name__}.{name}"
        try:
            arguments = [*signature.bind(memory, *given, **named).arguments.values()][1:]
        except TypeError as error:
            raise ValueError(f"{where}: {error}") from None
        state = {} if name == "write" else arguments.pop(0)
        x, mask = arguments[0], arguments[1] if name == "read" and len(arguments) > 1 else None
        check_patterns(x, "queries" if name == "read" else "patterns", memory.shape)
        check_arguments(state, x, mask)
        version = 0 if x.is_inference() else x._version
        found = method(memory, *given, **named)
        if version != (0 if x.is_inference() else x._version):
            raise ValueError(f"{where} must not change the patterns or queries that it is given: take a copy")
        check_result(where, name, x, found)
        return found

    return call


def check_result(where: str, name: str, x: Tensor, found: Any) -> None:
    """Refuses what a method of this name may not return for patterns or queries x."""
    if name in ("write", "update"):
        if not isinstance(found, dict) or any(shape_of(one)[:1] != x.shape[:1] for one in found.values()):
            got = {key: shape_of(one) for key, one in found.items()} if isinstance(found, dict) else shape_of(found)
            raise ValueError(f"{where} must return a dict of tensors of {len(x)} episodes each, got {got}")
    elif name == "energy" and shape_of(found) != x.shape[:2]:
        raise ValueError(f"{where} must return energies of shape {tuple(x.shape[:2])}, got {shape_of(found)}")
    elif name == "read" and (shape_of(found)[1:] != x.shape or not len(found)):
        wanted = ", ".join(map(str, x.shape))
        raise ValueError(f"{where} must return a trajectory of shape (steps, {wanted}), got {shape_of(found)}")


def check_arguments(state: State, x: Tensor, mask: Any) -> None:
    """Refuses a state of more or fewer episodes than patterns or queries x, and a mask that is not theirs.

    A state of one episode would be taken for that of each, and a mask of bytes inverted bit by bit.
    """
    for written in state.values():
        if x.shape[:1] != written.shape[:1]:
            raise ValueError(
                "patterns and queries must have shape (episodes, items, *shape) with the episodes of the state,"
                f" {len(written)}, got {tuple(x.shape)}"
            )
    if mask is not None and not (isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == x.shape):
        got = f"{getattr(mask, 'dtype', '')} {shape_of(mask)}".strip()
        raise ValueError(f"mask must be torch.bool of the queries' shape, {tuple(x.shape)}, got {got}")


def shape_of(value: Any) -> tuple[Any, ...]:
    """The shape of a tensor; of anything else, its type."""
    return tuple(value.shape) if isinstance(value, Tensor) else (type(value).__name__,)


def reading_error(trajectory: Tensor, patterns: Tensor) -> Tensor:
    """Squared error of every read step, summed over values and steps, averaged over items and episodes: a scalar.

    The trajectory has shape (steps, episodes, items, *shape), and patterns (episodes, items, *shape).
    """
    return (trajectory - patterns).square().sum() / (patterns.shape[0] * patterns.shape[1])


def check_patterns(patterns: Tensor, what: str = "patterns", shape: tuple[int, ...] | None = None) -> None:
    """Refuses what no memory can store.

    Args:
        patterns: (episodes, items, *shape).
        what: how the error message calls them.
        shape: the only shape of a pattern that will do; None: any.

    Raises:
        ValueError: if it is no tensor, the shape or the dtype is wrong, or a value is NaN or outside [0, 1].
    """
    if not isinstance(patterns, Tensor):
        raise ValueError(f"{what} must be a tensor, got {type(patterns).__name__}: use torch.as_tensor")
    if patterns.ndim < 3 or (shape is not None and patterns.shape[2:] != shape):
        wanted = ", ".join(("episodes", "items", *(map(str, shape) if shape else ["*shape"])))
        raise ValueError(f"{what} must have shape ({wanted}), got {tuple(patterns.shape)}")
    if not patterns.is_floating_point():
        raise ValueError(f"{what} must be floating point in [0, 1], got {patterns.dtype}")
    if patterns.numel() == 0:
        raise ValueError(f"{what} must not be empty, got shape {tuple(patterns.shape)}")
    if torch.compiler.is_compiling():  # looking at values would break the graph; the data were checked on loading
        return
    low, high = (bound.item() for bound in torch.aminmax(patterns.detach()))
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"{what} must lie in [0, 1], got values from {low:g} to {high:g}")


def image_shape(spec: PatternSpec) -> tuple[int, int, int]:
    """The shape (channels, height, width) of image patterns; a ValueError if patterns are not images."""
    if len(spec.shape) != 3:
        raise ValueError(f"needs images (channels, height, width), got patterns of shape {spec.shape}")
    channels, height, width = spec.shape
    return channels, height, width


def covers_everything(mask: Tensor, axes: int = 1) -> Tensor:
    """Which masks cover a whole pattern and so tell no values apart: bool, (items, 1, ...).

    Args:
        mask: (items, *shape), bool; or, with two leading `axes`, (episodes, items, *shape).
        axes: how many axes come before the pattern's.
    """
    whole = mask.flatten(axes).all(axes)
    return whole.view(*whole.shape, *[1] * (mask.ndim - axes))


def informative(mask: Tensor, axes: int = 1) -> Tensor:
    """Masks as of `covers_everything`; those that cover a whole pattern, and so say nothing, become empty."""
    return mask & ~covers_everything(mask, axes)


def is_to_be_estimated(mask: Tensor | None) -> bool:
    """Whether a mask is not given, or one of those given, (episodes, items, *shape), covers a whole pattern.

    True in a compiled graph, which cannot depend on values: it estimates whether or not the estimate is used.
    """
    return mask is None or torch.compiler.is_compiling() or bool(covers_everything(mask, 2).any())


def keep_known(answer: Tensor, queries: Tensor, mask: Tensor | None) -> Tensor:
    """The answer with the query's values put back where the mask says that they are right."""
    return answer if mask is None else torch.where(mask, answer, queries)
