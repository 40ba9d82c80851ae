"""Distortions change what the mask says and nothing else, as often and as far as they should."""

import hashlib
import math

import numpy as np
import pytest

from lightning_ebm.data.distortions import (
    AnyOf,
    ErasedBlock,
    Gaussian,
    Half,
    NoiseBlock,
    Occlusion,
    RandomPixels,
    RedrawnBits,
    SaltAndPepper,
)
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import Choice, distortions

BITS = PatternSpec((128,), binary=True)
DRAWING = PatternSpec((1, 32, 32), binary=True)
PHOTO = PatternSpec((3, 20, 28), binary=False)
SIGNAL = PatternSpec((40,), binary=False)

NOISE = {  # distortions that put in uniform noise, or bits
    "bits": (RedrawnBits(BITS, count=64), BITS),
    "bits of a drawing": (RedrawnBits(DRAWING, count=100), DRAWING),
    "all bits": (RedrawnBits(BITS, count=128), BITS),
    "one bit": (RedrawnBits(BITS, count=1), BITS),
    "some bits": (RedrawnBits(BITS, count=[1, 128]), BITS),
    "block": (NoiseBlock(DRAWING, size=16), DRAWING),
    "block of a photo": (NoiseBlock(PHOTO, size=7), PHOTO),
    "largest block": (NoiseBlock(PHOTO, size=20), PHOTO),
    "smallest block": (NoiseBlock(PHOTO, size=1), PHOTO),
    "any block": (NoiseBlock(PHOTO, size=[1, 20]), PHOTO),
    "stretch": (NoiseBlock(SIGNAL, size=[5, 9]), SIGNAL),
    "pixels": (RandomPixels(PHOTO, share=0.3), PHOTO),
    "values": (RandomPixels(SIGNAL, share=[0, 0.5]), SIGNAL),
    "all pixels": (RandomPixels(DRAWING, share=1), DRAWING),
    "half": (Half(PHOTO), PHOTO),
    "half of the bits": (Half(BITS), BITS),
    "left half": (Half(DRAWING, "left"), DRAWING),
}
CASES = NOISE | {
    "erased block": (ErasedBlock(PHOTO, [3, 7], 0.5), PHOTO),
    "erased stretch": (ErasedBlock(BITS, 16, 0), BITS),
    "salt and pepper": (SaltAndPepper(PHOTO, 0.2), PHOTO),
    "salt and pepper on values": (SaltAndPepper(SIGNAL, [0, 1]), SIGNAL),
    "gaussian": (Gaussian(PHOTO, [0, 0.4]), PHOTO),
    "gaussian on bits": (Gaussian(BITS), BITS),
    "erased half": (Half(PHOTO, "random", 0.5), PHOTO),
    "occlusion": (Occlusion(PHOTO, [5, 10]), PHOTO),
    "occluded bits": (Occlusion(BITS, 40), BITS),
    "any of three": (AnyOf([NoiseBlock(PHOTO, 9), Half(PHOTO), Occlusion(PHOTO, 5)]), PHOTO),
}
SIDES = {"left": np.s_[..., :14], "right": np.s_[..., 14:], "top": np.s_[..., :10, :], "bottom": np.s_[..., 10:, :]}
RECORDED = {  # of 9 patterns and generator 3: other bytes are other episodes, and old numbers no longer hold
    "bits": "acdf1f3699a6b7ed",
    "bits of a drawing": "987b2552854f7d2b",
    "block": "6f07d7870476e95c",
    "block of a photo": "d69168f10a2a4a72",
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
        assert (queries != patterns).any()

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


@pytest.mark.parametrize("case", NOISE)
def test_values_inside_the_mask_are_new(case):
    distort, spec = NOISE[case]
    patterns = patterns_of(spec, 1000)
    queries, mask = distort(patterns, np.random.default_rng(1))
    wrong = (queries != patterns)[mask].mean()
    if spec.binary:  # by chance, half of the new bits are the old ones
        assert set(np.unique(queries)) == {0, 1}
        assert abs(queries[mask].mean() - 0.5) < 5 * 0.5 / np.sqrt(mask.sum())
        assert abs(wrong - 0.5) < 5 * 0.5 / np.sqrt(mask.sum())
    else:
        assert wrong > 1 - 1e-5  # of 2^24 numbers
        assert abs(queries[mask].mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / mask.sum())
        assert abs(queries[mask].var() - 1 / 12) < 5 * np.sqrt(1 / 180 / mask.sum())


@pytest.mark.parametrize("case", RECORDED)
def test_the_bytes_are_those_that_were_recorded(case):
    distort, spec = CASES[case]
    queries, mask = distort(patterns_of(spec, 9), np.random.default_rng(3))
    assert hashlib.sha256(queries.tobytes() + mask.tobytes()).hexdigest()[:16] == RECORDED[case]


class TestRedrawnBits:
    def test_the_count_is_exact(self):
        for count in (1, 64, 127, 128):
            _, mask = RedrawnBits(BITS, count)(patterns_of(BITS, 200), np.random.default_rng(0))
            assert (mask.sum(1) == count).all()

    def test_counts_of_a_range_are_equally_likely(self):
        _, mask = RedrawnBits(BITS, [32, 64])(patterns_of(BITS, 6600), np.random.default_rng(0))
        counts = np.bincount(mask.sum(1))
        assert counts[:32].sum() == 0 and len(counts) == 65
        assert 32 - 5 * 8 < ((counts[32:] - 200) ** 2 / 200).sum() < 32 + 5 * 8  # chi square, 32 degrees of freedom

    @pytest.mark.parametrize("count", [64, [64, 65]])
    def test_every_position_is_as_likely_as_any_other(self, count):
        _, mask = RedrawnBits(BITS, count)(patterns_of(BITS, 4000), np.random.default_rng(0))
        assert np.abs(mask.mean(0) - np.mean(count) / 128).max() < 5 * 0.5 / np.sqrt(4000)

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


@pytest.mark.parametrize("kind", [NoiseBlock, ErasedBlock, Occlusion])
class TestBlocks:
    @pytest.mark.parametrize(("spec", "size"), [(DRAWING, 16), (PHOTO, 7), (PHOTO, 20), (PHOTO, 1), (PHOTO, [2, 9])])
    def test_the_mask_is_one_square_in_all_channels(self, kind, spec, size):
        _, mask = kind(spec, size)(patterns_of(spec, 100), np.random.default_rng(0))
        sides = set()
        for item in mask:
            assert (item == item[0]).all()
            rows, columns = np.flatnonzero(item[0].any(1)), np.flatnonzero(item[0].any(0))
            assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()
            assert len(rows) == len(columns) and item[0].sum() == len(rows) ** 2
            sides.add(len(rows))
        assert sides == ({*range(2, 10)} if size == [2, 9] else {size})

    def test_every_place_is_as_likely_as_any_other(self, kind):
        _, mask = kind(PHOTO, 16)(patterns_of(PHOTO, 6500), np.random.default_rng(0))
        top, left = mask[:, 0].any(2).argmax(1), mask[:, 0].any(1).argmax(1)
        places = np.bincount(top * 13 + left)  # 5 x 13 of them
        assert len(places) == 65
        assert 65 - 5 * np.sqrt(130) < ((places - 100) ** 2 / 100).sum() < 65 + 5 * np.sqrt(130)  # chi square

    def test_of_a_vector_it_is_a_stretch(self, kind):
        _, mask = kind(BITS, 100)(patterns_of(BITS, 2900), np.random.default_rng(0))
        assert (mask.sum(1) == 100).all()
        assert (np.diff(mask.astype(int), axis=1) == 1).sum(1).max() <= 1
        places = np.bincount(mask.argmax(1), minlength=29)
        assert 28 - 5 * np.sqrt(56) < ((places - 100) ** 2 / 100).sum() < 28 + 5 * np.sqrt(56)

    @pytest.mark.parametrize("size", [0, 21])
    def test_the_size_is_checked(self, kind, size):
        with pytest.raises(ValueError, match=rf"distortion\.size must lie between 1 and .*20, got {size}"):
            kind(PHOTO, size)

    def test_it_refuses_other_shapes(self, kind):
        with pytest.raises(ValueError, match=r"vectors and images .* only, not patterns of shape \(4, 4\).*random_pix"):
            kind(PatternSpec((4, 4), binary=True), 2)


def test_channels_have_noise_of_their_own():
    queries, mask = NoiseBlock(PHOTO, 20)(patterns_of(PHOTO, 1), np.random.default_rng(0))
    red, green, _ = (channel[mask[0, 0]] for channel in queries[0])
    assert abs(np.corrcoef(red, green)[0, 1]) < 5 / np.sqrt(400)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_an_erased_block_has_one_value(value):
    queries, mask = ErasedBlock(PHOTO, 5, value)(patterns_of(PHOTO, 20), np.random.default_rng(0))
    assert (queries[mask] == value).all()
    with pytest.raises(ValueError, match=r"distortion\.value must be one of 0, 0\.5, 1, got 0\.3"):
        ErasedBlock(PHOTO, 5, 0.3)


@pytest.mark.parametrize("kind", [RandomPixels, SaltAndPepper])
class TestPixels:
    def test_the_share_is_that_of_whole_pixels_and_places_are_equally_likely(self, kind):
        _, mask = kind(PHOTO, 0.3)(patterns_of(PHOTO, 2000), np.random.default_rng(0))
        assert (mask == mask[:, :1]).all()
        assert (mask[:, 0].sum((1, 2)) == 0.3 * 20 * 28).all()
        assert np.abs(mask[:, 0].mean(0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2000)

    def test_none_and_all(self, kind):
        for share in (0, 1):
            queries, mask = kind(DRAWING, share)(patterns_of(DRAWING, 9), np.random.default_rng(0))
            assert (mask == bool(share)).all()
        assert (queries != patterns_of(DRAWING, 9)).any()

    def test_any_shape(self, kind):
        spec = PatternSpec((5, 4), binary=True)
        queries, mask = kind(spec, 0.5)(patterns_of(spec, 400), np.random.default_rng(0))
        assert (mask.sum((1, 2)) == 10).all()
        assert abs((queries != patterns_of(spec, 400)).mean() - 0.25) < 5 * np.sqrt(0.1875 / 8000)


def test_salt_and_pepper_are_white_and_black_pixels():
    queries, mask = SaltAndPepper(PHOTO, 0.5)(patterns_of(PHOTO, 100), np.random.default_rng(0))
    values = queries[mask].reshape(100, 3, -1)
    assert (values == values[:, :1]).all()
    assert set(np.unique(values)) == {0, 1}
    assert abs(values[:, 0].mean() - 0.5) < 5 * 0.5 / np.sqrt(values[:, 0].size)


class TestGaussian:
    def test_far_from_the_bounds_it_is_normal(self):
        patterns = np.full((50, 3, 20, 28), 0.5, np.float32)
        queries, mask = Gaussian(PHOTO, 0.1)(patterns, np.random.default_rng(0))
        noise = queries - patterns
        assert mask.all()
        assert abs(noise.mean()) < 5 * 0.1 / np.sqrt(noise.size)
        assert abs(noise.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * noise.size)

    def test_bits_become_real_values_and_half_of_them_stay(self):
        patterns = patterns_of(BITS, 400)
        queries, _ = Gaussian(BITS, 0.25)(patterns, np.random.default_rng(0))
        assert abs((queries == patterns).mean() - 0.5) < 5 * 0.5 / np.sqrt(queries.size)
        wrong = math.erfc(0.5 / 0.25 / math.sqrt(2)) / 2  # of values that cross 0.5
        assert abs(((queries > 0.5) != patterns).mean() - wrong) < 5 * np.sqrt(wrong / queries.size)

    def test_each_pattern_has_its_own_deviation(self):
        patterns = np.full((2000, 3, 20, 28), 0.5, np.float32)[:, :1]
        queries, _ = Gaussian(PHOTO, [0, 0.1])(patterns, np.random.default_rng(0))
        deviations = queries.std((1, 2, 3))
        assert deviations.min() < 0.001 and abs(deviations.mean() - 0.05) < 5 * 0.1 / math.sqrt(12 * 2000)


class TestHalf:
    @pytest.mark.parametrize("side", SIDES)
    def test_it_is_that_half(self, side):
        queries, mask = Half(PHOTO, side, 1)(patterns_of(PHOTO, 5), np.random.default_rng(0))
        expected = np.zeros(mask.shape, bool)
        expected[SIDES[side]] = True
        assert (mask == expected).all() and (queries[mask] == 1).all()

    def test_a_random_half_is_each_as_often(self):
        _, mask = Half(PHOTO)(patterns_of(PHOTO, 2000), np.random.default_rng(0))
        counts = [mask[:, 0][where].all((1, 2)).sum() for where in SIDES.values()]
        assert sum(counts) == 2000 and np.abs(np.array(counts) - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)

    def test_of_a_vector_it_is_the_first_or_second(self):
        _, mask = Half(PatternSpec((7,), binary=False))(
            patterns_of(PatternSpec((7,), False), 50), np.random.default_rng(0)
        )
        assert {tuple(map(int, item)) for item in mask} == {(1, 1, 1, 0, 0, 0, 0), (0, 0, 0, 0, 1, 1, 1)}

    @pytest.mark.parametrize(
        ("spec", "settings", "message"),
        [
            (PHOTO, {"side": "up"}, r"distortion\.side must be one of random, left, right, top, bottom, got 'up'"),
            (BITS, {"side": "top"}, r"distortion\.side must be one of random, left, right, got 'top'"),
            (PHOTO, {"fill": 0.3}, r"distortion\.fill must be one of noise, 0, 0\.5, 1, got 0\.3"),
            (PHOTO, {"fill": True}, r"distortion\.fill must be one of"),
            (PatternSpec((1, 1, 8), True), {}, "sides of at least 2"),
        ],
    )
    def test_settings_are_checked(self, spec, settings, message):
        with pytest.raises(ValueError, match=message):
            Half(spec, **settings)


class TestOcclusion:
    def test_the_block_is_that_of_another_pattern_each_as_often(self):
        patterns = np.arange(5, dtype=np.float32)[:, None, None, None] / 10 + np.zeros((5, *PHOTO.shape), np.float32)
        occlude, random = Occlusion(PHOTO, 4), np.random.default_rng(0)
        counts = np.zeros((5, 5))
        for _ in range(400):
            queries, mask = occlude(patterns, random)
            inside = queries[mask].reshape(5, 3 * 16)
            assert (inside == inside[:, :1]).all()
            counts[np.arange(5), np.rint(10 * inside[:, 0]).astype(int)] += 1
        assert (np.diag(counts) == 0).all()
        assert np.abs(counts[~np.eye(5, dtype=bool)] - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)

    def test_the_block_comes_from_the_same_place(self):
        patterns = patterns_of(PHOTO, 2)
        queries, mask = Occlusion(PHOTO, 6)(patterns, np.random.default_rng(0))
        assert (queries[mask] == patterns[::-1][mask]).all()

    def test_it_needs_another_pattern(self):
        with pytest.raises(ValueError, match=r"episodes\.items must be at least 2"):
            Occlusion(PHOTO, 6)(patterns_of(PHOTO, 1), np.random.default_rng(0))


class TestAnyOf:
    def test_each_is_as_likely_and_one_named_twice_is_twice(self):
        parts = [ErasedBlock(PHOTO, 4, 0), *[SaltAndPepper(PHOTO, 0)] * 2, Gaussian(PHOTO)]
        _, mask = AnyOf(parts)(patterns_of(PHOTO, 2000), np.random.default_rng(0))
        counts = [(mask.sum((1, 2, 3)) == values).sum() for values in (48, 0, 1680)]
        assert np.abs(np.array(counts) - [500, 1000, 500]).max() < 5 * np.sqrt(2000 * 0.25)

    def test_there_must_be_some(self):
        with pytest.raises(ValueError, match=r"distortion\.of must name distortions"):
            AnyOf([])

    def test_an_error_says_which(self):
        config = AnyOf.config([Choice("half", Half.config()), Choice("noise_block", NoiseBlock.config(99))])
        with pytest.raises(ValueError, match=r"distortion\.of\[1\]: distortion\.size .* got 99"):
            AnyOf.from_config(config, PHOTO)


@pytest.mark.parametrize("name", sorted({*distortions.names()} - {"any_of"}))
def test_every_distortion_works_with_its_default_settings(name):
    for spec in (BITS, DRAWING):
        queries, mask = distortions.build(name, spec)(patterns_of(spec, 4), np.random.default_rng(0))
        assert mask.any() and (queries != patterns_of(spec, 4)).any()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("redrawn_bits", "count", 3), ("redrawn_bits", "count", [3, 5]), ("noise_block", "size", 3),
        ("erased_block", "size", [3, 5]), ("occlusion", "size", 3), ("random_pixels", "share", 0.5),
        ("salt_and_pepper", "share", [0.1, 0.5]), ("gaussian", "deviation", 0.5),
    ],
)  # fmt: skip
def test_from_config(name, key, value):
    loaded = distortions.load(name)
    distort = loaded.from_config(loaded.config(**{key: value}), DRAWING)
    strength = getattr(distort, key)
    assert [strength.low, strength.high] == (value if isinstance(value, list) else [value, value])
