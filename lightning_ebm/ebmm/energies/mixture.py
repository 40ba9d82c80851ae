"""An energy with one basin for each written component: a dense associative memory, written by gradient steps."""

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
    """S, rows of the written layer. The memory can tell about S patterns apart."""
    beta: float = setting(0.16, above=0)
    """Initial inverse temperature for each value of a pattern: a component that agrees with the pattern in half a value
    more counts e^beta times as much."""


class Mixture(Energy):
    """Energy of a vector: minus the log-likelihood under a mixture of written directions.

    With x in ±1 and m_s(x) = √D x·w_s / ‖w_s‖, the overlap with component s (between −D and D for binary x),

        E(x) = −1/β · log Σ_s exp(β m_s(x) + √β b_s).

    All w and b are written: (D + 1) · S floats, 8256 for 128 bits and 64 slots. The gradient in w_s moves the component
    towards the patterns, weighted by its responsibility for them: a step of expectation-maximisation in a mixture of
    von Mises-Fisher distributions. The gradient in b_s counts these patterns. A negative bias rate makes an occupied
    slot less attractive, so patterns spread over slots, as prices do in an auction. Reading is softmax attention over
    slots.

    The energy is that of modern Hopfield networks (Ramsauer et al., 2021) and of dense associative memories (Krotov,
    Hopfield, 2016). There the rows are the patterns; here writing finds the rows. The scales keep all rates and steps
    of order 1.
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
    """E of `Mixture`, (items,), of patterns (items, *shape) in [0, 1]; components (S, D) of any length, biases (S,)."""
    x = 2 * patterns.flatten(1) - 1
    direction = components * components.square().sum(1, keepdim=True).add(1e-6).rsqrt()
    overlap = math.sqrt(x.shape[1]) * x @ direction.T
    return -torch.logsumexp(beta * overlap + beta.sqrt() * bias, 1) / beta
