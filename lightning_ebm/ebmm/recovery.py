"""The missing part of an image from the rest of it and from the code of the whole."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightning_ebm.layers import SQUARE, SquareConvolutions, check_sides

LAYERS = 4

Lacking = Callable[[Tensor, Tensor], Tensor]
"""Maps an image x (items, *shape) and the gain g (D,) to J(x)ᵀ g (z − f(x)), (items, *shape), where f is what encodes
images, J its Jacobian, and z the code that x should have."""


class Recovery(nn.Module):
    """A few steps of learned descent, by which an image comes to agree with its code and to look like an image.

    Step k encodes the estimate x = q + m ∘ (σ(l) − q) and pulls what its code lacks back to pixels, as descent on
    ‖z − f(x)‖² would; convolutions make of that and of the image around it the next estimate,

        l ← l + conv_k(l, known values, m, J(x)ᵀ g (z − f(x))).

    Learned step for step, as in K. Gregor and Y. LeCun, Learning fast approximations of sparse coding, ICML 2010, and,
    with convolutions as what images look like, H. K. Aggarwal et al., MoDL, IEEE Trans. Medical Imaging 38, 2019.

    Args:
        shape: shape of an image, (channels, height, width), sides divisible by 2.
        channels: of the hidden convolutions.
        steps: steps of descent, at least 1.
        gain: g at the start, (D,), one for each value of a code.

    Raises:
        ValueError: if patterns are not images, or their sides are not divisible by 2.
    """

    def __init__(self, shape: Sequence[int], channels: int, steps: int, gain: Tensor) -> None:
        super().__init__()
        check_sides(shape, SQUARE, "energy.recovery")
        self.gain = nn.Parameter(gain.clone())
        self.nets = nn.ModuleList(SquareConvolutions(4 * shape[0], channels, shape[0], LAYERS) for _ in range(steps))

    def forward(self, lacking: Lacking, start: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """The logits after each step, (steps, items, *shape), of the queries' type, in mixed precision too.

        Args:
            lacking: what the code of an image lacks, pulled back to pixels.
            start: l before the first step, (items, *shape).
            queries: q, the same shape, in [0, 1].
            soft_mask: m, the same shape, in [0, 1], how little each value of a query is to be trusted.
        """
        logits, steps = start.to(queries), []
        context = torch.cat([(2 * queries - 1) * (1 - soft_mask), soft_mask], 1)
        for net in self.nets:
            image = queries + soft_mask * (logits.sigmoid() - queries)
            lacks = lacking(image, self.gain)
            logits = logits + net(torch.cat([logits.tanh(), context, lacks], 1))
            steps.append(logits)
        return torch.stack(steps)
