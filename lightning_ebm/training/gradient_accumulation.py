"""The meta-loss of many episodes in the memory of a few: their gradients are taken chunk by chunk, and added up."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Loss = Callable[..., Tensor]
"""Maps patterns, queries and mask or None, each (episodes, items, *shape), to a scalar, an average over episodes."""


def chunked(loss: Loss, parameters: Sequence[Tensor], chunk: int, patterns: Tensor, *more: Tensor | None) -> Tensor:
    """The loss of a batch of episodes, with at most `chunk` episodes in memory at once.

    Gradients are taken chunk by chunk, with the loss itself, and handed out by its backward pass. So any optimiser,
    loop, scaler or wrapper for several devices sees one loss and one backward pass, whose gradients are those of the
    whole batch. They are taken in `parameters` only, and cannot be differentiated again.
    """
    total = torch.zeros((), device=patterns.device)
    gradients = [torch.zeros_like(parameter) for parameter in parameters]
    pieces = [itertools.repeat(None) if x is None else x.split(chunk) for x in more]
    for some, *others in zip(patterns.split(chunk), *pieces, strict=False):
        part = len(some) / len(patterns) * loss(some, *others)
        # in place: a second copy of all gradients would be part of the peak
        found = torch.autograd.grad(part, parameters, materialize_grads=True)
        for gradient, new in zip(gradients, found, strict=True):
            gradient += new
        total = total + part.detach()
    linear = torch.stack([(p * gradient).sum() for p, gradient in zip(parameters, gradients, strict=True)]).sum()
    return total + (linear - linear.detach())  # adds 0, with the gradients that were added up
