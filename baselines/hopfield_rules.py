"""Learning rules of the Hopfield network.

Each takes weights (episodes, d, d) and patterns (episodes, items, d), and returns the new weights. Patterns are ±1, or
centred; d is the number of values in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def hebb(weights: Tensor, patterns: Tensor) -> Tensor:
    """W += Σ x x' / d (Hopfield 1982, eq. 2)."""
    return weights + patterns.mT @ patterns / patterns.shape[-1]


def storkey(weights: Tensor, patterns: Tensor) -> Tensor:
    """W += (x x' - x h' - h x') / d with h = W x, pattern by pattern, the diagonal zeroed after each.

    This simplified form leaves the terms of units i and j in the local field h. Its errors, not those of the
    exact form, agree with the row "Hopfield (Storkey)" in table 1 of the EBMM paper (arXiv:1910.02720).
    """
    for x in patterns.unbind(1):
        field = torch.einsum("eij,ej->ei", weights, x)
        crossed = outer(x, field)
        weights = without_diagonal(weights + (outer(x, x) - crossed - crossed.mT) / x.shape[-1])
    return weights


def storkey_exact(weights: Tensor, patterns: Tensor) -> Tensor:
    """W_ij += (x_i x_j - x_i h_ji - h_ij x_j) / d with h_ij = Σ_{k≠i,j} W_ik x_k (Storkey 1997)."""
    for x in patterns.unbind(1):
        crossed = local_fields(weights, x) * x[:, None, :]
        weights = without_diagonal(weights + (outer(x, x) - crossed - crossed.mT) / x.shape[-1])
    return weights


def storkey_second_order(weights: Tensor, patterns: Tensor) -> Tensor:
    """As `storkey_exact`, with + h_ij h_ji / d besides. The weights grow beyond bounds above 0.7 d patterns."""
    for x in patterns.unbind(1):
        local = local_fields(weights, x)
        crossed = local * x[:, None, :]
        weights = without_diagonal(weights + (outer(x, x) - crossed - crossed.mT + local * local.mT) / x.shape[-1])
    return weights


def local_fields(weights: Tensor, x: Tensor) -> Tensor:
    """h_ij = Σ_{k≠i,j} W_ik x_k, (episodes, d, d), of one pattern x (episodes, d)."""
    field = torch.einsum("eij,ej->ei", weights, x)  # k ≠ i, because the diagonal is zero
    return field[:, :, None] - weights * x[:, None, :]  # and k ≠ j


def pseudo_inverse(weights: Tensor, patterns: Tensor) -> Tensor:
    """W = X⁺ X, the projection on the span of the patterns (Personnaz, Guyon and Dreyfus 1986).

    Computed as V V' from X = U S V', which stays exact where X is nearly singular (near-duplicate images), and
    in float64: singular values below 1e-10 of the largest are rounding errors, and without them repeated or
    linearly dependent patterns do no harm. The old weights are not used.
    """
    _, values, basis = torch.linalg.svd(patterns.double(), full_matrices=False)
    basis = basis * (values > 1e-10 * values.amax(-1, keepdim=True))[:, :, None]
    return (basis.mT @ basis).to(weights)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Outer products (episodes, d, d) of vectors (episodes, d)."""
    return a[:, :, None] * b[:, None, :]


def without_diagonal(weights: Tensor) -> Tensor:
    """(episodes, d, d) with zeros on the diagonal."""
    return weights - torch.diag_embed(weights.diagonal(dim1=1, dim2=2))


class Rule(NamedTuple):
    """A rule: its function; whether it adds to old weights; whether any order of patterns will do."""

    learn: Callable[[Tensor, Tensor], Tensor]
    incremental: bool
    order_invariant: bool


RULES = {
    "hebb": Rule(hebb, incremental=True, order_invariant=True),
    "storkey": Rule(storkey, incremental=True, order_invariant=False),
    "storkey_exact": Rule(storkey_exact, incremental=True, order_invariant=False),
    "storkey_second_order": Rule(storkey_second_order, incremental=True, order_invariant=False),
    "pseudo_inverse": Rule(pseudo_inverse, incremental=False, order_invariant=True),
}
