"""Fast weights: a small net from keys to values, written by a few gradient steps with learned rates."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from baselines.net_memory import BOUND, NetMemory, NetMemoryConfig
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class FastWeightsConfig(NetMemoryConfig):
    """Settings of `FastWeights`."""

    steps: int = setting(5, at_least=1)
    """Gradient steps of one writing."""


class FastWeights(NetMemory):
    """A net that is fitted to all patterns together.

    It is the fair rival of an energy-based memory: the same kind of state, and no energy; see `NetMemory` for keys,
    values and reading. With keys k and values v of N patterns, writing takes `steps` steps

        S ← μ S − η / (1 + √(N / m))² ∇_φ ½ Σ_i |f_φ(k_i) − v_i|²,   φ ← (1 − δ) φ + S

    on all patterns together, from learned φ and S = 0: meta-learned neural memory (Munkhdalai et al. 2019, section 3),
    with the momentum μ and the decay δ of Titans. Here μ and δ are learned per step, and η per step and parameter; all
    may take any sign. For a linear net a step is the delta rule. The divisor is `NetMemory.curvature`, so that a rate
    suits any number of patterns. A hidden layer with softmax makes the net attention over as many rows as there are
    units, which writing has to share out among the patterns; it takes a `rate` of about 0.25, and is the least stable.
    """

    config = FastWeightsConfig
    citation = (
        "T. Munkhdalai, A. Sordoni, T. Wang and A. Trischler, Metalearned Neural Memory, NeurIPS 2019, arXiv:1907.09720"
    )
    order_invariant = True

    def __init__(self, spec: PatternSpec, config: FastWeightsConfig = FastWeightsConfig()) -> None:
        super().__init__(spec, config)
        self.steps = config.steps
        self.rates = nn.ParameterDict(
            {name: torch.full((config.steps, *x.shape), self.rate) for name, x in self.initial.items()}
        )
        self.decay = nn.Parameter(torch.zeros(config.steps))
        self.momentum = nn.Parameter(torch.zeros(config.steps - 1)) if config.steps > 1 else None

    def update(self, state: State, patterns: Tensor) -> State:
        """Fits a state to more patterns by the same steps, which may overwrite."""
        codes = self.coders.encode(patterns)
        keys, values = self.key(codes), self.to_value(codes)
        state = {name: x.to(keys) for name, x in state.items()}
        gradient = vmap(grad(self.error))
        push = {name: torch.zeros_like(x) for name, x in state.items()}
        curvature = self.curvature(keys.shape[1])
        for step in range(self.steps):
            slopes = gradient(state, keys, values)
            if self.momentum is not None and step:
                push = {name: self.momentum[step - 1] * x for name, x in push.items()}
            push = {name: push[name] - self.rates[name][step] / curvature * slope for name, slope in slopes.items()}
            state = {name: ((1 - self.decay[step]) * x + push[name]).clamp(-BOUND, BOUND) for name, x in state.items()}
        return state
