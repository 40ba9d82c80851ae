"""The mixture energy with written phases: cosine and sine of each number are values of two components."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_ebm.ebmm.energies.base import Energy
from lightning_ebm.ebmm.energies.mixture import mixture_energy
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class PhaseMixtureConfig(Settings):
    """Settings of `PhaseMixture`."""

    slots: int = setting(63, at_least=1)
    """S, rows of the written layer. The memory can tell 2 · S patterns apart."""
    beta: float = setting(0.08, above=0)
    """Initial inverse temperature for each value of a pattern, as in the mixture energy."""


class PhaseMixture(Energy):
    """Energy of a vector: minus the log-likelihood under a mixture in which two components share each written row.

    With x in ±1, written phases w (S, D) and biases b (2S,), row s has two components, cos w_s and sin w_s. Their
    overlaps are m_i(x) = √D x·c_i / ‖c_i‖ (between −D and D for binary x), and

        E(x) = −1/β · log Σ_i exp(β m_i(x) + √β b_i), with i = 1 … 2S.

    A phase has four quadrants, so it stores one bit of two patterns. The state has (D + 2) · S floats, 8190 for 128
    bits and 63 rows, and holds up to 126 patterns instead of 63. Everything else is as in `Mixture`: a write step moves
    phases towards the patterns for which a component is responsible, biases act as prices, and reading is attention.

    Neurons with phases: A. J. Noest, Discrete-state phasor neural networks, Physical Review A 38 (1988). Storing two
    bits in a phase is quadrature phase-shift keying.
    """

    config = PhaseMixtureConfig
    memory_layers = ("memory",)

    def __init__(self, spec: PatternSpec, config: PhaseMixtureConfig = PhaseMixtureConfig()) -> None:
        super().__init__()
        self.memory = Phases(spec.size, config.slots)
        self.log_beta = nn.Parameter(torch.tensor(math.log(config.beta)))

    def writing_energy(self, features: Tensor) -> Tensor:
        """Energies (items,) of the patterns themselves."""
        phases = self.memory.weight
        components = torch.cat([phases.cos(), phases.sin()])
        return mixture_energy(features, components, self.memory.bias, self.log_beta.exp())


class Phases(nn.Module):
    """The written layer: phases (rows, dim) and biases (2 · rows,)."""

    def __init__(self, dim: int, rows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(2 * math.pi * torch.rand(rows, dim))
        self.bias = nn.Parameter(torch.zeros(2 * rows))
