"""The missing part of an image from the rest of it and from a few numbers measured on the whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_ebm.layers import SQUARE, SquareConvolutions, check_sides

LAYERS = 4


class Recovery(nn.Module):
    """A few steps of learned descent, by which an image comes to agree with what was measured and to look like one.

    Of measurements y = A (x − t) on the whole image, those of its known values are subtracted, which leaves what the
    missing values alone measure. With logits l⁰ = 0, step k finds what the estimate σ(l) still lacks and, as descent
    on ‖y − A (x − t)‖² would, projects it back; convolutions make of that and of the image around it the next estimate,

        l ← l + conv_k(l, known values, m, Aᵀ g (y_m − A (m ∘ (σ(l) − t)))).

    Learned step for step, as in K. Gregor and Y. LeCun, Learning fast approximations of sparse coding, ICML 2010, and,
    with convolutions as what images look like, H. K. Aggarwal et al., MoDL, IEEE Trans. Medical Imaging 38, 2019.

    Args:
        shape: shape of an image, (channels, height, width), sides divisible by 2.
        channels: of the hidden convolutions.
        steps: steps of descent, at least 1.
        gain: g at the start, (D,), with which the rows of A project back what an image's missing part measures.

    Raises:
        ValueError: if patterns are no images, or their sides are not divisible by 2.
    """

    def __init__(self, shape: Sequence[int], channels: int, steps: int, gain: Tensor) -> None:
        super().__init__()
        check_sides(shape, SQUARE, "energy.recovery")
        self.gain = nn.Parameter(gain.clone())
        self.nets = nn.ModuleList(SquareConvolutions(4 * shape[0], channels, shape[0], LAYERS) for _ in range(steps))

    def forward(self, measured: Tensor, measure: Tensor, typical: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """The logits after each step, (steps, items, *shape).

        Args:
            measured: y_m, what the missing values measure, (items, D).
            measure: A, (D, values).
            typical: t, (*shape).
            queries: (items, *shape), in [0, 1].
            soft_mask: m, the same shape, in [0, 1], how little each value of a query is to be trusted.
        """
        logits, steps = torch.zeros_like(queries), []
        context = torch.cat([(2 * queries - 1) * (1 - soft_mask), soft_mask], 1)
        for net in self.nets:
            found = (soft_mask * (logits.sigmoid() - typical)).flatten(1) @ measure.T
            lacking = ((measured - found) * self.gain @ measure).view_as(queries)
            logits = logits + net(torch.cat([logits.tanh(), context, lacking], 1))
            steps.append(logits)
        return torch.stack(steps)
