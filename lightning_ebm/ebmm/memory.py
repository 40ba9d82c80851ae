"""EBMM: an energy-based memory whose writing rule and reading rule are meta-learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from lightning_ebm.ebmm.reading import Reading, ReadingConfig
from lightning_ebm.ebmm.writing import Weights, Writing, WritingConfig
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, check_patterns
from lightning_ebm.registry import choice, energies


@dataclass
class EBMMConfig:
    """Settings of an EBMM.

    Attributes:
        energy: an energy by name, with its own settings.
        memory_layers: names of the energy's layers that writing changes; empty: those the energy itself names.
        writing: the writing rule.
        reading: the reading rule.
    """

    energy: Any = choice(energies, "reconstruction")
    memory_layers: list[str] = field(default_factory=list)
    writing: WritingConfig = field(default_factory=WritingConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)


class EBMM(AssociativeMemory):
    """Energy-based memory model.

    The state holds the weights and biases of the memory layers, by parameter name, (episodes, *parameter):
    starting from meta-learned values, a few steps of gradient descent on the writing loss make the patterns
    minima of the energy. Reading descends the energy from the query. All other parameters of the energy are
    slow: only meta-training changes them, through both loops.

    Args:
        energy: any module that maps patterns (items, *shape) to energies (items,). It must be smooth (no ReLU),
            treat items separately (no batch normalisation) and have no buffers that it changes. If it has methods
            `below` and `above`, writing descends `above(below(x))`, which is the energy in two parts or a writing loss
            of its own; `below` has no written parameter and runs once. If it has a method `damage`, that says
            where queries are distorted if no mask is told: reading starts from its parameter `typical` there, and
            the energy is called with how far each value is missing as a second argument, and as a third with where
            the step starts, which may be held in place of the first and has no part in its slope.
        memory_layers: names of the energy's submodules that are written, as in `energy.get_submodule(name)`;
            None: `energy.memory_layers`.
        writing: the writing rule.
        reading: the reading rule.

    Raises:
        ValueError: if a name leads to no layer, a layer has no parameters, or none is named.

    Reference: S. Bartunov, J. W. Rae, S. Osindero, T. P. Lillicrap. Meta-Learning Deep Energy-Based Memory
    Models. ICLR 2020. arXiv:1910.02720.
    """

    config = EBMMConfig
    citation = "Bartunov, Rae, Osindero, Lillicrap: Meta-Learning Deep Energy-Based Memory Models. ICLR 2020."
    order_invariant = True
    energy_above: Above

    def __init__(
        self,
        energy: nn.Module,
        memory_layers: Sequence[str] | None = None,
        writing: WritingConfig | None = None,
        reading: ReadingConfig | None = None,
    ) -> None:
        super().__init__()
        self.energy_net: Any = energy
        # not a registered submodule, which would list every parameter twice; and made once, for torch.compile
        object.__setattr__(self, "energy_above", Above(energy))
        layers = written_parameters(energy, memory_layers or tuple(getattr(energy, "memory_layers", ())))
        self.written = tuple(name for names in layers.values() for name in names)
        self.writing = Writing(layers, writing or WritingConfig())
        self.reading = Reading(reading or ReadingConfig())

    @classmethod
    def from_config(cls, config: EBMMConfig, spec: PatternSpec) -> Self:
        """Builds the energy for patterns of `spec`, and the memory around it."""
        energy = energies.build(config.energy, spec)
        return cls(energy, config.memory_layers, config.writing, config.reading)

    def prior(self) -> Weights:
        """The meta-learned weights θ̄ from which every episode is written, by parameter name."""
        return {name: self.energy_net.get_parameter(name) for name in self.written}

    def initial_state(self, episodes: int) -> State:
        """θ̄ for each episode."""
        return {name: weight.expand(episodes, *weight.shape) for name, weight in self.prior().items()}

    def write(self, patterns: Tensor) -> State:
        """T steps of descent on the writing loss from θ̄, for each episode by itself."""
        return self.update(self.initial_state(len(patterns)), patterns)

    def update(self, state: State, patterns: Tensor) -> State:
        """The same from the weights of a state, which blurs what they hold: the paper writes all at once."""
        check_patterns(patterns)

        def write_episode(weights: Weights, patterns: Tensor) -> Weights:
            features, pull = vjp(self._below, patterns)[:2]
            prior, items = self.prior(), len(patterns)
            return self.writing(self._energy_above, weights, prior, features, items, lambda slope: pull(slope)[0])

        return vmap(write_episode)(state, patterns)

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """K steps of projected descent on the energy; where the mask is given, known values stay.

        An energy that detects damage estimates the mask if it is not given; what is masked is erased first.
        """
        check_patterns(queries, "queries")

        def read_episode(weights: Weights, queries: Tensor, mask: Tensor | None) -> Tensor:
            missing = self._missing(queries, mask)

            def total(x: Tensor, held: Tensor) -> Tensor:
                context = () if missing is None else (missing, held)
                return self._energy(weights, x, *context).sum()

            start = queries
            if missing is not None:
                start, mask = torch.lerp(queries, self.energy_net.typical.expand_as(queries), missing), missing
            return self.reading(lambda x: grad(total)(x, x), start, mask)

        in_dims = (0, 0, None if mask is None else 0)
        return vmap(read_episode, in_dims, out_dims=1)(state, queries, mask)

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """Energies (episodes, items) of patterns (episodes, items, *shape)."""
        check_patterns(patterns)
        return vmap(self._energy)(state, patterns)

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """The energy's own objective of single patterns, averaged over them, if it has one; see the base class."""
        loss: Any = getattr(self.energy_net, "auxiliary_loss", None)
        if loss is None:
            raise NotImplementedError(f"{type(self.energy_net).__name__} has no objective of single patterns")
        mean: Tensor = loss(patterns.flatten(0, 1), queries.flatten(0, 1), mask.flatten(0, 1)).mean()
        return mean

    def _missing(self, queries: Tensor, mask: Tensor | None) -> Tensor | None:
        """How far each value is to be found anew, in [0, 1], as told or estimated; None if the energy does not ask."""
        net: Any = self.energy_net
        if not hasattr(net, "damage"):
            return None
        missing: Tensor | None = net.damage(queries) if mask is None else mask.to(queries)
        return missing

    def _energy(self, weights: Weights, *arguments: Tensor) -> Tensor:
        energy: Tensor = functional_call(self.energy_net, weights, arguments)
        return energy

    def _below(self, x: Tensor) -> Any:
        below: Any = getattr(self.energy_net, "below", lambda x: x)
        return below(x)

    def _energy_above(self, weights: Weights, features: Any) -> Tensor:
        above = {f"net.{name}": weight for name, weight in weights.items()}
        energy: Tensor = functional_call(self.energy_above, above, (features,))
        return energy


class Above(nn.Module):
    """The part of an energy above what writing leaves unchanged, as a module that can be called with weights."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Any = net

    def forward(self, features: Any) -> Tensor:
        """features: what `net.below` made of the patterns, if it has one; returns energies (items,)."""
        energy: Tensor = self.net.above(features) if hasattr(self.net, "above") else self.net(features)
        return energy


def written_parameters(energy: nn.Module, layers: Sequence[str]) -> dict[str, list[str]]:
    """The parameters of each memory layer, by their full names in the energy.

    Raises:
        ValueError: if a name leads to no layer, a layer has no parameters, or none is named.
    """
    if not layers:
        raise ValueError(f"memory_layers must name the layers of {type(energy).__name__} that writing changes")
    found = {}
    for layer in layers:
        try:
            names = [f"{layer}.{name}" for name, _ in energy.get_submodule(layer).named_parameters()]
        except AttributeError:
            known = ", ".join(name for name, _ in energy.named_modules() if name)
            raise ValueError(f"memory_layers: there is no layer {layer!r}; the energy has {known}") from None
        if not names:
            raise ValueError(f"memory_layers: layer {layer!r} has no parameters to write")
        found[layer] = names
    return found
