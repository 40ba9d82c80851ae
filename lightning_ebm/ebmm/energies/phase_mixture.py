"""The mixture energy with written phases: each number holds a value of two components, as cosine and as sine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from lightning_ebm.memory import PatternSpec


@dataclass
class PhaseMixtureConfig:
    """Settings of `PhaseMixture`.

    Attributes:
        rows: S, rows of the written layer; twice as many patterns can be told apart.
        beta: initial inverse temperature for each value of a pattern, above 0, as in the mixture energy.
    """

    rows: int = 63
    beta: float = 0.08


class PhaseMixture(nn.Module):
    """Energy of a vector: minus the log-likelihood under a mixture whose components share numbers in pairs.

    With x in ±1, written phases w (S, D) and biases b (2S,), row s has two components, cos w_s and sin w_s. Their
    overlaps are m_i(x) = √D x·c_i / ‖c_i‖ (between −D and D for binary x), and

        E(x) = −1/β · log Σ_i exp(β m_i(x) + √β b_i), with i = 1 … 2S.

    A phase has four quadrants, and so holds the signs of one bit of two patterns: (D + 2) · S floats, 8190 for 128
    bits and 63 rows, hold up to 126 patterns instead of 63. Everything else is as in `Mixture`: a write step moves the
    phases towards the patterns for which a component is responsible, biases are prices, and reading is attention.

    Phases as a code of neurons with more than two states: A. J. Noest, Discrete-state phasor neural networks,
    Physical Review A 38 (1988); two bits a phase are quadrature phase-shift keying.

    Args:
        dim: values in a pattern.
        rows: rows of the written layer.
        beta: initial inverse temperature.

    Raises:
        ValueError: if a setting is out of range.
    """

    config = PhaseMixtureConfig
    memory_layers = ("memory",)

    def __init__(self, dim: int, rows: int = 63, beta: float = 0.08) -> None:
        super().__init__()
        if rows < 1:
            raise ValueError(f"energy.rows must be at least 1, got {rows}")
        if not beta > 0:
            raise ValueError(f"energy.beta must be above 0, got {beta}")
        self.memory = Phases(dim, rows)
        self.log_beta = nn.Parameter(torch.tensor(math.log(beta)))

    @classmethod
    def from_config(cls, config: PhaseMixtureConfig, spec: PatternSpec) -> Self:
        """Builds the energy for patterns of `spec`, flattened."""
        return cls(spec.size, config.rows, config.beta)

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, *shape) in [0, 1] with `dim` values; returns energies (items,)."""
        overlap, beta = self.memory(2 * x.flatten(1) - 1), self.log_beta.exp()
        return -torch.logsumexp(beta * overlap + beta.sqrt() * self.memory.bias, 1) / beta


class Phases(nn.Module):
    """The written layer: phases (rows, dim) and biases (2 · rows,), and the overlap of patterns with each component."""

    def __init__(self, dim: int, rows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(2 * math.pi * torch.rand(rows, dim))
        self.bias = nn.Parameter(torch.zeros(2 * rows))

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, dim) in [-1, 1]; returns overlaps (items, 2 · rows), between -dim and dim."""
        components = torch.cat([self.weight.cos(), self.weight.sin()])
        directions = components * components.square().sum(1, keepdim=True).add(1e-6).rsqrt()
        return math.sqrt(x.shape[1]) * x @ directions.T
