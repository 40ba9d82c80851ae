"""What all sets of images share: labels, duplicates across splits, decoding without trust."""

import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.images import ImageSplit, decode, without_shared
from tests.data.roots import encoded, picture


def test_members_and_what_any_classes_hold_at_least():
    part = ImageSplit(np.zeros((6, 1), np.uint8), np.array([7, 2, 7, 7, 4, 2]))
    assert [rows.tolist() for rows in part.members] == [[1, 5], [4], [0, 2, 3]]
    assert part.least.tolist() == [1, 3, 6]


def test_what_an_earlier_split_has_is_taken_away_with_its_label():
    values = np.arange(6, dtype=np.uint8)[:, None]
    test = ImageSplit(values[[0, 1]], np.array([5, 6]))
    val = ImageSplit(values[[2, 1, 3]], np.array([1, 2, 3]))
    train = ImageSplit(values[[3, 4, 4, 0]], np.array([1, 2, 3, 4]))
    splits = without_shared({"test": test, "val": val, "train": train})
    found = {split: (part.images.ravel().tolist(), part.labels.tolist()) for split, part in splits.items()}
    assert found == {"test": ([0, 1], [5, 6]), "val": ([2, 3], [1, 3]), "train": ([4, 4], [2, 3])}


def test_a_map_travels_as_the_name_of_its_file(tmp_path):
    values = np.arange(10**6, dtype=np.uint8).reshape(1000, 1000)
    np.save(tmp_path / "images.npy", values)
    labels = np.arange(900) % 7
    part = ImageSplit(np.load(tmp_path / "images.npy", mmap_mode="r")[:900], labels)
    assert len(part.members) == 7
    sent = pickle.dumps(part)
    assert len(sent) < 10_000
    arrived = pickle.loads(sent)
    assert isinstance(arrived.images, np.memmap)
    assert (arrived.images == values[:900]).all()
    assert (arrived.labels == labels).all()
    assert (pickle.loads(pickle.dumps(part[100:])).images == values[100:900]).all()


class TestDecode:
    def test_values(self):
        values = picture(0, 20, 30, 3)
        assert (np.asarray(decode(encoded(values, "PNG"), "x", "y")) == values).all()

    def claiming(self, width, height):
        content = bytearray(encoded(picture(0, 20, 30), "PNG"))
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        return bytes(content)

    def test_what_claims_too_many_pixels_is_not_decoded(self, monkeypatch):
        content = self.claiming(9000, 9000)
        monkeypatch.setattr(Image.Image, "load", None)
        with pytest.raises(DataError, match=r"^x has 9000x9000 pixels, more than 67,108,864: shrink it: y$"):
            decode(content, "x", "y")

    def test_a_bomb(self):
        with pytest.raises(DataError, match=r"^x cannot be decoded \(.*decompression bomb.*: y$"):
            decode(self.claiming(100_000, 100_000), "x", "y")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
    @pytest.mark.parametrize("keep", [0, 4, 30, -1000])
    def test_cut_off(self, kind, keep):
        with pytest.raises(DataError, match=r"^x cannot be decoded"):
            decode(encoded(noise(), kind)[:keep], "x", "y")

    @pytest.mark.parametrize("kind", ["ICO", "TGA", "EPS", "PDF"])
    def test_another_format(self, kind):
        with pytest.raises(DataError, match=r"^x cannot be decoded \(it begins with b'.*', and is not a PNG, JPEG, "):
            decode(encoded(noise(), kind), "x", "y")


def noise():
    return np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
