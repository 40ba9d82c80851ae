"""What any memory may have before and behind it: which values of a query are corrupted, and an answer that fits it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.detector import Detector
from lightning_ebm.layers import SQUARE, SquareConvolutions, check_sides
from lightning_ebm.memory import covers_everything, informative, is_to_be_estimated, keep_known
from lightning_ebm.settings import Settings, setting

SURE = 1e-3
"""Recalled values are taken to lie within [SURE, 1 - SURE], so that their logits are finite."""
LAYERS = 5
"""Convolutions of the completion."""
COMPLETED = 4
"""The loss completes one pattern in this many, because completion costs the most."""
EMPHASIS = 2.0
"""Weight of a completed value in the loss, relative to a decoded one: recall is measured on completed values."""


@dataclass(frozen=True)
class RestorationConfig(Settings):
    """Settings of `Restoration`."""

    detector: int = setting(0, at_least=0)
    """Channels of the net that estimates which values of a query are corrupted, if no mask is given; 0: none. Images
    only, with sides divisible by 2."""
    completion: int = setting(0, at_least=0)
    """Channels of the net that corrects what was recalled by the intact values of the query; 0: none. Images only, with
    sides divisible by 2. It needs a detector or a known mask."""


class Completion(nn.Module):
    """Convolutions that complete a recalled image where a query is corrupted, so that strokes cross the border.

    A code of few values cannot hold an image to the pixel, but where a query is right, it tells by how much the
    recalled image is wrong, and what its neighbourhood looks like. At first, next to nothing is changed.
    """

    def __init__(self, shape: Sequence[int], channels: int) -> None:
        super().__init__()
        self.mend = SquareConvolutions(3 * shape[0], channels, shape[0], LAYERS)

    def forward(self, logits: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """The logits of the completed images, from those of recalled ones.

        All are (items, *shape), queries in [0, 1]; the mask says in [0, 1] how little each of their values is to be
        trusted.
        """
        change: Tensor = self.mend(torch.cat([logits.tanh(), (2 * queries - 1) * (1 - soft_mask), soft_mask], 1))
        return logits + change


class Restoration(nn.Module):
    """The detector of the image energies (`decoded_mixture`) and a completion, for memories without an energy.

    Before reading, values that are likely corrupted are replaced by a mean pattern; after it, the recalled image is
    completed where they are, and each value of the query moves towards it in proportion to that likelihood. A mask that
    is given takes the place of the detector's. Without detector and completion nothing changes.

    Raises:
        ValueError: if there is a net, and patterns are not images, or their sides are not divisible by 2; the message
            begins with `key`, where the configuration has the nets.
    """

    def __init__(self, shape: Sequence[int], config: RestorationConfig, key: str) -> None:
        super().__init__()
        self.detector = Detector(shape, config.detector, f"{key}.detector") if config.detector else None
        if config.completion:
            check_sides(shape, SQUARE, f"{key}.completion")
        self.completion = Completion(shape, config.completion) if config.completion else None

    def soft_mask(self, queries: Tensor, mask: Tensor | None) -> Tensor | None:
        """How little each value of queries (episodes, items, *shape) is to be trusted, in [0, 1]; None: unknown.

        A given mask says it, but for queries that are masked everywhere: of these, the detector does.
        """
        if self.detector is None and self.completion is None:
            return None
        found = None
        if self.detector is not None and is_to_be_estimated(mask):
            found = self.detector(queries.flatten(0, 1)).view_as(queries)
        if mask is None:
            return found
        given = informative(mask, 2).to(queries)
        return given if found is None else torch.where(covers_everything(mask, 2), found, given)

    def complete(self, logits: Tensor, queries: Tensor, soft_mask: Tensor | None) -> Tensor:
        """Logits of the completed patterns; all are (episodes, items, *shape)."""
        if self.completion is None or soft_mask is None:
            return logits
        return self.completion(*(x.flatten(0, 1) for x in (logits, queries, soft_mask))).view_as(logits)

    def loss(self, logits: Tensor, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy, in nats, of the estimated mask and of values completed from the patterns' own logits.

        All are (episodes, items, *shape), mask bool; the loss is a scalar, summed over values, averaged over patterns.
        """
        loss = logits.new_zeros(())
        if self.detector is not None:
            loss = loss + self.detector.loss(queries.flatten(0, 1), mask.flatten(0, 1)).mean()
        if self.completion is not None:
            recalled, x, m = (one.flatten(0, 1)[::COMPLETED] for one in (logits, patterns, mask.to(patterns)))
            nats = F.binary_cross_entropy_with_logits(self.completion(recalled, x, m), x, reduction="none")
            loss = loss + (EMPHASIS * (nats * m).flatten(1).sum(1)).mean()
        return loss


def answer(completed: Tensor, queries: Tensor, mask: Tensor | None, soft_mask: Tensor | None) -> Tensor:
    """Queries that have moved to completed patterns where they are not to be trusted; all (episodes, items, *shape)."""
    if mask is None and soft_mask is not None:
        return queries + soft_mask * (completed - queries)
    return keep_known(completed, queries, mask)
