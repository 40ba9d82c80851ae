"""What every energy is: a smooth net from patterns to energies, some of whose layers are written."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from lightning_ebm.memory import PatternSpec


class Energy(ABC, nn.Module):  # in this order, which libraries that derive from it need: `higher` does
    """An energy, in two parts: `features`, which writing leaves unchanged, and `writing_energy` of these.

    It must be smooth (no ReLU, no `nn.LayerNorm`), treat patterns separately (no batch normalisation), be the same in
    all steps (no dropout), and have no buffers that it changes.

    Attributes:
        config: dataclass of the settings that the class takes after the spec of the patterns.
        memory_layers: names of the submodules that writing changes, as in `get_submodule`.
    """

    config: ClassVar[type]
    memory_layers: tuple[str, ...]

    @classmethod
    def from_config(cls, config: Any, spec: PatternSpec) -> Self:
        """Builds the energy for patterns of `spec`.

        Raises:
            ValueError: if a setting does not go with such patterns; the message names the key.
        """
        return cls(spec, config)

    def features(self, x: Tensor) -> Any:
        """What patterns x (items, *shape) become below the memory layers, computed once for all write steps.

        Returns:
            A tensor (items, ...) or several. By default, x itself.
        """
        return x

    @abstractmethod
    def writing_energy(self, features: Any) -> Tensor:
        """What writing descends: energies (items,) from what `features` returned, a loss of its own where it must."""

    def forward(self, x: Tensor, soft_mask: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        """What reading descends: energies (items,) of x (items, *shape), values in [0, 1].

        An energy with a `mean_pattern` is also given the soft mask (items, *shape), in [0, 1], how far each value of a
        query is to be recalled, and the queries (items, *shape). This method ignores both. An energy that trusts some
        values has to keep them itself: if the mask is unknown, reading moves all of them.
        """
        return self.writing_energy(self.features(x))

    @property
    def mean_pattern(self) -> Tensor | None:
        """Where reading starts for masked values, (*shape), clipped to [0, 1]; None: at the query, without masks."""
        return None

    def predict_mask(self, queries: Tensor) -> Tensor | None:
        """How likely each value of queries (items, *shape) is corrupted, in [0, 1]; None if that is not predicted.

        Called for energies with a `mean_pattern` if the mask is unknown, or says that everything may be corrupted. The
        memory layers have the written weights, so the estimate may compare a query with what is recalled for it.
        """
        return None

    def complete(self, recalled: Tensor, soft_mask: Tensor, queries: Tensor) -> Tensor | None:
        """The answer, (items, *shape) in [0, 1], from the last iterate of reading; None: that is the answer.

        Called with a soft mask and queries as `forward` is, all (items, *shape).
        """
        return None

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """An objective of single patterns, (items,), without any memory; see `AssociativeMemory.auxiliary_loss`.

        Args:
            patterns: (items, *shape), values in [0, 1].
            queries: the same patterns, corrupted.
            mask: the same shape, bool, which values were corrupted.

        Raises:
            NotImplementedError: if the energy has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no objective of single patterns")


class PlainEnergy(Energy):
    """Any module from patterns (items, *shape) to energies (items,) as an `Energy`.

    Args:
        net: the module, smooth as `Energy` must be.
        memory_layers: names of its submodules that writing changes.
    """

    def __init__(self, net: nn.Module, memory_layers: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.memory_layers = tuple(f"net.{name}" for name in memory_layers)

    def writing_energy(self, features: Tensor) -> Tensor:
        """The net's energies (items,)."""
        energy: Tensor = self.net(features)
        return energy
