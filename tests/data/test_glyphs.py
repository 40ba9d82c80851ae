"""Glyphs: other scripts in each split, always drawn in the same way, and much like handwriting."""

import subprocess
import sys
from hashlib import sha256

import matplotlib
import numpy as np
import pytest

from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.glyphs import SCRIPTS, Glyphs, GlyphsConfig, different, draw_glyphs, first_seen, is_of, thin

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def glyphs():
    return Glyphs()


def every_image(glyphs, split):
    images = glyphs.splits[split].images
    return images.reshape(-1, *images.shape[-2:])


class TestSplits:
    @pytest.mark.parametrize(("split", "least"), [("train", 1400), ("val", 95), ("test", 250)])
    def test_there_are_enough_characters(self, glyphs, split, least):
        characters, images = glyphs.splits[split].characters, glyphs.splits[split].images
        assert len(set(characters)) == len(characters) >= least
        assert images.shape == (len(characters), 8, 1, 32, 32)
        assert images.dtype == np.uint8

    def test_scripts_are_in_one_split(self, glyphs):
        names = [script for split in SPLITS for script in SCRIPTS[split]]
        assert len(set(names)) == len(names)
        for split in SPLITS:
            for character in glyphs.splits[split].characters:
                assert [s for s in SPLITS if any(is_of(character, script) for script in SCRIPTS[s])] == [split]

    def test_every_script_has_characters(self, glyphs):
        for split in SPLITS:
            for script in SCRIPTS[split]:
                assert any(is_of(character, script) for character in glyphs.splits[split].characters), script

    def test_no_image_is_in_two_splits_or_of_two_characters(self, glyphs):
        owner = {}
        for split in SPLITS:
            for character, drawings in zip(glyphs.splits[split].characters, glyphs.splits[split].images, strict=True):
                for drawing in drawings:
                    assert owner.setdefault(sha256(drawing).digest(), character) == character

    def test_training_has_no_character_that_looks_like_one_of_the_test(self, glyphs):
        assert "\N{LAO DIGIT ZERO}" in glyphs.splits["test"].characters
        circles = "O\N{GREEK SMALL LETTER OMICRON}\N{CYRILLIC CAPITAL LETTER O}\N{LISU LETTER O}"
        assert not set(circles) & set(glyphs.splits["train"].characters + glyphs.splits["val"].characters)

    def test_no_marks_or_blanks(self, glyphs):
        assert all(character.isalnum() for split in SPLITS for character in glyphs.splits[split].characters)


class TestLook:
    """The numbers of Omniglot at 32x32: ink 7.8 %, strokes 1.7 wide, the longer side 13 to 27 pixels."""

    @pytest.mark.parametrize("split", SPLITS)
    def test_amount_of_ink(self, glyphs, split):
        images = every_image(glyphs, split)
        assert set(np.unique(images)) == {0, 1}
        assert 0.07 < images.mean() < 0.1
        assert images.sum((1, 2)).min() >= 8

    @pytest.mark.parametrize("split", SPLITS)
    def test_strokes_are_thin(self, glyphs, split):
        images = every_image(glyphs, split).astype(bool)
        inside = images[:, 1:-1, 1:-1].copy()
        for row, column in np.ndindex(3, 3):
            inside &= images[:, row : row + 30, column : column + 30]
        assert inside.sum() < 0.02 * images.sum()  # hardly a pixel has ink all around

    @pytest.mark.parametrize("split", SPLITS)
    def test_size_and_place(self, glyphs, split):
        images = every_image(glyphs, split)
        rows, columns = images.any(2), images.any(1)
        height, width = (32 - side.argmax(1) - side[:, ::-1].argmax(1) for side in (rows, columns))
        assert 15 <= np.maximum(height, width).min() <= np.maximum(height, width).max() <= 29
        middle = rows.argmax(1) + height / 2, columns.argmax(1) + width / 2
        assert np.abs(np.array(middle) - 16).max() < 4

    def test_hands_differ(self, glyphs):
        drawings = glyphs.splits["test"].images[:, :, 0].astype(bool)
        joint = (drawings[:, 0] | drawings[:, 1]).sum((1, 2))
        common = (drawings[:, 0] & drawings[:, 1]).sum((1, 2))
        assert 0.05 < np.median(common / joint) < 0.5


class TestDraw:
    @pytest.mark.parametrize("split", SPLITS)
    def test_characters_of_an_episode_are_different(self, glyphs, split):
        characters, images = glyphs.splits[split].characters, glyphs.splits[split].images
        owner = {image.tobytes(): row for row, hands in enumerate(images) for image in hands}
        drawn = glyphs.draw(split, len(characters), np.random.default_rng(0))
        assert drawn.dtype == np.float32
        rows = [owner[image.astype(np.uint8).tobytes()] for image in drawn]
        assert sorted(rows) == list(range(len(characters)))
        assert rows != sorted(rows)

    def test_all_hands_occur(self, glyphs):
        random = np.random.default_rng(0)
        hand = {image.tobytes(): h for hands in glyphs.splits["val"].images for h, image in enumerate(hands)}
        drawn = np.concatenate([glyphs.draw("val", 50, random) for _ in range(40)]).astype(np.uint8)
        counts = np.bincount([hand[image.tobytes()] for image in drawn], minlength=8)
        assert np.abs(counts - 250).max() < 5 * np.sqrt(2000 * 1 / 8 * 7 / 8)


class TestDrawing:
    @pytest.mark.slow
    def test_every_process_draws_the_same(self):
        code = (
            "from hashlib import sha256; from lightning_ebm.data.glyphs import draw_glyphs;"
            "print([sha256(part.images).hexdigest() for part in draw_glyphs(32, 1).values()])"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        here = [sha256(part.images).hexdigest() for part in draw_glyphs(32, 1).values()]
        assert run.stdout.strip() == str(here)

    @pytest.mark.parametrize("size", [16, 64])
    def test_other_sizes(self, size):
        glyphs = Glyphs(GlyphsConfig(size=size, hands=1))
        drawn = glyphs.draw("test", 100, np.random.default_rng(0))
        assert drawn.shape == (100, *glyphs.spec.shape) == (100, 1, size, size)
        assert 0.04 < drawn.mean() < 0.25

    def test_a_bar_is_thinned_to_its_middle_line(self):
        picture = np.zeros((1, 48, 48), bool)
        picture[0, 20:27, 5:40] = True
        line = thin(picture)[0]
        assert line[:, 10:35].sum(0).tolist() == [1] * 25
        assert set(np.nonzero(line)[0]) <= {22, 23, 24}

    def test_a_ring_stays_closed(self):
        distance = np.hypot(*np.mgrid[-24:24, -24:24])
        line = thin(((distance > 10) & (distance < 16))[None])[0]
        assert line.sum() < 100
        line |= np.roll(line, 1, axis=0)  # no way through between two pixels that touch at a corner
        spokes = np.exp(2j * np.pi * np.arange(300) / 300)[:, None] * np.arange(0, 20, 0.25)
        crossed = line[24 + np.round(spokes.imag).astype(int), 24 + np.round(spokes.real).astype(int)]
        assert crossed.any(1).all()

    def test_what_looks_alike_is_kept_once(self):
        pictures = np.zeros((4, 48, 48), bool)
        pictures[0, 10:30, 10:30] = True
        pictures[1, 10:30, 12:32] = True  # shares 18 of 22 columns: alike
        pictures[2, 10:30, 18:38] = True  # shares 12 of 28 columns: different; the last one is blank
        assert different(pictures).tolist() == [0, 2]

    def test_a_character_that_shares_a_drawing_is_left_out(self):
        a, b, c, d = np.eye(4, dtype=np.uint8).reshape(4, 2, 2)
        assert first_seen(np.array([[a, b], [c, a], [d, d], [c, c]])) == [0, 2, 3]

    def test_a_missing_font(self, monkeypatch, tmp_path):
        monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
        with pytest.raises(DataError, match=r"DejaVuSans\.ttf is missing: reinstall matplotlib"):
            draw_glyphs.__wrapped__(32, 1)
