"""Strengths are a number, or a range that each pattern draws its own from."""

import math

import numpy as np
import pytest

from lightning_ebm.data.distortions import RandomPixels
from lightning_ebm.data.distortions.strength import Strength
from lightning_ebm.memory import PatternSpec

PHOTO = PatternSpec((3, 20, 28), binary=False)


def test_a_number_is_the_same_for_all_and_leaves_the_generator_alone():
    random = np.random.default_rng(0)
    assert (Strength.of(3, "size", 1, 9, whole=True).draw(5, random) == 3).all()
    assert (Strength.of([0.5, 0.5], "share", 0, 1).draw(5, random) == 0.5).all()
    assert random.random() == np.random.default_rng(0).random()


def test_whole_numbers_of_a_range_are_equally_likely_both_ends_included():
    drawn = Strength.of([2, 6], "size", 1, 9, whole=True).draw(5000, np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=7)
    assert counts[:2].sum() == 0 and len(counts) == 7
    assert np.abs(counts[2:] - 1000).max() < 5 * math.sqrt(5000 * 0.2 * 0.8)


def test_numbers_of_a_range_are_uniform():
    drawn = Strength.of([0.25, 0.75], "share", 0, 1).draw(5000, np.random.default_rng(0))
    assert 0.25 <= drawn.min() < 0.26 and 0.74 < drawn.max() <= 0.75
    assert abs(drawn.mean() - 0.5) < 5 * 0.5 / math.sqrt(12 * 5000)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("much", "must be a whole number or a range [low, high] of them, got 'much'"),
        (True, "must be a whole number"),
        (2.5, "must be a whole number"),
        (None, "must be a whole number"),
        ([3], "must be a whole number"),
        ([1, 2, 3], "must be a whole number"),
        ([5, 3], "must be a range [low, high] that rises, got [5, 3]"),
        ([0, 3], "must lie between 1 and the 9 there are, got [0, 3]"),
        (10, "must lie between 1 and the 9 there are, got 10"),
    ],
)
def test_anything_else_is_refused(setting, message):
    with pytest.raises(ValueError) as caught:
        Strength.of(setting, "size", 1, 9, "the 9 there are", whole=True)
    assert str(caught.value).startswith(f"distortion.size {message}")


@pytest.mark.parametrize("share", [math.nan, [0, math.nan], math.inf, -0.1, 1.01])
def test_shares_are_checked(share):
    with pytest.raises(ValueError, match=r"distortion\.share must lie between 0 and 1, got"):
        RandomPixels(PHOTO, share)
