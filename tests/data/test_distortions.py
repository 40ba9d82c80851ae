"""Distortions change what the mask says and nothing else, as often and as far as they should."""

import hashlib
import math

import numpy as np
import pytest

from lightning_ebm.config import build_choice, merge, parse_overrides, resolve
from lightning_ebm.data.distortions import (
    FILLS,
    AnyOf,
    AnyOfConfig,
    Block,
    BlockConfig,
    Gaussian,
    GaussianConfig,
    Half,
    HalfConfig,
    Pixels,
    PixelsConfig,
    Strength,
)
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import Choice, distortions

BITS = PatternSpec((128,), binary=True)
DRAWING = PatternSpec((1, 32, 32), binary=True)
PHOTO = PatternSpec((3, 20, 28), binary=False)
SIGNAL = PatternSpec((40,), binary=False)


def block(spec, *settings, **more):
    return Block(spec, BlockConfig(*settings, **more)), spec


def pixels(spec, *settings, **more):
    return Pixels(spec, PixelsConfig(*settings, **more)), spec


def half(spec, *settings, **more):
    return Half(spec, HalfConfig(*settings, **more)), spec


NOISE = {  # distortions that put in uniform noise, or bits
    "bits": pixels(BITS, 64),
    "all bits": pixels(BITS, 128),
    "one bit": pixels(BITS, 1 / 128),
    "some bits": pixels(BITS, [1, 128]),
    "block": block(DRAWING, 16),
    "block of a photo": block(PHOTO, 7),
    "largest block": block(PHOTO, 20),
    "smallest block": block(PHOTO, 1),
    "any block": block(PHOTO, [1, 20]),
    "stretch": block(SIGNAL, [5, 9]),
    "pixels": pixels(PHOTO, 0.3),
    "counted pixels": pixels(PHOTO, 100),
    "values": pixels(SIGNAL, [0, 0.5]),
    "all pixels": pixels(DRAWING, 1),
    "half": half(PHOTO),
    "half of the bits": half(BITS),
    "left half": half(DRAWING, "left"),
}
CASES = NOISE | {
    f"{make.__name__} of {spec.shape} with {fill}": make(spec, fill=fill)
    for make in (block, pixels, half)
    for spec in (PHOTO, BITS)
    for fill in FILLS
    if fill != "noise"
}
CASES |= {
    "gaussian": (Gaussian(PHOTO), PHOTO),
    "gaussian bits": (Gaussian(BITS, GaussianConfig([0.1, 0.5])), BITS),
    "any of three": (AnyOf(PHOTO, AnyOfConfig([Choice("block", BlockConfig(9)), Choice("half", HalfConfig()),
                                               Choice("block", BlockConfig(5, "pattern"))])), PHOTO),
}  # fmt: skip
RECORDED = [  # of 9 patterns, the second draw of generator 3: other bytes are other episodes
    ({"name": "block", "fill": "noise", "size": 16}, DRAWING, "d81a661ddd9d477b"),
    ({"name": "block", "fill": "noise", "size": [2, 9]}, PHOTO, "36e9191d5f17aa71"),
    ({"name": "block", "fill": "pattern", "size": [2, 9]}, PHOTO, "5a208dbdc7eb6de9"),
    ({"name": "block", "fill": "pattern", "size": 16}, BITS, "d8f56a18eac00edf"),
    ({"name": "block", "fill": 0.5, "size": [2, 9]}, PHOTO, "f6cb720418f1acdd"),
    ({"name": "pixels", "amount": 64, "fill": "noise"}, BITS, "252ab96d2e6e039b"),
    ({"name": "pixels", "amount": [3, 30], "fill": "noise"}, DRAWING, "8efe6ee2c4130cc6"),
    ({"name": "pixels", "fill": "noise", "amount": 0.3}, PHOTO, "30ae1cc99bda242c"),
    ({"name": "pixels", "fill": "noise", "amount": [0.1, 0.5]}, DRAWING, "b39c3e97bd02663e"),
    ({"name": "pixels", "fill": "salt_and_pepper", "amount": [0, 1]}, PHOTO, "1f59daa5a5c146ac"),
    ({"name": "gaussian", "deviation": [0, 1]}, PHOTO, "5f80eb328634756d"),
    ({"name": "half", "side": "random", "fill": "noise"}, PHOTO, "f4a3b8a663df9fd9"),
    ({"name": "half", "side": "left", "fill": "noise"}, BITS, "28fe283e963b0784"),
]


def built(settings, spec):
    return distortions.build(build_choice(distortions, "", settings, "distortion"), spec)


SIDES = {"left": np.s_[..., :14], "right": np.s_[..., 14:], "top": np.s_[..., :10, :], "bottom": np.s_[..., 10:, :]}


def patterns_of(spec: PatternSpec, items: int) -> np.ndarray:
    values = np.random.default_rng(5).random((items, *spec.shape), np.float32)
    return np.round(values) if spec.binary else values


def distorted(made, items):
    """Queries and mask that a distortion makes of random patterns of its spec."""
    distort, spec = made
    return distort(patterns_of(spec, items), np.random.default_rng(0))


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


@pytest.mark.parametrize(("settings", "spec", "expected"), RECORDED)
def test_the_bytes_are_those_that_were_recorded(settings, spec, expected):
    distort, random = built(settings, spec), np.random.default_rng(3)
    for _ in range(2):
        queries, mask = distort(patterns_of(spec, 9), random)
    assert hashlib.sha256(queries.tobytes() + mask.tobytes()).hexdigest()[:16] == expected


class TestCounts:
    def test_the_count_is_exact(self):
        for count in (2, 64, 127, 128):
            _, mask = distorted(pixels(BITS, count), 200)
            assert (mask.sum(1) == count).all()

    def test_counts_of_a_range_are_equally_likely(self):
        _, mask = distorted(pixels(BITS, [32, 64]), 6600)
        counts = np.bincount(mask.sum(1))
        assert counts[:32].sum() == 0 and len(counts) == 65
        assert 32 - 5 * 8 < ((counts[32:] - 200) ** 2 / 200).sum() < 32 + 5 * 8  # chi square, 32 degrees of freedom

    @pytest.mark.parametrize("count", [64, [64, 65]])
    def test_every_position_is_as_likely_as_any_other(self, count):
        _, mask = distorted(pixels(BITS, count), 4000)
        assert np.abs(mask.mean(0) - np.mean(count) / 128).max() < 5 * 0.5 / np.sqrt(4000)

    def test_every_pattern_has_its_own_positions(self):
        _, mask = distorted(pixels(BITS, 64), 4000)
        shared = (mask[1:] & mask[:-1]).sum(1)  # hypergeometric: mean 64 * 64 / 128, variance 8.06
        assert abs(shared.mean() - 32) < 5 * np.sqrt(8.06 / 4000)
        assert abs(shared.var() - 8.06) < 1

    @pytest.mark.parametrize(
        "amount", ["much", None, 1.5, 2.5, math.nan, math.inf, [3], [1, 2, 3], [0.5, 64], [0, math.nan]]
    )
    def test_the_amount_is_a_whole_number_or_a_range(self, amount):
        with pytest.raises(ValueError) as caught:
            pixels(BITS, amount)
        expected = f"distortion.amount must be a whole number or a range [low, high] of them, got {amount!r}"
        assert str(caught.value) == expected

    @pytest.mark.parametrize(
        ("amount", "message"),
        [
            (-1, "lie between 0 and 1, got -1"), (129, "lie between 1 and the 128 pixels there are, got 129"),
            ([0, 3], "lie between 1 and the 128 pixels there are, got [0, 3]"), (True, "be a number"),
            ([9, 3], "be a range [low, high] that rises, got [9, 3]"), ([], "be a number"),
        ],
    )  # fmt: skip
    def test_the_amount_is_checked(self, amount, message):
        with pytest.raises(ValueError) as caught:
            pixels(BITS, amount)
        assert str(caught.value).startswith(f"distortion.amount must {message}")


@pytest.mark.parametrize("fill", ["noise", 0.5, "pattern"])
class TestBlocks:
    @pytest.mark.parametrize(("spec", "size"), [(DRAWING, 16), (PHOTO, 7), (PHOTO, 20), (PHOTO, 1), (PHOTO, [2, 9])])
    def test_the_mask_is_one_square_in_all_channels(self, fill, spec, size):
        _, mask = distorted(block(spec, size, fill), 100)
        sides = set()
        for item in mask:
            assert (item == item[0]).all()
            rows, columns = np.flatnonzero(item[0].any(1)), np.flatnonzero(item[0].any(0))
            assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()
            assert len(rows) == len(columns) and item[0].sum() == len(rows) ** 2
            sides.add(len(rows))
        assert sides == ({*range(2, 10)} if size == [2, 9] else {size})

    def test_every_place_is_as_likely_as_any_other(self, fill):
        _, mask = distorted(block(PHOTO, 16, fill), 6500)
        top, left = mask[:, 0].any(2).argmax(1), mask[:, 0].any(1).argmax(1)
        places = np.bincount(top * 13 + left)  # 5 x 13 of them
        assert len(places) == 65
        assert 65 - 5 * np.sqrt(130) < ((places - 100) ** 2 / 100).sum() < 65 + 5 * np.sqrt(130)  # chi square

    def test_of_a_vector_it_is_a_stretch(self, fill):
        _, mask = distorted(block(BITS, 100, fill), 2900)
        assert (mask.sum(1) == 100).all()
        assert (np.diff(mask.astype(int), axis=1) == 1).sum(1).max() <= 1
        places = np.bincount(mask.argmax(1), minlength=29)
        assert 28 - 5 * np.sqrt(56) < ((places - 100) ** 2 / 100).sum() < 28 + 5 * np.sqrt(56)

    @pytest.mark.parametrize("size", [0, 21])
    def test_the_size_is_checked(self, fill, size):
        with pytest.raises(ValueError, match=rf"distortion\.size must lie between 1 and .*20, got {size}"):
            block(PHOTO, size, fill)

    def test_it_refuses_other_shapes(self, fill):
        with pytest.raises(ValueError, match=r"vectors and images .* only, not patterns of shape \(4, 4\).*pixels"):
            block(PatternSpec((4, 4), binary=True), 2, fill)


def test_channels_have_noise_of_their_own():
    queries, mask = distorted(block(PHOTO, 20), 1)
    red, green, _ = (channel[mask[0, 0]] for channel in queries[0])
    assert abs(np.corrcoef(red, green)[0, 1]) < 5 / np.sqrt(400)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_an_erased_block_has_one_value(value):
    queries, mask = distorted(block(PHOTO, 5, value), 20)
    assert (queries[mask] == value).all()
    with pytest.raises(ValueError, match=r"fill must be one of noise, salt_and_pepper, pattern, 0, 0\.5, 1, got 0\.3"):
        BlockConfig(5, 0.3)


@pytest.mark.parametrize("fill", ["noise", "salt_and_pepper"])
class TestPixels:
    def test_the_share_is_that_of_whole_pixels_and_places_are_equally_likely(self, fill):
        _, mask = distorted(pixels(PHOTO, 0.3, fill), 2000)
        assert (mask == mask[:, :1]).all()
        assert (mask[:, 0].sum((1, 2)) == 0.3 * 20 * 28).all()
        assert np.abs(mask[:, 0].mean(0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2000)

    def test_none_and_all(self, fill):
        for share in (0, 1):
            queries, mask = distorted(pixels(DRAWING, share, fill), 9)
            assert (mask == bool(share)).all()
        assert (queries != patterns_of(DRAWING, 9)).any()

    def test_any_shape(self, fill):
        spec = PatternSpec((5, 4), binary=True)
        queries, mask = distorted(pixels(spec, 0.5, fill), 400)
        assert (mask.sum((1, 2)) == 10).all()
        assert abs((queries != patterns_of(spec, 400)).mean() - 0.25) < 5 * np.sqrt(0.1875 / 8000)


def test_salt_and_pepper_are_white_and_black_pixels():
    queries, mask = distorted(pixels(PHOTO, 0.5, "salt_and_pepper"), 100)
    values = queries[mask].reshape(100, 3, -1)
    assert (values == values[:, :1]).all()
    assert set(np.unique(values)) == {0, 1}
    assert abs(values[:, 0].mean() - 0.5) < 5 * 0.5 / np.sqrt(values[:, 0].size)


class TestGaussian:
    def test_far_from_the_bounds_it_is_normal(self):
        patterns = np.full((50, 3, 20, 28), 0.5, np.float32)
        queries, mask = Gaussian(PHOTO, GaussianConfig(0.1))(patterns, np.random.default_rng(0))
        noise = queries - patterns
        assert mask.all()
        assert abs(noise.mean()) < 5 * 0.1 / np.sqrt(noise.size)
        assert abs(noise.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * noise.size)

    def test_bits_become_real_values_and_half_of_them_stay(self):
        patterns = patterns_of(BITS, 400)
        queries, _ = Gaussian(BITS, GaussianConfig(0.25))(patterns, np.random.default_rng(0))
        assert abs((queries == patterns).mean() - 0.5) < 5 * 0.5 / np.sqrt(queries.size)
        wrong = math.erfc(0.5 / 0.25 / math.sqrt(2)) / 2  # of values that cross 0.5
        assert abs(((queries > 0.5) != patterns).mean() - wrong) < 5 * np.sqrt(wrong / queries.size)

    def test_each_pattern_has_its_own_deviation(self):
        patterns = np.full((2000, 3, 20, 28), 0.5, np.float32)[:, :1]
        queries, _ = Gaussian(PHOTO, GaussianConfig([0, 0.1]))(patterns, np.random.default_rng(0))
        deviations = queries.std((1, 2, 3))
        assert deviations.min() < 0.001 and abs(deviations.mean() - 0.05) < 5 * 0.1 / math.sqrt(12 * 2000)


class TestHalf:
    @pytest.mark.parametrize("side", SIDES)
    def test_it_is_that_half(self, side):
        queries, mask = distorted(half(PHOTO, side, 1), 5)
        expected = np.zeros(mask.shape, bool)
        expected[SIDES[side]] = True
        assert (mask == expected).all() and (queries[mask] == 1).all()

    def test_a_random_half_is_each_as_often(self):
        _, mask = distorted(half(PHOTO), 2000)
        counts = [mask[:, 0][where].all((1, 2)).sum() for where in SIDES.values()]
        assert sum(counts) == 2000 and np.abs(np.array(counts) - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)

    def test_of_a_vector_it_is_the_first_or_second(self):
        _, mask = distorted(half(PatternSpec((7,), binary=False)), 50)
        assert {tuple(map(int, item)) for item in mask} == {(1, 1, 1, 0, 0, 0, 0), (0, 0, 0, 0, 1, 1, 1)}

    @pytest.mark.parametrize(
        ("spec", "settings", "message"),
        [
            (PHOTO, {"side": "up"}, r"side must be one of random, left, right, top, bottom, got 'up'"),
            (BITS, {"side": "top"}, r"distortion\.side must be one of random, left, right, got 'top'"),
            (PHOTO, {"fill": 0.3}, r"fill must be one of noise, salt_and_pepper, pattern, 0, 0\.5, 1, got 0\.3"),
            (PatternSpec((1, 1, 8), True), {}, "sides of at least 2"),
        ],
    )
    def test_settings_are_checked(self, spec, settings, message):
        with pytest.raises(ValueError, match=message):
            half(spec, **settings)


class TestOcclusion:
    def test_the_block_is_that_of_another_pattern_each_as_often(self):
        patterns = np.arange(5, dtype=np.float32)[:, None, None, None] / 10 + np.zeros((5, *PHOTO.shape), np.float32)
        occlude, random = block(PHOTO, 4, "pattern")[0], np.random.default_rng(0)
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
        queries, mask = block(PHOTO, 6, "pattern")[0](patterns, np.random.default_rng(0))
        assert (queries[mask] == patterns[::-1][mask]).all()

    def test_it_needs_another_pattern(self):
        with pytest.raises(ValueError, match=r"episodes\.patterns_per_episode must be at least 2"):
            distorted(block(PHOTO, 6, "pattern"), 1)


class TestAnyOf:
    def test_each_is_as_likely_and_one_named_twice_is_twice(self):
        none = Choice("pixels", PixelsConfig(0))
        parts = [Choice("block", BlockConfig(4, 0)), none, none, Choice("gaussian", GaussianConfig())]
        _, mask = AnyOf(PHOTO, AnyOfConfig(parts))(patterns_of(PHOTO, 2000), np.random.default_rng(0))
        counts = [(mask.sum((1, 2, 3)) == values).sum() for values in (48, 0, 1680)]
        assert np.abs(np.array(counts) - [500, 1000, 500]).max() < 5 * np.sqrt(2000 * 0.25)

    def test_there_must_be_some(self):
        with pytest.raises(ValueError, match=r"distortion\.of must name distortions"):
            AnyOf(PHOTO, AnyOfConfig([]))

    def test_an_error_says_which(self):
        config = AnyOfConfig([Choice("half", HalfConfig()), Choice("block", BlockConfig(99))])
        with pytest.raises(ValueError, match=r"distortion\.of\[1\]: distortion\.size .* got 99"):
            AnyOf(PHOTO, config)


@pytest.mark.parametrize("name", sorted({*distortions.names()} - {"any_of"}))
def test_every_distortion_works_with_its_default_settings(name):
    for spec in (BITS, DRAWING):
        queries, mask = distortions.build(name, spec)(patterns_of(spec, 4), np.random.default_rng(0))
        assert mask.any() and (queries != patterns_of(spec, 4)).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["distortion.fill=true"], "distortion.fill"),
        (["distortion.fill=[0, 1]"], "distortion.fill"),
        (["distortion.fill=null"], "distortion.fill"),
        (["distortion.fill=0.3"], "distortion.fill must be one of noise, "),
        (["distortion=half", "distortion.side=up"], "distortion.side must be one of random, left"),
    ],
)
def test_settings_from_words_are_checked(words, message):
    with pytest.raises(ValueError) as caught:
        resolve(merge({"distortion": "block"}, parse_overrides(words)))
    assert str(caught.value).startswith(message)


def test_settings_from_words():
    config = resolve(parse_overrides(["distortion=pixels", "distortion.amount=[3, 5]", "distortion.fill=0"]))
    distort = distortions.build(config.distortion, DRAWING)
    assert (distort.amount, distort.fill) == (Strength(3, 5, whole=True), 0)


def test_a_number_is_the_same_for_all_and_leaves_the_generator_alone():
    random = np.random.default_rng(0)
    assert (Strength.of(3, "size", 1, 9, whole=True).draw(5, random) == 3).all()
    assert (Strength.of([0.5, 0.5], "share", 0, 1).draw(5, random) == 0.5).all()
    assert random.random() == np.random.default_rng(0).random()


def test_numbers_of_a_range_are_uniform():
    drawn = Strength.of([0.25, 0.75], "share", 0, 1).draw(5000, np.random.default_rng(0))
    assert 0.25 <= drawn.min() < 0.26 and 0.74 < drawn.max() <= 0.75
    assert abs(drawn.mean() - 0.5) < 5 * 0.5 / math.sqrt(12 * 5000)
