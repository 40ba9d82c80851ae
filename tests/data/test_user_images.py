"""A user's images as patterns, against the data set's own way and arithmetic."""

import io

import numpy as np
import pytest
from PIL import Image

from lightning_ebm.data import omniglot
from lightning_ebm.data.archive import Zip
from lightning_ebm.data.cifar import CIFAR10
from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.glyphs import Glyphs
from lightning_ebm.data.mnist import MNIST
from lightning_ebm.data.user_images import as_pattern, read_image
from lightning_ebm.memory import PatternSpec
from tests.data import roots
from tests.data.test_omniglot import claiming

BINARY, COLOUR = PatternSpec((1, 32, 32), True), PatternSpec((3, 32, 32), False)


def test_sets_of_drawings_have_ink_1():
    assert omniglot.Omniglot.dark_is_one and Glyphs.dark_is_one
    assert not MNIST.dark_is_one and not CIFAR10.dark_is_one


def test_a_drawing_of_omniglot_becomes_what_omniglot_makes_of_it(tmp_path):
    roots.omniglot(tmp_path)
    archive = Zip(tmp_path / "omniglot" / "images_background.zip", "")
    expected = omniglot.read_zip(archive, 32)["images"]
    for name, pattern in zip(archive.names, expected, strict=True):
        (tmp_path / "one.png").write_bytes(archive.read(name))
        image = read_image(tmp_path / "one.png")
        np.testing.assert_array_equal(as_pattern(image, BINARY, dark_is_one=True), pattern)


@pytest.mark.parametrize("side", [16, 32, 96, 2050])
def test_ink_is_where_half_of_the_area_is_dark(side):
    """A picture, dark where a 4x4 board of squares is; each square is 8x8 values of the pattern."""
    board = np.random.default_rng(side).random((4, 4)) < 0.5
    grey = np.kron(~board, np.ones((512, 512))) * 255
    image = Image.fromarray(grey.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST).convert("RGB")
    ink = np.kron(board, np.ones((8, 8)))[None]
    if side % 4 == 0:
        np.testing.assert_array_equal(as_pattern(image, BINARY, dark_is_one=True), ink)
        np.testing.assert_array_equal(as_pattern(image, BINARY, dark_is_one=False), 1 - ink)
    else:  # its squares do not divide
        assert (as_pattern(image, BINARY, dark_is_one=True) == ink).mean() > 0.95


@pytest.mark.parametrize("size", [(64, 40), (40, 64)])
def test_the_middle_square_is_kept_in_colour(size):
    values = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    spec = PatternSpec((3, 40, 40), False)
    top, left = (size[1] - 40) // 2, (size[0] - 40) // 2
    expected = values[top : top + 40, left : left + 40].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(as_pattern(Image.fromarray(values), spec, False), expected, atol=1e-7)
    flat = as_pattern(Image.new("RGB", (77, 50), (255, 51, 0)), COLOUR, False)
    np.testing.assert_allclose(flat, np.broadcast_to(np.array([1, 0.2, 0])[:, None, None], (3, 32, 32)), atol=1e-6)
    assert as_pattern(Image.new("RGB", (9, 9)), PatternSpec((1, 8, 8), False), False).shape == (1, 8, 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_what_is_read(tmp_path, kind):
    Image.new("RGB", (30, 20), "white").save(tmp_path / "image", kind)
    image = read_image(tmp_path / "image")
    assert image.mode == "RGB" and image.size == (30, 20) and np.asarray(image).min() > 250


def test_transparent_is_white_and_a_turned_photograph_stands_upright(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (np.asarray(read_image(tmp_path / "clear.png")) == 255).all()
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=turned)
    assert read_image(tmp_path / "turned.jpg").size == (20, 30)


def png():
    file = io.BytesIO()
    Image.new("RGB", (50, 50)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "cannot be decoded"),
        (b"", "cannot be decoded"),
        (png()[:-30], "cannot be decoded"),
        (claiming(10_000), "has 10000x10000 pixels, more than"),
        (claiming(100_000), "cannot be decoded .*decompression bomb"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "cannot be decoded"),  # Pillow would start another program
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, message):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.png {message}.*: give images as PNG, JPEG, WebP, GIF or BMP"):
        read_image(tmp_path / "x.png")


def test_a_missing_file():
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read \(No such file or directory\)"):
        read_image(roots.Path("nowhere.png"))


@pytest.mark.parametrize("spec", [PatternSpec((2, 8, 8), False), PatternSpec((1, 8, 9), True)])
def test_patterns_that_no_image_becomes(spec):
    with pytest.raises(ValueError, match="square patterns of one grey or three colour channels"):
        as_pattern(Image.new("RGB", (9, 9)), spec, False)
