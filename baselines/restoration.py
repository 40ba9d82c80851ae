"""What any memory may have before and behind it: which values of a query are corrupted, and an answer that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from baselines.image_completion import Completion
from lightning_ebm.detector import Detector
from lightning_ebm.memory import keep_known
from lightning_ebm.settings import Settings, setting

COMPLETED = 4
"""The loss completes one pattern in this many, because completion costs the most."""


@dataclass(frozen=True)
class RestorationConfig(Settings):
    """Settings of `Restoration`."""

    detector: int = setting(0, at_least=0)
    """Channels of the net that estimates which values of a query are corrupted, if no mask is given; 0: none. Images
    only, with sides divisible by 2."""
    completion: int = setting(0, at_least=0)
    """Channels of the net that corrects what was recalled by the intact values of the query; 0: none. Images only, with
    sides divisible by 2. It needs a detector or a known mask."""


class Restoration(nn.Module):
    """The detector of the image energies (`decoded_mixture`) and a completion, for memories without an energy.

    Before reading, values that are likely corrupted are replaced by a mean pattern; after it, the recalled image is
    completed where they are, and each value of the query moves towards it in proportion to that likelihood. A mask that
    is given takes the place of the detector's. Without detector and completion nothing changes.

    Args:
        shape: shape of one pattern.
        config: channels of both nets.
        key: where the configuration has them, for the error message.

    Raises:
        ValueError: if there is a net, and patterns are not images, or their sides are not divisible by 2.
    """

    def __init__(self, shape: Sequence[int], config: RestorationConfig, key: str) -> None:
        super().__init__()
        self.detector = Detector(shape, config.detector, f"{key}.detector") if config.detector else None
        self.completion = Completion(shape, config.completion, f"{key}.completion") if config.completion else None

    def soft_mask(self, queries: Tensor, mask: Tensor | None) -> Tensor | None:
        """How little each value of queries (episodes, items, *shape) is to be trusted, in [0, 1]; None: unknown."""
        if self.detector is None and self.completion is None:
            return None
        if mask is not None:
            return mask.to(queries)
        return None if self.detector is None else batched(self.detector, queries)

    def complete(self, logits: Tensor, queries: Tensor, soft_mask: Tensor | None) -> Tensor:
        """Logits of the completed patterns; all are (episodes, items, *shape)."""
        if self.completion is None or soft_mask is None:
            return logits
        return batched(self.completion, logits, queries, soft_mask)

    def loss(self, logits: Tensor, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy, in nats, of the estimated mask and of values completed from the patterns' own logits.

        All are (episodes, items, *shape), mask bool; the loss is a scalar, summed over values, averaged over patterns.
        """
        loss = logits.new_zeros(())
        if self.detector is not None:
            loss = loss + self.detector.loss(queries.flatten(0, 1), mask.flatten(0, 1)).mean()
        if self.completion is not None:
            called, x, m = (one.flatten(0, 1)[::COMPLETED] for one in (logits, patterns, mask.to(patterns)))
            loss = loss + self.completion.loss(called, x, m).mean()
        return loss


def shown(queries: Tensor, mean_pattern: Tensor | float, soft_mask: Tensor | None) -> Tensor:
    """Queries (episodes, items, *shape) with what is not to be trusted replaced by the mean pattern, (*shape)."""
    if soft_mask is None:
        return queries
    return (queries + soft_mask * (mean_pattern - queries)).clamp(0, 1)  # a learned mean may leave [0, 1]


def answer(completed: Tensor, queries: Tensor, mask: Tensor | None, soft_mask: Tensor | None) -> Tensor:
    """Queries that have moved to completed patterns where they are not to be trusted; all (episodes, items, *shape)."""
    if mask is None and soft_mask is not None:
        return queries + soft_mask * (completed - queries)
    return keep_known(completed, queries, mask)


def batched(net: nn.Module, *inputs: Tensor) -> Tensor:
    """A net of images, applied to tensors (episodes, items, *shape)."""
    out: Tensor = net(*(x.flatten(0, 1) for x in inputs))
    return out.unflatten(0, inputs[0].shape[:2])
