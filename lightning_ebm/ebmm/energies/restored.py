"""Energies of images with a detector and a completion: reading moves only what is likely corrupted."""

import torch
from torch import Tensor, nn

from lightning_ebm.ebmm.energies.base import Energy
from lightning_ebm.memory import PatternSpec
from lightning_ebm.restoration import SURE, Restoration, RestorationConfig


class RestoredEnergy(Energy):
    """Base class of energies that may have the detector and the completion of `Restoration`.

    With a detector, reading starts from the query q with what is likely corrupted replaced by a mean pattern t, and
    descends E(q + m ∘ (x − q)), m being the likelihoods or the given mask: values that can be trusted have no slope and
    stay. With a completion, convolutions correct the last iterate by the values that can be trusted. With neither, the
    energy is what it was.

    Attributes:
        restoration: the nets.
        typical: t, (*shape), learned; None without a detector and a completion.
    """

    restoration: Restoration
    typical: nn.Parameter | None

    def restore(self, spec: PatternSpec, config: RestorationConfig) -> None:
        """Makes the nets that the settings ask for; see `Restoration` for errors."""
        self.restoration = Restoration(spec.shape, config, "energy")
        restored = config.detector or config.completion
        self.typical = nn.Parameter(torch.full(spec.shape, 0.5)) if restored else None

    def forward(self, x: Tensor, soft_mask: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        """Energies (items,) of x, or of q + m ∘ (x − q); all (items, *shape), values in [0, 1]."""
        if soft_mask is not None and queries is not None:
            x = torch.lerp(queries, x, soft_mask)
        return super().forward(x)

    @property
    def mean_pattern(self) -> Tensor | None:
        """t, (*shape), which is learned; None with neither net."""
        return self.typical

    def predict_mask(self, queries: Tensor) -> Tensor | None:
        """How likely each value of queries (items, *shape) is corrupted, in [0, 1]; None without a detector."""
        return None if self.restoration.detector is None else self.restoration.detector(queries)

    def complete(self, recalled: Tensor, soft_mask: Tensor, queries: Tensor) -> Tensor | None:
        """The completed images, see `Energy.complete`; None without a completion."""
        if self.restoration.completion is None:
            return None
        completed = self.restoration.completion(recalled.logit(SURE), queries, soft_mask).sigmoid()
        return torch.lerp(queries, completed, soft_mask)

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """What the detector and the mean pattern lose, an average over the values of a pattern, (items,).

        Raises:
            NotImplementedError: if there is neither.
        """
        if self.typical is None:
            return super().auxiliary_loss(patterns, queries, mask)
        loss = (patterns - self.typical).flatten(1).square().sum(1)
        if self.restoration.detector is not None:
            loss = loss + self.restoration.detector.loss(queries, mask)
        return loss / self.typical.numel()
