"""Cases: an energy, its data and its steps, the same numbers for every contender."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.energies import Energy, GatedRNN, ResNetConv
from lightning_ebm.layers import he_init
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class MLPConfig(Settings):
    """Settings of `MLP`."""

    hidden: int = setting(256, at_least=1)
    """Width of both layers."""


class MLP(Energy):
    """A tanh net of two layers; the second one is written; inputs are mapped to ±1."""

    config = MLPConfig
    memory_layers = ("memory",)

    def __init__(self, spec: PatternSpec, config: MLPConfig) -> None:
        super().__init__()
        self.input = nn.Linear(spec.size, config.hidden)
        self.memory = nn.Linear(config.hidden, config.hidden)
        self.output = nn.Linear(config.hidden, 1, bias=False)  # a bias would never get a gradient
        he_init(self)

    def features(self, x: Tensor) -> Tensor:
        """What writing leaves unchanged, (items, hidden)."""
        return torch.tanh(self.input(2 * x - 1))

    def writing_energy(self, features: Tensor) -> Tensor:
        """Energies (items,) from what `features` returned."""
        return self.output(torch.tanh(self.memory(features))).squeeze(1)


ENERGIES: dict[str, type[Energy]] = {"mlp": MLP, "gated_rnn": GatedRNN, "resnet_conv": ResNetConv}


@dataclass(frozen=True)
class Case:
    """One meta-step: what is written and read, by which energy, in how many steps.

    Attributes:
        energy: a key of `ENERGIES`.
        sizes: settings of the energy, where they are not its defaults.
        shape: shape of a pattern.
        episodes: B, episodes of a meta-step.
        items: N, patterns of an episode.
        write_steps: T.
        read_steps: K.
        gradient_term: whether the writing loss has the term in ‖∇ₓE‖²: a third-order meta-gradient with it, a
            second-order one without.
        rate: writing rate of the energy term.
        gradient_rate: writing rate of the gradient term.
        prior_rate: writing rate of the pull to the prior.
        step_size: γ₁ of reading.
    """

    energy: str
    sizes: Mapping[str, Any]
    shape: tuple[int, ...]
    episodes: int
    items: int
    write_steps: int = 5
    read_steps: int = 5
    gradient_term: bool = True
    rate: float = 0.1
    gradient_rate: float = 0.03
    prior_rate: float = 0.01
    step_size: float = 0.1

    def memory(self, dtype: str = "float32", device: str = "cpu") -> EBMM:
        """The EBMM whose parameters every contender copies: the same numbers in each process and dtype."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            writing = WritingConfig(
                steps=self.write_steps,
                write_rate=self.rate,
                gradient_rate=self.gradient_rate,
                prior_rate=self.prior_rate,
                gradient_term=self.gradient_term,
            )
            reading = ReadingConfig(steps=self.read_steps, step_size=self.step_size)
            energy = ENERGIES[self.energy]
            net = energy.from_config(energy.config(**self.sizes), PatternSpec(self.shape, binary=False))
            memory = EBMM(net, EBMMConfig(writing=writing, reading=reading))
            with torch.no_grad():
                for parameter in memory.parameters():  # no two rates, steps or gains alike, no bias zero
                    parameter.add_(0.02 * torch.randn_like(parameter))
        return memory.to(device, getattr(torch, dtype))

    def data(self, dtype: str = "float32", device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Uniform patterns, and queries with three values in ten redrawn; both (episodes, items, *shape)."""
        generator = torch.Generator().manual_seed(1)
        patterns, fresh, chance = torch.rand(3, self.episodes, self.items, *self.shape, generator=generator)
        queries = torch.where(chance < 0.3, fresh, patterns)
        return patterns.to(device, getattr(torch, dtype)), queries.to(device, getattr(torch, dtype))

    def small(self) -> Self:
        """The same with few episodes, patterns and steps, for checks in double precision.

        Two steps are enough to tell a total derivative from a partial one: the weights depend on the patterns
        from the second step on.
        """
        return replace(
            self,
            episodes=min(self.episodes, 2),
            items=min(self.items, 4),
            write_steps=min(self.write_steps, 2),
            read_steps=min(self.read_steps, 2),
        )


IMAGE = (1, 32, 32)
QUARTER = {"written_units": 2, "channels": [8, 16], "inner": 16, "width": 32, "head": 256}
FAST: dict[str, Any] = {"rate": 1.0, "gradient_rate": 0.1}  # so that writing moves what is read, as in other cases
CASES = {
    "mlp": Case("mlp", {"hidden": 256}, (784,), episodes=16, items=32),
    "gated_rnn": Case("gated_rnn", {}, (128,), episodes=4, items=64),
    "resnet_conv": Case("resnet_conv", {}, IMAGE, 2, 16, write_steps=2, read_steps=2, **FAST),
    "resnet_conv_quarter": Case("resnet_conv", QUARTER, IMAGE, 2, 16, **FAST),
}
SETTINGS = {"third_order": True, "second_order": False}
"""Whether the writing loss has the gradient term, by the order of the meta-gradient."""
