"""The meta-loss of many episodes in the memory of a few: their gradients are taken chunk by chunk, and added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Loss = Callable[..., Tensor]
"""Maps patterns, queries and mask, each (episodes, items, *shape), to a scalar, an average over episodes."""


def chunked(loss: Loss, parameters: Sequence[Tensor], chunk: int, *batch: Tensor) -> Tensor:
    """The loss of a batch of episodes, with at most `chunk` episodes in memory at once.

    The loss's backward pass hands out gradients that were taken with the loss itself. So any optimiser, loop, scaler
    or wrapper for several devices sees one loss and one backward pass, whose gradients are those of the whole batch.
    They are taken in `parameters` only, and cannot be differentiated again.
    """
    total: Tensor = ChunkedLoss.apply(loss, chunk, batch, *parameters)
    return total


class ChunkedLoss(torch.autograd.Function):
    """See `chunked`."""

    @staticmethod
    def forward(ctx: Any, loss: Loss, chunk: int, batch: Sequence[Tensor], *parameters: Tensor) -> Tensor:
        """The average of the chunks' losses, weighted by their episodes, and of their gradients."""
        total = torch.zeros((), device=batch[0].device)
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        for pieces in zip(*(x.split(chunk) for x in batch), strict=True):
            with torch.enable_grad():
                part = len(pieces[0]) / len(batch[0]) * loss(*pieces)
            # in place: a second copy of all gradients would be part of the peak
            found = torch.autograd.grad(part, parameters, materialize_grads=True)
            for gradient, new in zip(gradients, found, strict=True):
                gradient += new
            total = total + part.detach()
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The stored gradients, scaled by the gradient of the loss."""
        return None, None, None, *(upstream * gradient for gradient in ctx.saved_tensors)
