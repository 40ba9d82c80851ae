"""Random bits: fair, independent, and never the same in two splits."""

import numpy as np
import pytest

from lightning_ebm.data.bits import RandomBits, RandomBitsConfig
from lightning_ebm.data.episodes import episode_random


def test_shape_type_and_values():
    bits = RandomBits(RandomBitsConfig(size=10)).draw("train", 7, np.random.default_rng(0))
    assert bits.shape == (7, 10)
    assert bits.dtype == np.float32
    assert set(np.unique(bits)) == {0, 1}


def test_bits_are_fair_and_independent():
    bits = RandomBits().draw("train", 4000, np.random.default_rng(0))
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(4000)
    assert np.abs(np.corrcoef(bits.T)[~np.eye(128, dtype=bool)]).max() < 5 / np.sqrt(4000)


def test_splits_differ():
    source = RandomBits()
    drawn = [source.draw(split, 16, episode_random(0, split, 0)) for split in ("train", "val", "test")]
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        wrong = (drawn[a] != drawn[b]).sum(1)
        assert 32 < wrong.min() <= wrong.max() < 96  # 64 are expected, give or take 5.7


def test_size_is_checked():
    with pytest.raises(ValueError, match=r"size must be at least 1, got 0"):
        RandomBitsConfig(size=0)
