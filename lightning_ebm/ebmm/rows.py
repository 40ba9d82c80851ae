"""What mixtures whose components are codes of patterns share: the written rows, and where a query is corrupted."""

import torch
from torch import Tensor, nn

from lightning_ebm.detector import Detector
from lightning_ebm.ebmm.energies.base import Energy

TAKEN = -100.0
"""Bias of a row that holds a pattern, about as low as writing makes it."""


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


class RowMixture(Energy):
    """Base class of energies whose components are the rows of a written layer.

    Attributes:
        memory: the rows.
        log_gamma: log γ, the inverse temperature of writing.
        typical: t, the mean pattern.
        detector: predicts which values of a query are corrupted, if the settings ask for it.
    """

    memory_layers = ("memory",)
    memory: Rows
    log_gamma: Tensor
    typical: Tensor
    detector: Detector | None

    def writing_energy(self, features: Tensor) -> Tensor:
        """W = −1/γ · log Σ_s exp(γ f·z_s + √γ b_s) of codes f (items, code) of mean square 1: (items,).

        Its gradient moves the row z_s that is responsible for a code towards the code; biases whose rate is negative
        are prices, as in `Mixture`, by which patterns find rows of their own.
        """
        gamma = self.log_gamma.exp()
        return -torch.logsumexp(gamma * features @ self.memory.rows().T + gamma.sqrt() * self.memory.bias, 1) / gamma

    def filled(self, codes: Tensor) -> dict[str, Tensor]:
        """Weights of the written layer with one code (items, code) in each row, exactly, at the price of `TAKEN`.

        Of more codes than rows the last ones are kept; rows that are left over stay as they are.
        """
        rows, bias = self.memory.weight, self.memory.bias
        kept = codes[-len(rows) :]
        weight = torch.cat([kept, rows[len(kept) :]])
        return {
            "memory.weight": weight,
            "memory.bias": torch.cat([bias.new_full((len(kept),), TAKEN), bias[len(kept) :]]),
        }

    @property
    def mean_pattern(self) -> Tensor:
        """t, (*shape), which is learned."""
        return self.typical

    def predict_mask(self, queries: Tensor) -> Tensor | None:
        """How likely each value of queries (items, *shape) is corrupted, in [0, 1]; None without a detector.

        Reading then starts from the query with what is likely corrupted replaced by the mean pattern, and rows are
        judged by the other values.
        """
        return None if self.detector is None else self.detector(queries)


def normalised(x: Tensor) -> Tensor:
    """x: (items, code), each scaled to mean square 1."""
    return x * x.square().mean(1, keepdim=True).add(1e-6).rsqrt()
