"""Distortions change what the mask says and nothing else, as often and as far as they should."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from lightning_ebm.data.distortions import NoiseBlock, RedrawnBits
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import distortions

BITS = PatternSpec((128,), binary=True)
DRAWING = PatternSpec((1, 32, 32), binary=True)
PHOTO = PatternSpec((3, 20, 28), binary=False)

CASES = {
    "bits": (RedrawnBits(BITS, count=64), BITS),
    "bits of a drawing": (RedrawnBits(DRAWING, count=100), DRAWING),
    "all bits": (RedrawnBits(BITS, count=128), BITS),
    "one bit": (RedrawnBits(BITS, count=1), BITS),
    "block": (NoiseBlock(DRAWING, size=16), DRAWING),
    "block of a photo": (NoiseBlock(PHOTO, size=7), PHOTO),
    "largest block": (NoiseBlock(PHOTO, size=20), PHOTO),
    "smallest block": (NoiseBlock(PHOTO, size=1), PHOTO),
}


def patterns_of(spec: PatternSpec, items: int) -> np.ndarray:
    values = np.random.default_rng(5).random((items, *spec.shape), np.float32)
    return np.round(values) if spec.binary else values


@pytest.mark.parametrize("case", CASES)
class TestAll:
    def test_values_outside_the_mask_are_untouched(self, case):
        distort, spec = CASES[case]
        patterns = patterns_of(spec, 50)
        before = patterns.copy()
        queries, mask = distort(patterns, np.random.default_rng(0))
        assert (patterns == before).all()
        assert queries.shape == mask.shape == patterns.shape
        assert (queries.dtype, mask.dtype) == (np.float32, np.bool_)
        assert (queries[~mask] == patterns[~mask]).all()
        assert (queries >= 0).all() and (queries <= 1).all()

    def test_values_inside_the_mask_are_new(self, case):
        distort, spec = CASES[case]
        patterns = patterns_of(spec, 1000)
        queries, mask = distort(patterns, np.random.default_rng(1))
        wrong = (queries != patterns)[mask].mean()
        if spec.binary:  # by chance, half of the new bits are the old ones
            assert set(np.unique(queries)) == {0, 1}
            assert abs(queries[mask].mean() - 0.5) < 5 * 0.5 / np.sqrt(mask.sum())
            assert abs(wrong - 0.5) < 5 * 0.5 / np.sqrt(mask.sum())
        else:
            assert wrong == 1
            assert abs(queries[mask].mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / mask.sum())
            assert abs(queries[mask].var() - 1 / 12) < 5 * np.sqrt(1 / 180 / mask.sum())

    def test_it_depends_on_the_generator_only(self, case):
        distort, spec = CASES[case]
        patterns = patterns_of(spec, 9)
        a, b, c = (distort(patterns, np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert (a[0] == b[0]).all() and (a[1] == b[1]).all()
        assert (a[0] != c[0]).any()

    def test_it_takes_views_and_frozen_patterns(self, case):
        distort, spec = CASES[case]
        patterns = np.broadcast_to(patterns_of(spec, 1), (4, *spec.shape))
        queries, mask = distort(patterns, np.random.default_rng(0))
        queries[:], mask[:] = 0, False


class TestRedrawnBits:
    def test_the_count_is_exact(self):
        for count in (1, 64, 127, 128):
            _, mask = RedrawnBits(BITS, count)(patterns_of(BITS, 200), np.random.default_rng(0))
            assert (mask.sum(1) == count).all()

    def test_every_position_is_as_likely_as_any_other(self):
        _, mask = RedrawnBits(BITS, 64)(patterns_of(BITS, 4000), np.random.default_rng(0))
        assert np.abs(mask.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(4000)

    def test_every_pattern_has_its_own_positions(self):
        _, mask = RedrawnBits(BITS, 64)(patterns_of(BITS, 4000), np.random.default_rng(0))
        shared = (mask[1:] & mask[:-1]).sum(1)  # hypergeometric: mean 64 * 64 / 128, variance 8.06
        assert abs(shared.mean() - 32) < 5 * np.sqrt(8.06 / 4000)
        assert abs(shared.var() - 8.06) < 1

    @pytest.mark.parametrize("count", [0, -1, 129])
    def test_the_count_is_checked(self, count):
        with pytest.raises(ValueError, match=rf"distortion\.count must lie between 1 and .*128.*got {count}"):
            RedrawnBits(BITS, count)

    def test_it_refuses_photos(self):
        with pytest.raises(ValueError, match=r"binary patterns only.*noise_block"):
            RedrawnBits(PHOTO)


class TestNoiseBlock:
    @pytest.mark.parametrize(("spec", "size"), [(DRAWING, 16), (PHOTO, 7), (PHOTO, 20), (PHOTO, 1)])
    def test_the_mask_is_one_square_in_all_channels(self, spec, size):
        _, mask = NoiseBlock(spec, size)(patterns_of(spec, 100), np.random.default_rng(0))
        for item in mask:
            assert (item == item[0]).all()
            rows, columns = np.flatnonzero(item[0].any(1)), np.flatnonzero(item[0].any(0))
            assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()
            assert (len(rows), len(columns)) == (size, size)
            assert item[0].sum() == size * size

    def test_every_place_is_as_likely_as_any_other(self):
        _, mask = NoiseBlock(PHOTO, 16)(patterns_of(PHOTO, 6500), np.random.default_rng(0))
        top, left = mask[:, 0].any(2).argmax(1), mask[:, 0].any(1).argmax(1)
        places = np.bincount(top * 13 + left)  # 5 x 13 of them
        assert len(places) == 65
        assert 65 - 5 * np.sqrt(130) < ((places - 100) ** 2 / 100).sum() < 65 + 5 * np.sqrt(130)  # chi square

    def test_channels_have_noise_of_their_own(self):
        queries, mask = NoiseBlock(PHOTO, 20)(patterns_of(PHOTO, 1), np.random.default_rng(0))
        red, green, _ = (channel[mask[0, 0]] for channel in queries[0])
        assert abs(np.corrcoef(red, green)[0, 1]) < 5 / np.sqrt(400)

    @pytest.mark.parametrize("size", [0, 21])
    def test_the_size_is_checked(self, size):
        with pytest.raises(ValueError, match=rf"distortion\.size must lie between 1 and .*20, got {size}"):
            NoiseBlock(PHOTO, size)

    def test_it_refuses_bits(self):
        with pytest.raises(ValueError, match=r"images \(channels, height, width\) only.*redrawn_bits"):
            NoiseBlock(BITS)


@pytest.mark.parametrize(("name", "key"), [("redrawn_bits", "count"), ("noise_block", "size")])
def test_from_config(name, key):
    loaded = distortions.load(name)
    distort = loaded.from_config(OmegaConf.structured(loaded.config(**{key: 3})), DRAWING)
    assert getattr(distort, key) == 3
