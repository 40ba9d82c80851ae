"""A user's images as patterns, against the data set's own way and arithmetic."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lightning_ebm.data import omniglot
from lightning_ebm.data.archive import Zip
from lightning_ebm.data.cifar import CIFAR10
from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.glyphs import Glyphs
from lightning_ebm.data.images import as_pattern, on_paper, read_image
from lightning_ebm.data.mnist import MNIST
from lightning_ebm.memory import PatternSpec
from tests.data import roots

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


def saved(image, kind, **more):
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(bits, colour, row):
    """A PNG file of 8x8 pixels by its definition, as Pillow cannot write all kinds."""
    header = struct.pack(">IIBBBBB", 8, 8, bits, colour, 0, 0, 0)
    rows = zlib.compress((b"\0" + row) * 8)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def raw_tiff(bits, sign, polarity, values):
    """A grey TIFF file of 8x8 pixels by its definition: sign 1 whole, 2 signed, 3 real; polarity 0 if 0 is white."""
    data = values.tobytes()
    entries = [
        *((256, 3, 8), (257, 3, 8), (258, 3, bits), (259, 3, 1), (262, 3, polarity), (273, 4, 8), (277, 3, 1)),
        *((278, 3, 8), (279, 4, len(data)), (339, 3, sign)),
    ]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(entries)) + table + bytes(4)


def full(value, kind):
    return np.full((8, 8), value, kind)


def solid(mode, colour):
    return Image.new(mode, (8, 8), colour)


def palette():
    image = solid("P", 3)
    image.putpalette([0, 0, 0, 255, 255, 255, 9, 9, 9, 255, 51, 0])
    return image


GREYS = Image.fromarray(np.tile(np.array([0, 65535], np.uint16), (8, 4)))
RIGHT = {  # what a file holds, and the mean of red, green and blue that it stands for
    "1": (saved(Image.fromarray(np.tile([False, True], (8, 4))), "PNG"), 0.5),
    "2 bits": (raw_png(2, 0, b"\xaa" * 2), 2 / 3),
    "4 bits": (raw_png(4, 0, b"\x88" * 4), 8 / 15),
    "L": (saved(solid("L", 51), "PNG"), 0.2),
    "16 bits": (saved(GREYS, "PNG"), 0.5),
    "16 bits, middle": (saved(Image.fromarray(full(32768, np.uint16)), "PNG"), 128 / 255),
    "16 bits, transparent": (saved(Image.fromarray(full(7, np.uint16)), "PNG", transparency=7), 1),
    "16 bits, TIFF": (saved(Image.fromarray(full(13107, np.uint16)), "TIFF"), 0.2),
    "16 bits, big endian": (saved(Image.fromarray(full(13107, ">u2")), "TIFF"), 0.2),
    "16 bits, 0 is white": (raw_tiff(16, 1, 0, full(13107, "<u2")), 0.8),
    "8 bits, 0 is white": (raw_tiff(8, 1, 0, full(51, np.uint8)), 0.8),
    "12 bits": (raw_tiff(12, 1, 1, np.tile(np.array([0x33, 0x33, 0x33], np.uint8), 32)), 819 / 4095),
    "16 bits, PGM": (b"P5 8 8 65535\n" + full(13107, ">u2").tobytes(), 0.2),
    "10 bits, PGM": (b"P5 8 8 1000\n" + full(200, ">u2").tobytes(), 0.2),
    "real": (saved(Image.fromarray(full(0.2, np.float32)), "TIFF"), 0.2),
    "LA": (saved(solid("LA", (0, 51)), "PNG"), 0.8),
    "16 bits and alpha": (raw_png(16, 4, struct.pack(">2H", 0, 13107) * 8), 0.8),
    "L, transparent": (saved(solid("L", 51), "PNG", transparency=51), 1),
    "P": (saved(palette(), "PNG"), (1, 0.2, 0)),
    "P, transparent": (saved(palette(), "PNG", transparency=3), 1),
    "P, half transparent": (saved(palette(), "PNG", transparency=b"\xff\xff\xff\x66"), (1, 0.68, 0.6)),
    "RGB": (saved(solid("RGB", (255, 51, 0)), "PNG"), (1, 0.2, 0)),
    "RGB, transparent": (saved(solid("RGB", (255, 51, 0)), "PNG", transparency=(255, 51, 0)), 1),
    "RGB of 16 bits": (raw_png(16, 2, struct.pack(">3H", 65535, 13107, 0) * 8), (1, 0.2, 0)),
    "RGBA": (saved(solid("RGBA", (255, 51, 0, 102)), "PNG"), (1, 0.68, 0.6)),
    "CMYK": (saved(solid("CMYK", (0, 204, 255, 0)), "TIFF"), (1, 0.2, 0)),
    "YCbCr": (saved(solid("YCbCr", (51, 128, 128)), "TIFF"), 0.2),
    "LAB": (saved(solid("LAB", (255, 128, 128)), "TIFF"), 1),
    "GIF, first of two frames": (
        saved(solid("L", 51), "GIF", save_all=True, append_images=[solid("L", 255)]), 0.2
    ),
    "APNG, first of two frames": (
        saved(solid("L", 51), "PNG", save_all=True, append_images=[solid("L", 255)]), 0.2
    ),
    "TIFF, first of two pages": (
        saved(solid("L", 51), "TIFF", save_all=True, append_images=[solid("L", 255)]), 0.2
    ),
    "WebP": (saved(solid("RGB", (51, 51, 51)), "WEBP", lossless=True), 0.2),
    "BMP": (saved(solid("RGB", (255, 51, 0)), "BMP"), (1, 0.2, 0)),
    "JPEG": (saved(solid("L", 51), "JPEG"), 0.2),
}  # fmt: skip
REFUSED = {
    "32 bits": (raw_tiff(32, 1, 1, full(13107, "<u4")), "which of its 32-bit numbers is white"),
    "signed": (raw_tiff(8, 2, 1, full(51, np.int8)), "its numbers have signs"),
    "signed 16 bits": (raw_tiff(16, 2, 1, full(51, "<i2")), "its numbers have signs"),
    "real, to 255": (saved(Image.fromarray(full(51, np.float32)), "TIFF"), "51 to 51, are not within 0 .black. and 1"),
    "real, NaN": (
        saved(Image.fromarray(full(np.nan, np.float32)), "TIFF"),
        "nan to nan, are not within 0 .black. and 1",
    ),
    "real of 16 bits": (raw_tiff(16, 3, 1, full(0.2, "<f2")), "is not a PNG, JPEG, .* that Pillow reads"),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_every_kind_of_image_has_the_values_it_stands_for(tmp_path, kind):
    content, colour = RIGHT[kind]
    (tmp_path / "image.jpg").write_bytes(content)  # whatever it is called
    image = read_image(tmp_path / "image.jpg")
    assert (image.mode, image.size) == ("RGB", (8, 8))
    levels = 1 if kind == "LAB" else 0.5  # LAB has levels of its own
    np.testing.assert_allclose(np.asarray(image).mean((0, 1)) / 255, np.broadcast_to(colour, 3), atol=levels / 255)


@pytest.mark.parametrize("kind", REFUSED)
def test_images_whose_white_nobody_knows_are_refused(tmp_path, kind):
    content, message = REFUSED[kind]
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"image\.png cannot be decoded \(.*{message}.*\): give images"):
        read_image(tmp_path / "image.png")


def test_premultiplied_and_padded_modes():
    """Modes that files seldom have."""
    for mode, colour in [("RGBa", (102, 20, 0, 102)), ("La", (0, 102)), ("RGBX", (255, 173, 153, 0)), ("PA", None)]:
        image = solid(mode, colour) if colour else palette().convert("PA")
        values = np.asarray(on_paper(image)).mean((0, 1)) / 255
        expected = {"RGBa": (1, 0.68, 0.6), "La": 0.6, "RGBX": (1, 0.68, 0.6), "PA": (1, 0.2, 0)}[mode]
        np.testing.assert_allclose(values, np.broadcast_to(expected, 3), atol=1.5 / 255, err_msg=mode)
    np.testing.assert_array_equal(np.asarray(on_paper(solid("HSV", (0, 255, 255))))[0, 0], (255, 0, 0))


def test_a_turned_photograph_stands_upright_and_damaged_metadata_say_nothing(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise
    for exif, size in [(turned, (20, 30)), (b"Exif\0\0nonsense", (30, 20)), (b"Exif\0\0II*\0\xff\xff", (30, 20))]:
        Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
        assert read_image(tmp_path / "turned.jpg").size == size


PNG = saved(Image.new("RGB", (50, 50)), "PNG")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", r"cannot be decoded \(it begins with b'<html>', and is not a PNG, JPEG, "),
        (b"", "cannot be decoded"),
        (PNG[:-30], "cannot be decoded"),
        (PNG.replace(b"IDAT", b"IDAU"), "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "cannot be decoded"),  # Pillow would start another program
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, message):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.png {message}.*: give images as PNG, JPEG, WebP, GIF, TIFF or BMP"):
        read_image(tmp_path / "x.png")


def test_a_missing_file():
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read \(No such file or directory\)"):
        read_image(roots.Path("nowhere.png"))


@pytest.mark.parametrize("spec", [PatternSpec((2, 8, 8), False), PatternSpec((1, 8, 9), True)])
def test_patterns_that_no_image_becomes(spec):
    with pytest.raises(ValueError, match="square patterns of one grey or three colour channels"):
        as_pattern(Image.new("RGB", (9, 9)), spec, False)
