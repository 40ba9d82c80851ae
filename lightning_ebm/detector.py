"""Predicts which values of a query are corrupted, for reading when the mask is unknown."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.layers import SQUARE, SquareConvolutions, check_sides
from lightning_ebm.memory import informative

LAYERS = 4
OUTLINES = 256
"""Hidden units that see the convolutions' estimates of a whole image."""


class Detector(nn.Module):
    """How likely each value of an image is corrupted: convolutions, then a layer that sees the whole image.

    What neighbours cannot tell, such as where on blank paper a block of random bits ends, its other sides do: the net
    on the whole image learns what outlines distortions have.

    Args:
        shape: shape of an image, (channels, height, width); a ValueError unless its sides are divisible by 2.
        channels: of the hidden convolutions.
        key: where the configuration has them, for the error message.
    """

    def __init__(self, shape: Sequence[int], channels: int, key: str = "energy.detector") -> None:
        super().__init__()
        check_sides(shape, SQUARE, key)
        self.local = SquareConvolutions(shape[0], channels, 1, LAYERS)
        pixels = shape[1] * shape[2]
        self.inner = nn.Linear(pixels, OUTLINES)
        self.outer = nn.Linear(OUTLINES, pixels)
        nn.init.normal_(self.outer.weight, std=0.01)

    def forward(self, queries: Tensor) -> Tensor:
        """Queries (items, *shape) in [0, 1]; returns likelihoods of the same shape, equal over channels."""
        return self.logits(queries).sigmoid().expand_as(queries)

    def logits(self, queries: Tensor) -> Tensor:
        """The likelihoods' logits (items, 1, height, width), of the queries' type, in mixed precision too."""
        local: Tensor = self.local(2 * queries - 1)
        whole = self.outer(F.gelu(self.inner(local.flatten(1))))
        return (local + whole.view_as(local)).to(queries)

    def loss(self, queries: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy (items,), in nats, with which pixels were corrupted, even if they came out right."""
        return mask_loss(self.logits(queries), mask)


class Revision(nn.Module):
    """A second estimate of what is corrupted, once something is recalled, and whether it is the right pattern.

    A query alone does not show which of its isolated pixels were flipped, nor what was erased from blank paper.
    Convolutions see the query, the recalled image, where they agree, and the first estimate, to which they add.
    Another channel of theirs, summed over the image, judges what is recalled by where it disagrees: damage has shapes,
    such as blocks, which the differences between two patterns do not have. At first, next to nothing is added.

    Args:
        shape: shape of an image, (channels, height, width), sides divisible by 2.
        channels: of the hidden convolutions.
        binary: whether values are 0 and 1 only. Then query and image agree by their product, otherwise they differ by
            a squared distance.
    """

    def __init__(self, shape: Sequence[int], channels: int, binary: bool) -> None:
        super().__init__()
        self.binary = binary
        check_sides(shape, SQUARE, "energy.revision")
        self.compare = SquareConvolutions(3 * shape[0] + 1, channels, 2, LAYERS)

    def forward(self, first: Tensor, queries: Tensor, recalled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (items, 1, height, width) of the likelihoods, and evidence (items,) for what is recalled, in nats.

        Args:
            first: the detector's logits, (items, 1, height, width).
            queries: (items, *shape), in [0, 1].
            recalled: logits of the recalled images, (items, *shape).
        """
        signs = 2 * queries - 1
        if self.binary:
            called = recalled.tanh()
            compared = signs * called
        else:
            called = (recalled / 2).tanh()  # 2 σ(recalled) - 1
            compared = (signs - called).square()
        change, evidence = self.compare(torch.cat([signs, called, compared, first.tanh()], 1)).split(1, 1)
        return first + change, evidence.flatten(1).sum(1)


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy (items,), in nats, of a mask estimated by logits (items, 1, height, width).

    A mask (items, channels, height, width), bool, that covers the whole image tells no values apart, and counts as
    empty.
    """
    pixels = mask.any(1, keepdim=True)
    target = informative(pixels).to(logits)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).sum(1)
