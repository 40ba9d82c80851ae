"""Linear-Gaussian algebra: belief about a matrix, its update by regression, and divergences between beliefs.

The memory is a matrix M of K rows and C columns with M ~ MN(R, U, I): mean R, covariance U between rows, none
between columns. A code z was made by weights w as z = M'w + noise of variance σ². All functions are batched over
leading axes and are exact; none inverts U. What they take: `mean` R (..., K, C), `covariance` U (..., K, K), positive
definite, `weights` w (..., K) and `code` z (..., C), or W (..., T, K) and Z (..., T, C) of T codes, and `noise` σ², a
scalar.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def observe(mean: Tensor, covariance: Tensor, weights: Tensor, code: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance after one code more: a Kalman update (Wu et al., Kanerva Machine, 2018)."""
    surprise = code - torch.einsum("...k,...kc->...c", weights, mean)
    direction = torch.einsum("...kl,...l->...k", covariance, weights)  # U w
    gain = direction / ((weights * direction).sum(-1, keepdim=True) + noise)
    return mean + gain[..., :, None] * surprise[..., None, :], covariance - gain[..., :, None] * direction[..., None, :]


def observe_all(
    mean: Tensor, covariance: Tensor, weights: Tensor, codes: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The same after T codes at once, whose weights are all chosen before; as one after the other, in any order.

    By a Cholesky factor of W U W' + σ² I.
    """
    direction = weights @ covariance
    among = direction @ weights.mT + noise * torch.eye(codes.shape[-2], dtype=codes.dtype, device=codes.device)
    gain = torch.cholesky_solve(direction, torch.linalg.cholesky(among)).mT
    covariance = covariance - gain @ direction
    return mean + gain @ (codes - weights @ mean), (covariance + covariance.mT) / 2


def ridge(mean: Tensor, penalty: Tensor) -> Callable[[Tensor], Tensor]:
    """A function from codes (..., T, C) to the weights (..., T, K) that minimise |z - R'w|² + λ |w|².

    w = (R R' + λ I)⁻¹ R z, with a scalar λ above 0, by a Cholesky factor in float64, made once (Wu et al., Attractor
    Dynamics, 2018).
    """
    rows = mean.double()
    gram = rows @ rows.mT
    factor = torch.linalg.cholesky(gram + penalty.double() * torch.eye(gram.shape[-1]).to(gram))
    return lambda codes: torch.cholesky_solve(rows @ codes.double().mT, factor).mT.to(codes)


def divergence(mean: Tensor, covariance: Tensor, prior_mean: Tensor, prior_covariance: Tensor) -> Tensor:
    """KL(MN(R, U, I) ‖ MN(R0, U0, I)) in nats, (...).

    ½ [C tr(U0⁻¹ U) + tr((R - R0)' U0⁻¹ (R - R0)) - K C + C (log|U0| - log|U|)].
    """
    rows, columns = mean.shape[-2:]
    factor, prior = torch.linalg.cholesky(covariance), torch.linalg.cholesky(prior_covariance)
    spread = torch.linalg.solve_triangular(prior, factor, upper=False).square().sum((-2, -1))
    moved = torch.linalg.solve_triangular(prior, mean - prior_mean, upper=False).square().sum((-2, -1))
    logs = (prior.diagonal(dim1=-2, dim2=-1).log() - factor.diagonal(dim1=-2, dim2=-1).log()).sum(-1)
    return (columns * spread + moved - rows * columns) / 2 + columns * logs
