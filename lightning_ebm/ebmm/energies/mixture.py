"""An energy with one basin for each written component: a dense associative memory that is written by gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_ebm.ebmm.energies.base import Energy
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class MixtureConfig(Settings):
    """Settings of `Mixture`."""

    slots: int = setting(64, at_least=1)
    """S, rows of the written layer; about as many patterns as can be told apart."""
    beta: float = setting(0.16, above=0)
    """Initial inverse temperature for each value of a pattern: how much more a component counts (as a factor, in powers
    of e) for agreeing with the pattern in half a value more."""


class Mixture(Energy):
    """Energy of a vector: minus the log-likelihood under a mixture of written directions.

    With x in ±1 and m_s(x) = √D x·w_s / ‖w_s‖, the overlap with component s (between −D and D for binary x),

        E(x) = −1/β · log Σ_s exp(β m_s(x) + √β b_s).

    All w and b are written: (D + 1) · S floats, 8256 for 128 bits and 64 slots. The energy's gradient in w_s
    is what patterns of that component, weighted by its responsibility for them, have beyond w_s itself: a step
    of expectation-maximisation in a mixture of von Mises-Fisher distributions. The gradient in b_s counts those
    patterns, so that a negative rate makes a component that is taken dear to the others, and patterns
    spread over the slots as in an auction. Reading is a softmax attention over slots.

    The energy is that of modern Hopfield networks (Ramsauer et al., 2021) and of their ancestor, the dense
    associative memory (Krotov, Hopfield, 2016); there a pattern is a row, here the rows are found by writing.
    The scales are such that all rates and steps are of the order of 1.
    """

    config = MixtureConfig
    memory_layers = ("memory",)

    def __init__(self, spec: PatternSpec, config: MixtureConfig = MixtureConfig()) -> None:
        super().__init__()
        self.memory = nn.Linear(spec.size, config.slots)
        self.log_beta = nn.Parameter(torch.tensor(math.log(config.beta)))
        with torch.no_grad():
            self.memory.weight.normal_()
            self.memory.bias.zero_()

    def writing_energy(self, features: Tensor) -> Tensor:
        """Energies (items,) of the patterns themselves."""
        return mixture_energy(features, self.memory.weight, self.memory.bias, self.log_beta.exp())


def mixture_energy(patterns: Tensor, components: Tensor, bias: Tensor, beta: Tensor) -> Tensor:
    """E above, (items,), of patterns (items, *shape) in [0, 1], for components (S, D) of any length, biases (S,)."""
    x = 2 * patterns.flatten(1) - 1
    direction = components * components.square().sum(1, keepdim=True).add(1e-6).rsqrt()
    overlap = math.sqrt(x.shape[1]) * x @ direction.T
    return -torch.logsumexp(beta * overlap + beta.sqrt() * bias, 1) / beta
