"""Memories of a user's own that do unusual things which the contract allows."""

import torch

from lightning_ebm.memory import AssociativeMemory, keep_known
from lightning_ebm.settings import Settings


class Matrix(AssociativeMemory):
    """A linear associative memory from learned keys to patterns."""

    config = Settings
    citation = "none"
    dtype = torch.float32

    def __init__(self, spec, config=None):
        super().__init__()
        self.size, self.to_key = spec.size, torch.nn.Linear(spec.size, 8, dtype=self.dtype)

    def initial_state(self, episodes):
        return {"matrix": self.to_key.weight.new_zeros(episodes, 8, self.size)}

    def write(self, patterns):
        return {"matrix": self.key(patterns).mT @ (2 * patterns.flatten(2).to(self.dtype) - 1)}

    def read(self, state, queries, mask=None):
        answer = torch.sigmoid(self.key(queries) @ state["matrix"]).view_as(queries).to(queries)
        return keep_known(answer, queries, mask)[None]

    def key(self, x):
        return torch.tanh(self.to_key(2 * x.flatten(2).to(self.dtype) - 1))


class DoublePrecision(Matrix):
    """It computes in float64, and takes and returns float32."""

    dtype = torch.float64


class Causal(Matrix):
    """It has a buffer of zeros and minus infinity, as masks of attention are made."""

    def __init__(self, spec, config=None):
        super().__init__(spec)
        self.register_buffer("hidden", torch.full((4, 4), -torch.inf).triu(1))


class Indexed(Matrix):
    """It has a buffer of whole numbers."""

    def __init__(self, spec, config=None):
        super().__init__(spec)
        self.register_buffer("order", torch.arange(self.size))


class Partial(Matrix):
    """One of its parameters has no part in the loss."""

    def __init__(self, spec, config=None):
        super().__init__(spec)
        self.spare = torch.nn.Linear(2, 2)
