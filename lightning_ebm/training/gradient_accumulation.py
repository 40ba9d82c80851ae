"""The meta-loss of many episodes in the memory of a few: their gradients are taken chunk by chunk, and added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Loss = Callable[..., Tensor]


def chunked(loss: Loss, parameters: Sequence[Tensor], chunk: int, *batch: Tensor | None) -> Tensor:
    """The loss of a batch of episodes, with at most `chunk` episodes in memory at once.

    The loss's backward pass hands out gradients that were taken with the loss itself. So any optimiser, loop, scaler
    or wrapper for several devices sees one loss and one backward pass, whose gradients are those of the whole batch.

    Args:
        loss: maps tensors with a leading episode axis to a scalar, an average over episodes.
        parameters: what to differentiate in; other gradients are not taken.
        chunk: episodes at a time, at least 1.
        batch: arguments of `loss`, each (episodes, ...) or None.

    Returns:
        The loss, a scalar. Its gradients cannot be differentiated again.
    """
    total: Tensor = ChunkedLoss.apply(loss, chunk, batch, *parameters)
    return total


class ChunkedLoss(torch.autograd.Function):
    """See `chunked`."""

    @staticmethod
    def forward(ctx: Any, loss: Loss, chunk: int, batch: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        """The average of the chunks' losses, weighted by their episodes, and of their gradients."""
        columns = [x.split(chunk) for x in batch if x is not None]
        episodes = sum(map(len, columns[0]))
        total = torch.zeros((), device=columns[0][0].device)
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        for pieces in zip(*columns, strict=True):
            given = iter(pieces)
            share = len(pieces[0]) / episodes
            with torch.enable_grad():
                part = share * loss(*(None if x is None else next(given) for x in batch))
            # in place: a second copy of all gradients would be part of the peak
            for gradient, new in zip(
                gradients, torch.autograd.grad(part, parameters, materialize_grads=True), strict=True
            ):
                gradient += new
            total = total + part.detach()
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The stored gradients, scaled by the gradient of the loss."""
        return None, None, None, *(upstream * gradient for gradient in ctx.saved_tensors)
