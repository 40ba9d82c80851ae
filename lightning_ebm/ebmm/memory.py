"""EBMM: an energy-based memory whose writing rule and reading rule are meta-learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

from lightning_ebm.ebmm.energies.base import Energy, PlainEnergy
from lightning_ebm.ebmm.reading import Reading, ReadingConfig
from lightning_ebm.ebmm.writing import Weights, Writing, WritingConfig
from lightning_ebm.memory import (
    AssociativeMemory,
    PatternSpec,
    State,
    covers_everything,
    is_to_be_estimated,
    keep_known,
)
from lightning_ebm.registry import choice, energies
from lightning_ebm.settings import Settings, setting

UNFIT = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.modules.dropout._DropoutNd)
"""Layers that no energy can have."""
Context = tuple[Tensor, Tensor]
"""What reading knows beyond the point it has reached: the soft mask and the queries."""


@dataclass(frozen=True)
class EBMMConfig(Settings):
    """Settings of an `EBMM`."""

    energy: Any = choice(energies, "reconstruction")
    """An energy by name, with its own settings; unused if an energy is passed in."""
    memory_layers: list[str] = setting([])
    """Names of the energy's layers that writing changes; empty: those that the energy itself names."""
    prior_scale: float = setting(1.0, at_least=0)
    """Factor of the memory layers' weights at the start of training. With 0, a layer holds nothing but what is written
    (E. Dupont et al., From data to functa, ICML 2022)."""
    writing: WritingConfig = WritingConfig()
    """The writing rule."""
    reading: ReadingConfig = ReadingConfig()
    """The reading rule."""


class EBMM(AssociativeMemory):
    """Energy-based memory model.

    The state holds the weights and biases of the memory layers, by parameter name, (episodes, *parameter):
    starting from meta-learned values, a few steps of gradient descent on the writing loss make the patterns
    minima of the energy. Reading descends the energy from the query. All other parameters of the energy are
    slow: only meta-training changes them, through both loops.

    Args:
        energy: an `Energy`, or any module that maps patterns (items, *shape) to energies (items,); see `Energy` for
            what it must not do.
        config: the settings.
        memory_layers: in place of `config.memory_layers`.

    Raises:
        ValueError: if a name leads to no layer, a layer has no parameters, or none is named; if the energy has a layer
            of `UNFIT`.

    Reference: S. Bartunov, J. W. Rae, S. Osindero, T. P. Lillicrap. Meta-Learning Deep Energy-Based Memory
    Models. ICLR 2020. arXiv:1910.02720.
    """

    config = EBMMConfig
    citation = "Bartunov, Rae, Osindero, Lillicrap: Meta-Learning Deep Energy-Based Memory Models. ICLR 2020."
    order_invariant = True
    writing_net: Method
    mask_net: Method

    def __init__(self, energy: nn.Module, config: EBMMConfig = EBMMConfig(), memory_layers: Sequence[str] = ()) -> None:
        super().__init__()
        for name, module in energy.named_modules():
            if isinstance(module, UNFIT):
                raise ValueError(
                    f"energy: {name} is a {type(module).__name__}; batch normalisation mixes patterns, dropout makes"
                    " another energy of each step, and torch's LayerNorm has wrong third derivatives: use"
                    " lightning_ebm.layers.LayerNorm"
                )
        named = memory_layers or config.memory_layers or getattr(energy, "memory_layers", ())
        layers = written_parameters(energy, named)
        if not isinstance(energy, Energy):
            energy = PlainEnergy(energy, named)
            layers = written_parameters(energy, energy.memory_layers)
        self.energy_net: Energy = energy
        # not registered submodules, which would list every parameter twice; and made once, for torch.compile
        object.__setattr__(self, "writing_net", Method(energy, "writing_energy"))
        object.__setattr__(self, "mask_net", Method(energy, "predict_mask"))
        self.written = tuple(name for names in layers.values() for name in names)
        with torch.no_grad():
            for weight in self.prior().values():
                weight.mul_(config.prior_scale)
        self.writing = Writing(layers, config.writing)
        self.reading = Reading(config.reading)

    @classmethod
    def from_config(cls, config: EBMMConfig, spec: PatternSpec) -> Self:
        """Builds the energy for patterns of `spec`, and the memory around it."""
        memory = cls(energies.build(config.energy, spec), config)
        memory.shape = spec.shape
        return memory

    def prior(self) -> Weights:
        """The meta-learned weights θ̄ from which every episode is written, by parameter name."""
        return {name: self.energy_net.get_parameter(name) for name in self.written}

    def initial_state(self, episodes: int) -> State:
        """θ̄ for each episode."""
        return {name: weight.expand(episodes, *weight.shape) for name, weight in self.prior().items()}

    def update(self, state: State, patterns: Tensor) -> State:
        """Writes more patterns into a state, which degrades those it already holds; the paper writes all at once."""
        self.check(state, patterns)
        return self.write_steps(patterns, None, state, self.writing.rates())

    def check(self, state: State, x: Tensor) -> None:
        """A ValueError if a state is not of this memory, whose prior weights would replace those that it lacks.

        Or if patterns or queries x are of another dtype.
        """
        if set(state) != set(self.written):
            found = ", ".join(state) or "nothing"
            raise ValueError(f"the state must hold {', '.join(self.written)}, as write() returns it; it holds {found}")
        dtype = next(iter(state.values())).dtype
        if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
            raise ValueError(f"patterns and queries must be {dtype}, as the state is, got {x.dtype}")

    def write_steps(
        self, patterns: Tensor, features: Any, state: State, rates: Tensor, counted: Tensor | None = None
    ) -> State:
        """Writes patterns (episodes, items, *shape) into a state, as `Writing` does, in a step for each of the `rates`.

        The features are those of `energy_net.features` for each episode; None: not known yet. The compiler drops what
        is found again here and not used.
        """

        def write_episode(patterns: Tensor, features: Any, weights: Weights) -> Weights:
            found, pull = vjp(self.energy_net.features, patterns)[:2]
            given = found if features is None else features
            prior, items = self.prior(), len(patterns)
            return self.writing(
                self._writing_energy, weights, prior, given, items, lambda slope: pull(slope)[0], rates, counted
            )

        return vmap(write_episode, (0, None if features is None else 0, 0))(patterns, features, state)

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """K steps of projected descent on the energy; where the mask is given, known values stay.

        An energy with a mean pattern starts from it where a query is masked; where the mask is not given, the energy
        may predict it from the query and the state. What an energy completes is one more step, the last.
        """
        self.check(state, queries)
        start, context = self.read_start(queries, mask, state)
        iterates, _ = self.read_steps(start, torch.zeros_like(start), mask, context, state, *self.reading.schedule())
        return self.completed(iterates, mask, context)

    def completed(self, iterates: Tensor, mask: Tensor | None, context: Context | None) -> Tensor:
        """The iterates (steps, episodes, items, *shape), and the answer that the energy completes from the last one."""
        if context is None:
            return iterates
        soft_mask, queries = context
        answer = self.energy_net.complete(*(x.flatten(0, 1) for x in (iterates[-1], soft_mask, queries)))
        if answer is None:
            return iterates
        return torch.cat([iterates, keep_known(answer.view_as(queries), queries, mask)[None]])

    def read_start(self, queries: Tensor, mask: Tensor | None, state: State) -> tuple[Tensor, Context | None]:
        """Where reading starts, (episodes, items, *shape), and the soft mask and the queries, each of this shape.

        The mask of a query that is masked everywhere says nothing about its values: it is predicted, as an unknown one,
        and where the energy predicts none, the query is read as it is.
        The context is None where the energy has no mean pattern or the mask is neither given nor predicted.
        """
        mean_pattern = self.energy_net.mean_pattern
        if mean_pattern is None:
            return queries, None
        predicts = is_to_be_estimated(mask)

        def start_of_episode(queries: Tensor, mask: Tensor | None, weights: Weights) -> tuple[Tensor, ...]:
            soft_mask = self._predict_mask(weights, queries) if predicts else None
            if mask is not None:
                given, everywhere = mask.to(queries), covers_everything(mask)
                soft_mask = torch.where(everywhere, torch.zeros_like(given) if soft_mask is None else soft_mask, given)
            if soft_mask is None:
                return (queries,)
            start = torch.lerp(queries, mean_pattern.expand_as(queries), soft_mask)
            return start.clamp(0, 1), soft_mask  # learning may take the mean pattern out of the range, and rounding too

        start, *found = vmap(start_of_episode, (0, None if mask is None else 0, 0))(queries, mask, state)
        return (start, (found[0], queries)) if found else (start, None)

    def read_steps(
        self,
        x: Tensor,
        velocity: Tensor,
        moves: Tensor | None,
        context: Context | None,
        state: State,
        step_sizes: Tensor,
        momenta: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One read step for each step size: the iterates (steps, episodes, items, *shape), and the last velocity.

        As `Reading.descend` for all episodes, each with its state; `context` is as `read_start` returns it.
        """

        def read_episode(
            x: Tensor, velocity: Tensor, moves: Tensor | None, context: Context | None, weights: Weights
        ) -> tuple[Tensor, Tensor]:
            def total(x: Tensor) -> Tensor:
                return self._energy(weights, x, *(context or ())).sum()

            return self.reading.descend(grad(total), x, velocity, moves, step_sizes, momenta)

        in_dims = (0, 0, None if moves is None else 0, None if context is None else 0, 0)
        return vmap(read_episode, in_dims, out_dims=(1, 0))(x, velocity, moves, context, state)

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """Energies (episodes, items) of patterns (episodes, items, *shape)."""
        self.check(state, patterns)
        return vmap(self._energy)(state, patterns)

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """The energy's own objective of single patterns, averaged over them, if it has one; see the base class."""
        return self.energy_net.auxiliary_loss(patterns.flatten(0, 1), queries.flatten(0, 1), mask.flatten(0, 1)).mean()

    def _energy(self, weights: Weights, *arguments: Tensor) -> Tensor:
        energy: Tensor = functional_call(self.energy_net, weights, arguments)
        if energy.shape != arguments[0].shape[:1]:
            items = len(arguments[0])
            raise ValueError(f"energy: it must return {items} energies of {items} patterns, got {tuple(energy.shape)}")
        return energy

    def _writing_energy(self, weights: Weights, features: Any) -> Tensor:
        energy: Tensor = functional_call(self.writing_net, inside(weights), (features,))
        return energy

    def _predict_mask(self, weights: Weights, queries: Tensor) -> Tensor | None:
        soft_mask: Tensor | None = functional_call(self.mask_net, inside(weights), (queries,))
        return soft_mask


class Method(nn.Module):
    """A method of an energy as a module, so that it can be called with weights of an episode."""

    def __init__(self, energy: Energy, name: str) -> None:
        super().__init__()
        self.energy, self.name = energy, name

    def forward(self, *arguments: Any) -> Any:
        """What the method returns for the arguments."""
        return getattr(self.energy, self.name)(*arguments)


def inside(weights: Weights) -> Weights:
    """Weights of an energy, by their names in a `Method` of it."""
    return {f"energy.{name}": weight for name, weight in weights.items()}


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
