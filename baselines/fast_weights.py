"""Fast weights: a small net from keys to values, written by a few gradient steps with learned rates.

The fair rival of an energy-based memory: the same kind of state, and no energy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional as F

from baselines.coders import AutoencoderMixin, Coders, CodeSettings, identity
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, keep_known
from lightning_ebm.settings import setting

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": partial(F.softmax, dim=-1),
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "silu": F.silu,
}

BOUND = 1e4
"""Of written weights: a fit that diverges, as more patterns than in training may make it, errs but stays finite."""


@dataclass(frozen=True)
class FastWeightsConfig(CodeSettings):
    """Settings of `FastWeights`."""

    key: int = setting(128, at_least=1)
    """Size of a key, which has length 1."""
    hidden: int = setting(32, at_least=0)
    """Hidden units of the net; 0 makes it linear."""
    value: int | None = setting(None, at_least=1)
    """Size of a value; None: that of a code."""
    activation: str = setting("gelu", one_of=tuple(ACTIVATIONS))
    """Of the hidden units: softmax (over the units), gelu, tanh or silu."""
    steps: int = setting(5, at_least=1)
    """Gradient steps of one writing."""
    rate: float = setting(1.0, above=0, below=math.inf)
    """Step size at the start of training, as a share of about the largest one that is stable."""
    hops: int = setting(3, at_least=1)
    """How often the answer's code is put back as the query's; each hop is a step of the trajectory."""


class FastWeights(AutoencoderMixin, AssociativeMemory):
    """A net f from keys to values whose weights φ are the state.

    With key k = A enc(x) / |A enc(x)| and value v = C enc(x) of each of N patterns, writing takes `steps` steps

        S ← μ S − η / (1 + √(N / m))² ∇_φ ½ Σ_i |f_φ(k_i) − v_i|²,   φ ← (1 − δ) φ + S

    on all patterns together, from learned φ and S = 0. The rule with momentum μ and decay δ is that of Titans
    (Behrouz et al. 2025, section 3.1); gradient steps on key-value pairs with a learned rate are meta-learned
    neural memory (Munkhdalai et al. 2019, section 3). Here μ and δ are learned per step, and η per step and
    parameter; all may take any sign. For a linear net a step is the delta rule. The sum over N random inputs
    of length 1 and size m, here of the last layer, has a curvature of about (1 + √(N / m))² (Marchenko and
    Pastur 1967), so that a rate suits any number of patterns; steps of twice the inverse or more diverge.

    Reading starts from u = enc(query), and each hop computes

        u ← g ⊙ enc(query) + D f_φ(A u / |A u|),   answer = σ(dec(u)),

    with gates g that are learned and start at 0.1: what the net says decides, and where it says nothing the
    query does. The hops pass on codes and not answers, whose σ hides how sure they are.

    A hidden layer with softmax makes the net attention over as many rows as there are units, which writing has to
    share out among the patterns. It takes a `rate` of about 0.25, and its training is the least stable.

    Matrices start as the identity, cut off or padded with zeros.

    State: `layer0` (episodes, value, key); with hidden units `layer0` (episodes, hidden, key), `bias`
    (episodes, hidden) and `layer1` (episodes, value, hidden).
    """

    config = FastWeightsConfig
    citation = (
        "T. Munkhdalai, A. Sordoni, T. Wang and A. Trischler, Metalearned Neural Memory, NeurIPS 2019,"
        " arXiv:1907.09720; A. Behrouz, P. Zhong and V. Mirrokni, Titans: Learning to Memorize at Test Time,"
        " arXiv:2501.00663, 2025"
    )
    order_invariant = True

    def __init__(self, spec: PatternSpec, config: FastWeightsConfig = FastWeightsConfig()) -> None:
        super().__init__()
        self.coders = Coders(spec.shape, config.width, config.coders)
        value = self.coders.width if config.value is None else config.value
        self.activation, self.steps, self.hops = ACTIVATIONS[config.activation], config.steps, config.hops

        self.to_key = identity(self.coders.width, config.key)  # A
        self.to_value = identity(self.coders.width, value)  # C
        self.from_value = identity(value, self.coders.width)  # D
        sizes = [config.key, *([config.hidden] if config.hidden else []), value]
        initial = {}
        for i, (size_in, size_out) in enumerate(pairwise(sizes)):
            # Keys have length 1: this keeps hidden units at order 1, and what is read first close to 0.
            std = 1.0 if i < len(sizes) - 2 else 0.01
            initial[f"layer{i}"] = std * torch.randn(size_out, size_in)
        if config.hidden:
            initial["bias"] = torch.zeros(config.hidden)
        self.initial = nn.ParameterDict(initial)
        # Hidden units that are not shares of 1 pass on activations of length √hidden, and not 1 as keys have.
        rate = config.rate if config.activation == "softmax" else config.rate / max(config.hidden, 1)
        self.inputs = sizes[-2]  # m
        self.gate = nn.Parameter(torch.full((config.hops, self.coders.width), 0.1))  # g
        self.rates = nn.ParameterDict({k: torch.full((config.steps, *x.shape), rate) for k, x in initial.items()})
        self.decay = nn.Parameter(torch.zeros(config.steps))
        self.momentum = nn.Parameter(torch.zeros(config.steps - 1)) if config.steps > 1 else None

    def initial_state(self, episodes: int) -> State:
        """The learned weights, the same for each episode."""
        return {name: x.expand(episodes, *x.shape) for name, x in self.initial.items()}

    def update(self, state: State, patterns: Tensor) -> State:
        """Fits a state to more patterns by the same steps, which may overwrite; see the base class."""
        codes = self.coders.encode(patterns, "patterns")
        keys, values = self.key(codes), self.to_value(codes)
        state = {name: x.to(keys) for name, x in state.items()}
        gradient = vmap(grad(self.error))
        push = {name: torch.zeros_like(x) for name, x in state.items()}
        curvature = (1 + math.sqrt(keys.shape[1] / self.inputs)) ** 2
        for step in range(self.steps):
            slopes = gradient(state, keys, values)
            if self.momentum is not None and step:
                push = {name: self.momentum[step - 1] * x for name, x in push.items()}
            push = {name: push[name] - self.rates[name][step] / curvature * slope for name, slope in slopes.items()}
            state = {name: ((1 - self.decay[step]) * x + push[name]).clamp(-BOUND, BOUND) for name, x in state.items()}
        return state

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Passes the query's code through the net, and what it says again; see the base class.

        Where the mask is given, distorted values enter as 0.5, between 0 and 1.
        """
        shown = queries if mask is None else torch.where(mask, torch.full_like(queries, 0.5), queries)
        query = self.coders.encode(shown, "queries")
        weights = {name: x.to(query) for name, x in state.items()}
        answers, code = [], query
        for gate in self.gate:
            code = gate * query + self.from_value(vmap(self.net)(weights, self.key(code)))
            answers.append(keep_known(self.coders.decode(code), queries, mask))
        return torch.stack(answers)

    def after_memory(self, codes: Tensor) -> Tensor:
        """What is made of their values, which may be narrower, without the share of the query."""
        return self.from_value(self.to_value(codes))

    def key(self, codes: Tensor) -> Tensor:
        """Keys (episodes, items, key) of length 1 of codes (episodes, items, width)."""
        return F.normalize(self.to_key(codes), dim=-1, eps=1e-6)

    def net(self, weights: State, keys: Tensor) -> Tensor:
        """Values (items, value) of keys (items, key) under the weights of one episode."""
        if "layer1" not in weights:
            return keys @ weights["layer0"].mT
        hidden = self.activation(keys @ weights["layer0"].mT + weights["bias"])
        return hidden @ weights["layer1"].mT

    def error(self, weights: State, keys: Tensor, values: Tensor) -> Tensor:
        """Half of the squared error, summed over the items of one episode; a scalar."""
        return (self.net(weights, keys) - values).square().sum() / 2
