"""The written layer of mixtures whose components are codes of patterns."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rows(nn.Module):
    """The written layer: rows (slots, code) and biases (slots,).

    Args:
        slots: rows.
        code: values of a row.
    """

    def __init__(self, slots: int, code: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(slots, code))
        self.bias = nn.Parameter(torch.zeros(slots))

    def rows(self) -> Tensor:
        """The rows, scaled to mean square 1."""
        return normalised(self.weight)

    def writing_loss(self, codes: Tensor, gamma: Tensor) -> Tensor:
        """W = −1/γ · log Σ_s exp(γ f·z_s + √γ b_s) of codes f (items, code) of mean square 1: (items,).

        Its gradient moves the row z_s that is responsible for a code towards the code; biases whose rate is negative
        are prices, as in `Mixture`, by which patterns find rows of their own.
        """
        return -torch.logsumexp(gamma * codes @ self.rows().T + gamma.sqrt() * self.bias, 1) / gamma


def normalised(x: Tensor) -> Tensor:
    """x: (items, code), each scaled to mean square 1."""
    return x * x.square().mean(1, keepdim=True).add(1e-6).rsqrt()
