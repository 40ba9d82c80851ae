"""Errors of recalled patterns, in the units of the literature's tables."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_ebm.memory import PatternSpec


def unit(spec: PatternSpec) -> str:
    """What errors count, per pattern."""
    if spec.binary:
        return f"wrong {'bits' if len(spec.shape) == 1 else 'pixels'} of {spec.size}"
    return "squared error, summed over the pattern"


def value_errors(answer: Tensor, patterns: Tensor, spec: PatternSpec) -> Tensor:
    """The error of each value.

    Args:
        answer: recalled patterns, (episodes, items, *shape), values in [0, 1].
        patterns: the stored ones, of the same shape.
        spec: binary patterns count 1 for a value on the wrong side of 0.5; others count the squared difference.

    Returns:
        (episodes, items, *shape), not negative.
    """
    if spec.binary:
        return ((answer > 0.5) != (patterns > 0.5)).to(answer.dtype)
    return (answer - patterns).square()


def pattern_errors(answer: Tensor, patterns: Tensor, spec: PatternSpec, where: Tensor | None = None) -> Tensor:
    """The error of each pattern: value errors summed over the pattern, or over where `where` is True.

    Returns:
        (episodes, items), in `unit(spec)`.
    """
    errors = value_errors(answer, patterns, spec)
    return (errors if where is None else errors * where).flatten(2).sum(2)


class RecallError(Metric):
    """Mean error of a pattern, in `unit(spec)`.

    Args:
        spec: kind of the patterns.
        corrupted: count distorted values only.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, spec: PatternSpec, corrupted: bool = False) -> None:
        super().__init__()
        self.spec, self.corrupted = spec, corrupted
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, answer: Tensor, patterns: Tensor, mask: Tensor) -> None:
        """Adds the patterns of a batch; shapes as in `pattern_errors`, `mask` True where distorted."""
        errors = pattern_errors(answer, patterns, self.spec, mask if self.corrupted else None)
        # not in place: Lightning may have reset the sums in inference mode, and such tensors cannot be changed outside
        self.total = self.total + errors.double().sum()
        self.count = self.count + errors.numel()

    def compute(self) -> Tensor:
        """The mean over all patterns seen."""
        return self.total / self.count
