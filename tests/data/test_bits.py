"""Random bits: fair and independent."""

import numpy as np

from lightning_ebm.data.bits import RandomBits, RandomBitsConfig


def test_shape_type_and_values():
    bits = RandomBits(RandomBitsConfig(size=10)).draw("train", 7, np.random.default_rng(0))
    assert bits.shape == (7, 10)
    assert bits.dtype == np.float32
    assert set(np.unique(bits)) == {0, 1}


def test_bits_are_fair_and_independent():
    bits = RandomBits().draw("train", 4000, np.random.default_rng(0))
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(4000)
    assert np.abs(np.corrcoef(bits.T)[~np.eye(128, dtype=bool)]).max() < 5 / np.sqrt(4000)
