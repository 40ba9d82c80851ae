"""The public metrics, against the same numbers in NumPy and scikit-learn, one pattern at a time."""

import numpy as np
import pytest
import torch
from sklearn.metrics import hamming_loss, mean_squared_error
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

import lightning_ebm as lebm
from lightning_ebm.metrics import similarity

BITS = lebm.PatternSpec((20,), binary=True)
GREY = lebm.PatternSpec((1, 12, 12), binary=False)


def batches(spec, noise):
    """Three batches of different sizes: answers, patterns and masks."""
    made = torch.Generator().manual_seed(3)
    for episodes, items in ((2, 3), (1, 5), (4, 1)):
        shape = (episodes, items, *spec.shape)
        patterns = torch.rand(shape, generator=made)
        answer = (patterns + noise * torch.randn(shape, generator=made)).clamp(0, 1)
        yield answer, patterns.round() if spec.binary else patterns, torch.rand(shape, generator=made) < 0.3


def each(spec, noise):
    """The patterns one after the other, as arrays of float64."""
    for answer, patterns, mask in batches(spec, noise):
        for values in zip(answer.flatten(0, 1), patterns.flatten(0, 1), mask.flatten(0, 1), strict=True):
            yield [value.flatten().double().numpy() for value in values]


@pytest.mark.parametrize("corrupted", [False, True])
@pytest.mark.parametrize("spec", [BITS, GREY])
def test_recall_error(spec, corrupted):
    metric = lebm.RecallError(spec, corrupted=corrupted)
    for batch in batches(spec, 0.1):
        metric.update(*batch)
    expected = []
    for answer, pattern, mask in each(spec, 0.1):
        chosen = mask.astype(bool) if corrupted else np.ones(len(mask), bool)
        one, other = answer[chosen], pattern[chosen]
        wrong = hamming_loss(other > 0.5, one > 0.5) if spec.binary else mean_squared_error(other, one)
        expected.append(wrong * chosen.sum())
    assert metric.compute().item() == pytest.approx(np.mean(expected), rel=1e-6)
    assert 0 < metric.compute() < spec.size


def test_an_undecided_bit_is_half_an_error():
    metric = lebm.RecallError(BITS)
    metric.update(torch.full((1, 2, 20), 0.5), torch.eye(20)[None, :2])
    assert metric.compute().item() == 10


def test_wrong_bits_of_low_precision_are_counted_one_by_one():
    metric = lebm.RecallError(lebm.PatternSpec((1000,), binary=True))
    answer = (torch.arange(1000) < 301).bfloat16().view(1, 1, 1000)  # above 256 its whole numbers are even
    metric.update(answer, torch.zeros_like(answer))
    assert metric.compute().item() == 301


@pytest.mark.parametrize(("spec", "noise"), [(BITS, 0.02), (GREY, 0.035)])
def test_exact_recall(spec, noise):
    metric = lebm.ExactRecall(spec)
    for answer, patterns, _ in batches(spec, noise):
        metric.update(answer, patterns)
    found = [
        np.array_equal(one > 0.5, other > 0.5) if spec.binary else mean_squared_error(other, one) < 0.00125
        for one, other, _ in each(spec, noise)
    ]
    assert metric.compute().item() == pytest.approx(np.mean(found))
    assert 0 < np.mean(found) < 1


def test_metrics_of_two_processes_add_up():
    """As torchmetrics sums the states of all processes."""
    whole, parts = lebm.RecallError(BITS), [lebm.RecallError(BITS), lebm.RecallError(BITS)]
    for rank, (answer, patterns, _) in enumerate(batches(BITS, 0.2)):
        whole.update(answer, patterns)
        parts[rank % 2].update(answer, patterns)
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == whole.compute()


def test_they_go_into_a_collection_with_those_of_torchmetrics():
    answer, patterns, _mask = next(batches(GREY, 0.1))
    ours = MetricCollection({"error": lebm.RecallError(GREY), "exact": lebm.ExactRecall(GREY)})
    assert set(ours(answer, patterns)) == {"error", "exact"}
    psnr = PeakSignalNoiseRatio(data_range=1.0)
    psnr.update(answer.flatten(0, 1), patterns.flatten(0, 1))
    mse = np.mean((answer - patterns).double().numpy() ** 2)
    assert psnr.compute().item() == pytest.approx(-10 * np.log10(mse), rel=1e-5)
    ssim = StructuralSimilarityIndexMeasure(data_range=1.0)
    ssim.update(answer.flatten(0, 1).double(), patterns.flatten(0, 1).double())
    assert ssim.compute().item() == pytest.approx(similarity(answer, patterns).mean().item())


def test_corrupted_values_need_a_mask():
    answer, patterns, _ = next(batches(BITS, 0.1))
    with pytest.raises(ValueError, match="mask must say which values were corrupted"):
        lebm.RecallError(BITS, corrupted=True).update(answer, patterns)
