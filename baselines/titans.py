"""Titans: a deep net from keys to values, written pattern by pattern with surprise, momentum and forgetting."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional as F

from baselines.coders import identity
from baselines.net_memory import BOUND, NetMemory, NetMemoryConfig
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class TitansConfig(NetMemoryConfig):
    """Settings of `Titans`."""

    momentum: float = setting(0.1, at_least=0, below=1)
    """What is left of the surprise after a pattern, at the start of training; 0: never any."""
    decay: float = setting(0.01, at_least=0, below=1)
    """What a pattern makes the net forget, as a share, at the start of training; 0: never anything."""
    chunk: int = setting(1, at_least=1)
    """Patterns whose gradients are taken at the same weights: more is faster, and less exact."""
    passes: int = setting(1, at_least=1)
    """How often one writing goes through the patterns. In the paper once."""


class Titans(NetMemory):
    """A long-term memory that learns at test time.

    See `NetMemory` for keys, values and reading. Pattern t, with code c, key k and value v, is written by one step
    (Behrouz, Zhong and Mirrokni 2025, section 3.1)

        S ← η S − θ ∇_φ ½ |f_φ(k) − v|²,   φ ← (1 − α) φ + S,

    in which the surprise S carries over from one pattern to the next and the gates see the pattern,

        η = σ(a'c + a₀),   α = σ(b'c + b₀),   θ = 2 σ(d'c) · ρ_l,

    with learned ρ_l for each layer l. In a chunk of N patterns all gradients are taken at its first weights (section
    3.2), and ρ is divided by `NetMemory.curvature`, which is at most N. A query has a projection of its own,
    u = B enc(query), that starts as A. The architecture around the memory, which is a sequence model's (attention,
    persistent tokens, convolutions), is left out. The linear net without momentum and forgetting, with ρ = 1, is the
    delta rule, pattern by pattern.

    State: as of `NetMemory`, and with momentum `surprise` (episodes, floats), S of all layers one after the other,
    which only writing needs.
    """

    config = TitansConfig
    citation = (
        "A. Behrouz, P. Zhong and V. Mirrokni, Titans: Learning to Memorize at Test Time, arXiv:2501.00663, 2025; A."
        " Behrouz, M. Razaviyayn, P. Zhong and V. Mirrokni, It's All Connected: A Journey Through Test-Time"
        " Memorization, Attentional Bias, Retention, and Online Optimization, arXiv:2504.13173, 2025"
    )
    bookkeeping = frozenset({"surprise"})

    def __init__(self, spec: PatternSpec, config: TitansConfig = TitansConfig()) -> None:
        super().__init__(spec, config)
        self.chunk, self.passes = config.chunk, config.passes
        width = self.coders.width
        self.to_query = identity(width, config.key)  # B
        self.rates = nn.Parameter(torch.full((len(self.initial),), self.rate))  # ρ
        self.step_gate = gate(width, 0.5, bias=False)  # d
        self.momentum_gate = gate(width, config.momentum) if config.momentum else None  # a
        self.decay_gate = gate(width, config.decay) if config.decay else None  # b

    def initial_state(self, episodes: int) -> State:
        """The learned initial weights, and no surprise."""
        state = super().initial_state(episodes)
        return state if self.momentum_gate is None else state | {"surprise": torch.zeros_like(self.flat(state))}

    def update(self, state: State, patterns: Tensor) -> State:
        """Writes more patterns, from where writing stopped."""
        codes = self.coders.encode(patterns)
        keys, values = self.key(codes), self.to_value(codes)
        net = self.flat(state).to(codes)
        surprise = state["surprise"].to(codes) if "surprise" in state else torch.zeros_like(net)
        none = torch.zeros_like(codes[..., :1])
        left = none if self.momentum_gate is None else self.momentum_gate(codes).sigmoid()  # η
        forgotten = none if self.decay_gate is None else self.decay_gate(codes).sigmoid()  # α
        pace = 2 * self.step_gate(codes).sigmoid()
        rates = torch.cat([rate.expand(x.numel()) for rate, x in zip(self.rates, self.initial.values(), strict=True)])
        slopes_of = vmap(vmap(grad(self.error), in_dims=(None, 0, 0)))
        for start in [*range(0, patterns.shape[1], self.chunk)] * self.passes:
            part = slice(start, start + self.chunk)
            slopes = self.flat(slopes_of(self.weights(net), keys[:, part], values[:, part]))
            steps = rates / min(slopes.shape[1], self.curvature(slopes.shape[1])) * pace[:, part] * slopes
            for step, eta, alpha in zip(
                *(x.unbind(1) for x in (steps, left[:, part], forgotten[:, part])), strict=True
            ):
                surprise = eta * surprise - step
                net = ((1 - alpha) * net + surprise).clamp(-BOUND, BOUND)
        written = self.weights(net)
        return written if self.momentum_gate is None else written | {"surprise": surprise}

    def flat(self, weights: State) -> Tensor:
        """Weights (..., *shape) of all layers, one after the other: (..., floats)."""
        return torch.cat([weights[name].flatten(-x.ndim) for name, x in self.initial.items()], -1)

    def weights(self, net: Tensor) -> State:
        """What `flat` was made of."""
        parts = net.split([x.numel() for x in self.initial.values()], -1)
        return {name: part.unflatten(-1, x.shape) for part, (name, x) in zip(parts, self.initial.items(), strict=True)}

    def address(self, codes: Tensor) -> Tensor:
        """Queries have a projection of their own."""
        return F.normalize(self.to_query(codes), dim=-1, eps=1e-6)


def gate(width: int, start: float, bias: bool = True) -> nn.Linear:
    """A map from codes to the logit of a gate, which is `start` for all codes at first."""
    linear = nn.Linear(width, 1, bias=bias)
    nn.init.zeros_(linear.weight)
    if bias:
        nn.init.constant_(linear.bias, math.log(start / (1 - start)))
    return linear
