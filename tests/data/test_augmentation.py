"""Augmentation of images: what it may do to them, and that it does so in training only."""

import numpy as np
import pytest

from lightning_ebm.data.episodes import Sampling, episode_random
from lightning_ebm.data.images import SHIFT, mirrored, shifted
from lightning_ebm.registry import Choice, datasets
from tests.data import roots

TURNABLE = {"omniglot", "glyphs"}
"""Sets whose images may be turned."""
ANY_REPEATED = Sampling(with_replacement=True)


@pytest.fixture(
    scope="module", params=[name for name in roots.SETS if hasattr(datasets.load(name).config(), "augment")]
)
def pair(request, tmp_path_factory):
    """A set without and with augmentation, and whether its images may be turned."""
    if request.param == "photographs":
        pytest.importorskip("skimage")
        pytest.importorskip("sklearn")
    root = tmp_path_factory.mktemp("root")
    settings = roots.small(request.param, root)
    config = datasets.load(request.param).config
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        plain = datasets.build(Choice(request.param, config(**settings)))
        augmented = datasets.build(Choice(request.param, config(**settings, augment=True)))
    return plain, augmented, request.param in TURNABLE


def draw(source, split, index, count=32):
    return source.draw(split, count, episode_random(3, split, index), ANY_REPEATED)


def variants(image, turnable):
    """All that augmentation may make of an image (channels, side, side), by definition: nested loops over pixels."""
    side = image.shape[-1]
    for down in range(-SHIFT, SHIFT + 1):
        for right in range(-SHIFT, SHIFT + 1):
            rows, columns = (np.clip(np.arange(side) - by, 0, side - 1) for by in (down, right))
            moved = image[:, rows][:, :, columns]
            for turns in range(4) if turnable else (0,):
                turned = np.rot90(moved, turns, axes=(1, 2))
                yield turned
                yield np.flip(turned, 2)


class TestSets:
    def test_training_images_are_moved_and_mirrored_copies(self, pair):
        plain, augmented, turnable = pair
        before, after = draw(plain, "train", 0), draw(augmented, "train", 0)
        assert after.dtype == np.float32
        assert after.shape == before.shape
        assert (before != after).any((1, 2, 3)).mean() > 0.8
        for old, new in zip(before, after, strict=True):
            assert any(np.array_equal(new, variant) for variant in variants(old, turnable))

    @pytest.mark.parametrize("split", ["val", "test"])
    def test_others_are_left_alone(self, pair, split):
        plain, augmented, _ = pair
        np.testing.assert_array_equal(draw(augmented, split, 1), draw(plain, split, 1))

    def test_an_episode_is_always_the_same(self, pair):
        _, augmented, _ = pair
        np.testing.assert_array_equal(draw(augmented, "train", 2), draw(augmented, "train", 2))
        assert (draw(augmented, "train", 2) != draw(augmented, "train", 3)).any()

    def test_stored_images_stay_as_they_are(self, pair):
        plain, augmented, _ = pair
        draw(augmented, "train", 0)
        np.testing.assert_array_equal(augmented.splits["train"].images, plain.splits["train"].images)

    def test_it_is_off_unless_asked_for(self, pair):
        plain, augmented, _ = pair
        assert not type(plain).config().augment
        assert not plain.augment
        assert augmented.augment


def test_without_it_nothing_more_is_drawn(pair):
    plain, _, _ = pair
    after_draw, after_take = (episode_random(0, "train", 5) for _ in range(2))
    plain.draw("train", 4, after_draw, ANY_REPEATED)
    plain.take("train", plain.choose("train", 4, after_take, ANY_REPEATED), after_take)
    assert after_draw.random() == after_take.random()


@pytest.mark.parametrize(("turnable", "count"), [(False, 2), (True, 8)])
def test_all_symmetries_are_equally_likely_and_keep_the_pixels(turnable, count):
    image = np.arange(2 * 5 * 5, dtype=np.uint8).reshape(2, 5, 5)
    images = mirrored(np.tile(image, (4000, 1, 1, 1)), np.random.default_rng(0), turnable)
    np.testing.assert_array_equal(np.sort(images.reshape(4000, 2, -1)), np.tile(image.reshape(1, 2, -1), (4000, 1, 1)))
    _, seen = np.unique(images, axis=0, return_counts=True)
    assert len(seen) == count
    np.testing.assert_allclose(seen, 4000 / count, atol=5 * np.sqrt(4000 / count))  # five standard deviations


def test_all_shifts_are_equally_likely_and_repeat_the_edge():
    side = 7
    image = np.arange(side * side, dtype=np.uint8).reshape(1, side, side)
    images = shifted(np.tile(image, (5000, 1, 1, 1)), np.random.default_rng(0))
    assert images.dtype == np.uint8
    middles, seen = np.unique(images[:, 0, 3, 3], return_counts=True)
    assert middles.tolist() == [side * y + x for y in range(1, 6) for x in range(1, 6)]  # up to two pixels away
    np.testing.assert_allclose(seen, 200, atol=5 * np.sqrt(200))
    moved = images[images[:, 0, 3, 3] == side * 1 + 3][0, 0]  # by two pixels down
    np.testing.assert_array_equal(moved, image[0, [0, 0, 0, 1, 2, 3, 4]])


def test_images_need_not_be_square_to_be_mirrored():
    images = np.random.default_rng(0).integers(256, size=(6, 3, 4, 9), dtype=np.uint8)
    random = np.random.default_rng(1)
    assert mirrored(shifted(images, random), random, turnable=False).shape == images.shape
