"""An energy with one basin for each written component: a dense associative memory that is written by gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from lightning_ebm.memory import PatternSpec


@dataclass
class MixtureConfig:
    """Settings of `Mixture`.

    Attributes:
        components: S, rows of the written layer; about as many patterns as can be told apart.
        beta: initial inverse temperature for each value of a pattern, above 0: how much more a component counts
            (as a factor, in powers of e) for agreeing with the pattern in half a value more.
    """

    components: int = 64
    beta: float = 0.16


class Mixture(nn.Module):
    """Energy of a vector: minus the log-likelihood under a mixture of written directions.

    With x in ±1 and m_s(x) = √D x·w_s / ‖w_s‖, the overlap with component s (between −D and D for binary x),

        E(x) = −1/β · log Σ_s exp(β m_s(x) + √β b_s).

    All w and b are written: (D + 1) · S floats, 8256 for 128 bits and 64 components. The energy's gradient in w_s
    is what patterns of that component, weighted by its responsibility for them, have beyond w_s itself: a step
    of expectation-maximisation in a mixture of von Mises-Fisher distributions. The gradient in b_s counts those
    patterns, so that a negative rate makes a component that is taken dear to the others, and patterns
    spread over the components as in an auction. Reading is a softmax attention over components.

    The energy is that of modern Hopfield networks (Ramsauer et al., 2021) and of their ancestor, the dense
    associative memory (Krotov, Hopfield, 2016); there a pattern is a row, here the rows are found by writing.
    The scales are such that all rates and steps are of the order of 1.

    Args:
        dim: values in a pattern.
        components: rows of the written layer.
        beta: initial inverse temperature.

    Raises:
        ValueError: if a setting is out of range.
    """

    config = MixtureConfig
    memory_layers = ("memory",)

    def __init__(self, dim: int, components: int = 64, beta: float = 0.16) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"energy.components must be at least 1, got {components}")
        if not beta > 0:
            raise ValueError(f"energy.beta must be above 0, got {beta}")
        self.memory = nn.Linear(dim, components)
        self.log_beta = nn.Parameter(torch.tensor(math.log(beta)))
        with torch.no_grad():
            self.memory.weight.normal_()
            self.memory.bias.zero_()

    @classmethod
    def from_config(cls, config: MixtureConfig, spec: PatternSpec) -> Self:
        """Builds the energy for patterns of `spec`, flattened."""
        return cls(spec.size, config.components, config.beta)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, *shape) in [0, 1] with `dim` values; returns energies (items,)."""
        x = 2 * x.flatten(1) - 1
        weight, beta = self.memory.weight, self.log_beta.exp()
        direction = weight * weight.square().sum(1, keepdim=True).add(1e-6).rsqrt()
        overlap = math.sqrt(x.shape[1]) * x @ direction.T
        return -torch.logsumexp(beta * overlap + beta.sqrt() * self.memory.bias, 1) / beta
