"""Omniglot: the real zips, if $LIGHTNING_EBM_DATA has them, and small or broken ones made here."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_ebm.data.archive import MEMBER
from lightning_ebm.data.download import find_or_fetch
from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.images import shrink
from lightning_ebm.data.omniglot import FOLDERS, HELD_OUT, PUBLISHED, Omniglot, OmniglotConfig, load
from tests.data.roots import encoded, write_zip


def png(ink: np.ndarray) -> bytes:
    return encoded(~ink, "PNG")


def drawing(number: int) -> np.ndarray:
    """A drawing of its own for every number up to 2^16: its bits as thick blocks."""
    bits = (number >> np.arange(16).reshape(4, 4)) & 1 == 1
    return np.pad(bits.repeat(16, 0).repeat(16, 1), ((20, 21), (20, 21)))


BAD_IMAGES = {
    "text": (b"<html>not found</html>", "cannot be decoded"),
    "another size": (png(drawing(9)[:, :50]), "has 50x105 pixels, not 105x105"),
    "too many bytes": (bytes(MEMBER + 1), "is larger than"),
}


@pytest.fixture
def root(root):
    """A data root with two background alphabets of four images and one evaluation alphabet of three."""
    background = {
        f"images_background/{alphabet}/character0{c}/000{c}_0{d}.png": png(drawing(first + 2 * c + d))
        for alphabet, first in [("Greek", 10), ("Korean", 20)]
        for c in (1, 2)
        for d in (1, 2)
    }
    write_zip(root / "omniglot" / "images_background.zip", background)
    evaluation = {f"images_evaluation/Tibetan/character01/0965_0{d}.png": png(drawing(30 + d)) for d in (1, 2, 3)}
    write_zip(root / "omniglot" / "images_evaluation.zip", evaluation)
    return root


def small(root, size=32):
    return Omniglot(OmniglotConfig(str(root), validation=["Korean"], size=size))


def background(root) -> Path:
    return root / "omniglot" / "images_background.zip"


class TestSmall:
    def test_splits(self, root):
        splits = small(root).splits
        for split, numbers in [("train", (13, 14, 15, 16)), ("val", (23, 24, 25, 26)), ("test", (31, 32, 33))]:
            expected = shrink(np.stack([drawing(number) for number in numbers]), 32)[:, None]
            assert splits[split].images.dtype == np.uint8
            assert (splits[split].images == expected).all()

    def test_the_second_reading_is_from_the_cache(self, root, monkeypatch):
        first = small(root).splits
        monkeypatch.setattr(Image, "open", None)
        again = small(root).splits
        assert all((again[split].images == first[split].images).all() for split in first)

    def test_a_changed_zip_is_read_anew(self, root):
        small(root)
        write_zip(background(root), {"x/Korean/c/1.png": png(drawing(77)), "x/Greek/c/1.png": png(drawing(78))})
        assert (small(root).splits["val"].images == shrink(drawing(77)[None], 32)).all()

    def test_root_from_the_environment_and_without_subfolder(self, root, monkeypatch):
        monkeypatch.setenv("LIGHTNING_EBM_DATA", str(root / "omniglot"))
        assert len(Omniglot(OmniglotConfig(validation=[])).splits["train"]) == 8

    def test_unpacked_as_torchvision_leaves_it(self, root):
        zipped = small(root).splits
        for name in ("images_background", "images_evaluation"):
            with zipfile.ZipFile(root / "omniglot" / f"{name}.zip") as archive:
                archive.extractall(root / "other" / "omniglot-py")
        unpacked = small(root / "other").splits
        assert all((unpacked[split].images == zipped[split].images).all() for split in zipped)

    def test_an_image_in_two_splits_stays_in_the_later(self, root):
        with zipfile.ZipFile(background(root), "a") as archive:
            archive.writestr("images_background/Greek/character09/1.png", png(drawing(31)))  # also in test
            archive.writestr("images_background/Korean/character09/1.png", png(drawing(32)))  # also in test
            archive.writestr("images_background/Greek/character09/2.png", png(drawing(23)))  # also in val
        assert {split: len(images) for split, images in small(root).splits.items()} == {"test": 3, "val": 4, "train": 4}

    @pytest.mark.parametrize("size", [28, 32, 33, 105])
    def test_sizes(self, root, size):
        source = small(root, size=size)
        assert source.spec.shape == source.splits["val"].images.shape[1:] == (1, size, size)
        if size == 105:
            assert (source.splits["train"].images[0, 0] == drawing(13)).all()


class TestShrink:
    def test_a_pixel_is_ink_where_at_least_half_of_its_area_is(self):
        ink = np.random.default_rng(0).random((3, 105, 105)) < 0.5
        fine = ink.repeat(32, 1).repeat(32, 2).reshape(3, 32, 105, 32, 105)  # every pixel cut into 32 x 32
        assert (shrink(ink, 32) == (fine.mean((2, 4)) >= 0.5)).all()

    def test_by_hand(self):
        ink = np.zeros((1, 105, 105), bool)
        ink[0, :, :30] = True
        assert (np.flatnonzero(shrink(ink, 35)[0, 0])).tolist() == list(range(10))
        ink[0, ::2, 30:33], ink[0, 1::2, 30:33] = True, False  # rows of the new pixels get 2/3 or 1/3 of ink
        assert shrink(ink, 35)[0, :, 10].tolist() == [row % 2 == 0 for row in range(35)]


class TestErrors:
    @pytest.fixture
    def refuse(self, refuse):
        return lambda message, **settings: refuse(Omniglot, message, **{"validation": ["Korean"], **settings})

    @pytest.mark.parametrize("name", ["images_background.zip", "images_evaluation.zip"])
    def test_a_missing_zip(self, root, refuse, name):
        (root / "omniglot" / name).unlink()
        refuse(rf"has no omniglot/{name} but cache, omniglot: set data\.root .* https://|{name} but .*: set")

    def test_a_missing_folder(self, root, refuse):
        refuse(r"nowhere.*images_background\.zip is missing", root=str(root / "nowhere"))

    def test_a_zip_without_images(self, root, refuse):
        write_zip(background(root), {"images_background/readme.txt": b"see elsewhere"})
        refuse(r"images_background\.zip has no images")

    @pytest.mark.parametrize("case", BAD_IMAGES)
    def test_a_bad_image(self, root, refuse, case):
        content, message = BAD_IMAGES[case]
        with zipfile.ZipFile(background(root), "a") as archive:
            archive.writestr("images_background/Korean/character02/bad.png", content)
        refuse(rf"character02/bad\.png in .*images_background\.zip {message}.* https://")

    def test_an_unknown_alphabet(self, root):
        message = r"data\.validation: .* 'Koraen'. Did you mean 'Korean'\? Known: Greek, Korean"
        with pytest.raises(DataError, match=message) as caught:
            Omniglot(OmniglotConfig(str(root), validation=["Koraen"]))
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def omniglot():
    return Omniglot()


@pytest.mark.data_root
@pytest.mark.skipif(not os.environ.get("LIGHTNING_EBM_DATA"), reason="$LIGHTNING_EBM_DATA is not set")
class TestReal:
    def test_counts(self, omniglot):
        characters = [len(omniglot.splits[split]) / 20 for split in ("train", "val", "test")]
        assert characters == [818, 146, 659]

    def test_alphabets(self):
        background, evaluation = (
            load(find_or_fetch(zipped, OmniglotConfig(), FOLDERS, (zipped.name,), ""), 32)[1] for zipped in PUBLISHED
        )
        assert (len(background), len(evaluation)) == (964 * 20, 659 * 20)
        assert (len(set(background)), len(set(evaluation))) == (30, 20)
        assert not set(background) & set(evaluation)
        assert set(HELD_OUT) < set(background)

    def test_ink_is_one_and_as_much_as_in_the_files(self, omniglot):
        images = np.concatenate([omniglot.splits["train"].images, omniglot.splits["val"].images])
        assert set(np.unique(images)) == {0, 1}
        assert abs(images.mean() - 0.07794) < 0.0005  # share of black pixels in the background zip
        assert images.any((1, 2, 3)).all()
