"""Errors of recalled patterns, in the units of the literature's tables.

`RecallError` and `ExactRecall` are torchmetrics: they add up batches, also over several processes. PSNR and SSIM are
those of torchmetrics, whose images have one leading axis:

    from torchmetrics.image import PeakSignalNoiseRatio

    psnr = PeakSignalNoiseRatio(data_range=1.0)
    psnr.update(answer.flatten(0, 1), patterns.flatten(0, 1))
"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from lightning_ebm.memory import PatternSpec


def unit(spec: PatternSpec) -> str:
    """What errors count, per pattern."""
    if spec.binary:
        return f"wrong {'bits' if len(spec.shape) == 1 else 'pixels'} of {spec.size}"
    return "squared error, summed over the pattern"


def to_numpy(values: Tensor) -> np.ndarray:
    """Values on any device as a float32 array; NumPy has no bfloat16."""
    return values.detach().float().cpu().numpy()


def value_errors(answer: Tensor, patterns: Tensor, spec: PatternSpec) -> Tensor:
    """The error of each value.

    Args:
        answer: recalled patterns, (episodes, items, *shape), values in [0, 1].
        patterns: the stored ones, of the same shape.
        spec: binary patterns count 1 for a value on the wrong side of 0.5, and 1/2 for 0.5 itself, which decides
            nothing; others count the squared difference.

    Returns:
        (episodes, items, *shape), not negative, float32 or float64: sums of bfloat16 lose what they count. NaN where
        the answer is.

    Raises:
        ValueError: if the shapes differ.
    """
    if answer.shape != patterns.shape:
        raise ValueError(f"answer and patterns must have one shape, got {tuple(answer.shape)}, {tuple(patterns.shape)}")
    answer, patterns = (x if x.dtype == torch.float64 else x.float() for x in (answer, patterns))
    if spec.binary:
        errors = ((answer - 0.5).sign() - (patterns - 0.5).sign()).abs() / 2
        return errors.masked_fill(answer.isnan(), torch.nan)  # whose sign is 0
    return (answer - patterns).square()


def pattern_errors(answer: Tensor, patterns: Tensor, spec: PatternSpec, where: Tensor | None = None) -> Tensor:
    """The error of each pattern: value errors summed over the pattern, or over where `where` is True.

    Returns:
        (episodes, items), in `unit(spec)`.

    Raises:
        ValueError: if the shapes differ.
    """
    errors = value_errors(answer, patterns, spec)
    if where is not None and where.shape != errors.shape:
        raise ValueError(f"the mask must have the patterns' shape, {tuple(errors.shape)}, got {tuple(where.shape)}")
    return (errors if where is None else errors * where).flatten(2).sum(2)


def recalled(answer: Tensor, patterns: Tensor, spec: PatternSpec) -> Tensor:
    """Which patterns were recalled: binary ones without a wrong value, others with a small mean squared error.

    Small is below 0.00125, the criterion of BayesPCN (Yoo and Wood, 2022; there 0.005, on values from -1 to 1).

    Returns:
        (episodes, items), bool.
    """
    errors = pattern_errors(answer, patterns, spec)
    return errors == 0 if spec.binary else errors / spec.size < 0.00125


def similarity(answer: Tensor, patterns: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004) of each image with its pattern, Gaussian windows of 11x11 pixels.

    As in torchmetrics, windows also lie across the border, over the image's reflection.

    Args:
        answer: (episodes, items, channels, height, width), values in [0, 1].
        patterns: the same.

    Returns:
        (episodes, items), at most 1; NaN where patterns are not images of at least 11x11 pixels.
    """
    if patterns.ndim != 5 or min(patterns.shape[3:]) < 11:
        return torch.full(patterns.shape[:2], torch.nan)
    answer, images = answer.flatten(0, 1).double(), patterns.flatten(0, 1).double()  # variances are differences
    each = structural_similarity_index_measure(answer, images, data_range=1.0, reduction="none")
    return torch.as_tensor(each).view(patterns.shape[:2])


class MeanOverPatterns(Metric):
    """The mean of a number of each pattern, over all batches and processes."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, spec: PatternSpec) -> None:
        super().__init__()
        self.spec = spec
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Adds a number for each pattern, (episodes, items)."""
        # not in place: Lightning may have reset the sums in inference mode, and such tensors cannot be changed outside
        self.total = self.total + values.double().sum()
        self.count = self.count + values.numel()

    def compute(self) -> Tensor:
        """The mean over all patterns seen; NaN before any."""
        return self.total / self.count


class RecallError(MeanOverPatterns):
    """Mean error of a pattern: wrong bits or pixels if it is binary, otherwise the squared error, summed over it.

        error = RecallError(spec)
        error.update(memory.read(state, queries)[-1], patterns)
        error.compute()

    Args:
        spec: kind of the patterns.
        corrupted: count corrupted values only; `update` then needs the mask.
    """

    higher_is_better = False

    def __init__(self, spec: PatternSpec, corrupted: bool = False) -> None:
        super().__init__(spec)
        self.corrupted = corrupted

    def update(self, answer: Tensor, patterns: Tensor, mask: Tensor | None = None) -> None:
        """Adds the patterns of a batch.

        Args:
            answer: recalled patterns, (episodes, items, *shape), values in [0, 1].
            patterns: the stored ones, of the same shape.
            mask: the same shape, bool, True where the query was corrupted. Needed only to count corrupted values.
        """
        if self.corrupted and mask is None:
            raise ValueError("mask must say which values were corrupted: RecallError(corrupted=True) counts only these")
        self.add(pattern_errors(answer, patterns, self.spec, mask if self.corrupted else None))


class ExactRecall(MeanOverPatterns):
    """Share of patterns that were recalled, from 0 to 1.

    Binary ones are without a wrong value, others have a mean squared error below 0.00125; see `recalled`.
    """

    higher_is_better = True

    def update(self, answer: Tensor, patterns: Tensor) -> None:
        """Adds the patterns of a batch; shapes as in `RecallError.update`."""
        self.add(recalled(answer, patterns, self.spec))
