"""What memories share whose state is the weights of a small net from keys to values, written by gradient steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from baselines.coders import AutoencoderMemory, CodeSettings, identity
from lightning_ebm.memory import PatternSpec, State
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
class NetMemoryConfig(CodeSettings):
    """Settings of every memory that is a net."""

    key: int = setting(128, at_least=1)
    """Size of a key, which has length 1."""
    hidden: int = setting(32, at_least=0)
    """Units of each hidden layer of the net; 0 makes it linear."""
    layers: int = setting(1, at_least=1)
    """Hidden layers; each but the first adds to the one before."""
    value: int | None = setting(None, at_least=1)
    """Size of a value; None: that of a code."""
    activation: str = setting("gelu", one_of=tuple(ACTIVATIONS))
    """Of the hidden units: softmax (over the units), gelu, tanh or silu."""
    rate: float = setting(1.0, above=0, below=math.inf)
    """Step size at the start of training, as a share of about the largest one that is stable."""
    hops: int = setting(3, at_least=1)
    """How often the answer's code is put back as the query's; each hop is a step of the trajectory."""


class NetMemory(AutoencoderMemory):
    """A net f from keys to values whose weights φ are the state; a subclass says how they are written.

    A pattern x has the key k = A enc(x) / |A enc(x)| and the value v = C enc(x), and a hidden layer more than the first
    adds to its input, as MIRAS has it (Behrouz et al. 2025).

    Reading starts from u = enc(query), and each hop computes

        u ← g ⊙ enc(query) + D f_φ(A u / |A u|),   answer = σ(dec(u)),

    with gates g that are learned and start at 0.1: what the net says decides, and where it says nothing the
    query does. The hops pass on codes and not answers, whose σ hides how sure they are. Matrices start as the identity,
    cut off or padded with zeros.

    State: `layer0` (episodes, value, key); with hidden units `layer0` (episodes, hidden, key), `bias0` (episodes,
    hidden), as many of each as there are hidden layers, and a last layer (episodes, value, hidden).
    """

    def __init__(self, spec: PatternSpec, config: NetMemoryConfig) -> None:
        super().__init__(spec, config.width, config.coders)
        value = self.coders.width if config.value is None else config.value
        self.activation, self.hops = ACTIVATIONS[config.activation], config.hops
        self.to_key = identity(self.coders.width, config.key)  # A
        self.to_value = identity(self.coders.width, value)  # C
        self.from_value = identity(value, self.coders.width)  # D
        sizes = [config.key, *([config.hidden] * config.layers if config.hidden else []), value]
        self.inner = len(sizes) - 2  # hidden layers
        initial = {}
        for i, (size_in, size_out) in enumerate(pairwise(sizes)):
            # Keys have length 1: this keeps hidden units at order 1, and what is read first close to 0.
            std = 0.01 if i == self.inner else size_in**-0.5 if i else 1.0
            initial[f"layer{i}"] = std * torch.randn(size_out, size_in)
        initial |= {f"bias{i}": torch.zeros(config.hidden) for i in range(self.inner)}
        self.initial = nn.ParameterDict(initial)
        # Hidden units that are not shares of 1 pass on activations of length √hidden, and not 1 as keys have.
        self.rate = config.rate if config.activation == "softmax" else config.rate / max(config.hidden, 1)
        self.inputs = sizes[-2]  # of the last layer
        self.gate = nn.Parameter(torch.full((config.hops, self.coders.width), 0.1))  # g

    def initial_state(self, episodes: int) -> State:
        """The learned initial weights."""
        return {name: x.expand(episodes, *x.shape) for name, x in self.initial.items()}

    def curvature(self, items: int) -> float:
        """About the largest curvature of the summed error of random pairs: steps of twice its inverse diverge.

        For N inputs of length 1 and size m, here of the last layer, it is (1 + √(N / m))² (Marchenko and Pastur 1967).
        """
        return (1 + math.sqrt(items / self.inputs)) ** 2

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Passes the query's code, with corrupted values blanked if they are known, through the net in each hop."""
        query, answered = self.look(queries, mask, blank=True)
        weights = {name: state[name].to(query) for name in self.initial}
        answers, code = [], query
        for gate in self.gate:
            code = gate * query + self.from_value(vmap(self.net)(weights, self.address(code)))
            answers.append(answered(code))
        return torch.stack(answers)

    def after_memory(self, codes: Tensor) -> Tensor:
        """The output for their values, which may be narrower, without the query's share."""
        return self.from_value(self.to_value(codes))

    def key(self, codes: Tensor) -> Tensor:
        """Keys (episodes, items, key) of length 1 of codes (episodes, items, width)."""
        return F.normalize(self.to_key(codes), dim=-1, eps=1e-6)

    def address(self, codes: Tensor) -> Tensor:
        """Keys by which codes (episodes, items, width) are looked up: those under which they are written."""
        return self.key(codes)

    def net(self, weights: State, keys: Tensor) -> Tensor:
        """Values (items, value) of keys (items, key) under the weights of one episode."""
        flow = keys
        for i in range(self.inner):
            units = self.activation(flow @ weights[f"layer{i}"].mT + weights[f"bias{i}"])
            flow = flow + units if i else units
        return flow @ weights[f"layer{self.inner}"].mT

    def error(self, weights: State, keys: Tensor, values: Tensor) -> Tensor:
        """Half of the squared error, summed over the items of one episode; a scalar."""
        return (self.net(weights, keys) - values).square().sum() / 2
