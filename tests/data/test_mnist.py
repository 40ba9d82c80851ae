"""MNIST: idx files read as their format says, packed or not, and refused when they lie."""

import gzip
import struct

import numpy as np
import pytest

from lightning_ebm.data import mnist
from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.mnist import MNIST, MNISTConfig, read_idx
from tests.data import roots
from tests.data.roots import idx


@pytest.fixture
def root(root):
    roots.mnist(root)
    return root


def images(root, kind="t10k"):
    return root / "mnist" / f"{kind}-images-idx3-ubyte.gz"


def labels(root, kind="t10k"):
    return root / "mnist" / f"{kind}-labels-idx1-ubyte"


def training_digits(root):
    return np.frombuffer(gzip.decompress(images(root, "train").read_bytes())[16:], np.uint8).reshape(60, 28, 28)


class TestReading:
    @pytest.mark.parametrize("folder", ["mnist", ".", "MNIST/raw", "mnist/raw"])
    @pytest.mark.parametrize("dot", [False, True])
    @pytest.mark.parametrize("packed", [False, True])
    def test_other_places_and_names(self, root, folder, dot, packed):
        whole = MNIST(MNISTConfig(str(root)))
        (root / "other" / folder).mkdir(parents=True)
        for path in (root / "mnist").iterdir():
            content = path.read_bytes()
            content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
            name = path.name.removesuffix(".gz").replace("-idx", ".idx" if dot else "-idx") + ".gz" * packed
            (root / "other" / folder / name).write_bytes(gzip.compress(content) if packed else content)
        found = MNIST(MNISTConfig(str(root / "other")))
        assert all((found.splits[split].images == whole.splits[split].images).all() for split in whole.splits)

    @pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (0,), (0, 28, 28)])
    def test_any_shape(self, shape):
        values = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        for content in (idx(values), gzip.compress(idx(values))):
            assert (read_idx(content, "a file") == values).all()
            assert read_idx(content, "a file").shape == shape

    def test_official_splits(self, root):
        source = MNIST(MNISTConfig(str(root), binary=False))
        raw = training_digits(root)
        assert (source.splits["train"].images[:, 0, 2:30, 2:30] == raw[:50]).all()
        assert (source.splits["val"].images[:, 0, 2:30, 2:30] == raw[50:]).all()
        assert source.splits["test"].images.shape == (40, 1, 32, 32)
        assert source.splits["test"].labels.tolist() == [number % 10 for number in range(40)]
        border = np.ones((32, 32), bool)
        border[2:30, 2:30] = False
        assert not source.splits["train"].images[..., border].any()

    def test_binary(self, root):
        grey, binary = MNIST(MNISTConfig(str(root), binary=False)), MNIST(MNISTConfig(str(root)))
        assert ((grey.splits["test"].images >= 128) == binary.splits["test"].images).all()
        assert binary.spec.binary
        assert not grey.spec.binary

    def test_t10k_alone_is_test_only(self, root):
        images(root, "train").unlink()
        source = MNIST(MNISTConfig(str(root)))
        assert set(source.splits) == {"test"}
        with pytest.raises(DataError, match=r"MNIST has no train images here: get it .* data\.t10k_alone=true"):
            source.draw("train", 3, np.random.default_rng(0))

    def test_t10k_divided(self, root):
        source, whole = MNIST(MNISTConfig(str(root), t10k_alone=True)), MNIST(MNISTConfig(str(root)))
        parts = [source.splits[split].images for split in ("train", "val", "test")]
        assert [len(part) for part in parts] == [16, 4, 20]
        assert (np.concatenate(parts) == whole.splits["test"].images).all()

    def test_the_same_digit_in_two_splits_stays_in_test(self, root):
        digits = training_digits(root)
        test = np.concatenate([digits[:5], digits[58:], np.zeros((33, 28, 28), np.uint8)])
        images(root).write_bytes(idx(test))
        splits = MNIST(MNISTConfig(str(root))).splits
        assert [len(splits[split]) for split in ("train", "val", "test")] == [45, 8, 40]


HEADER = struct.pack(">HBB3I", 0, 8, 3, 2, 28, 28)
BAD = {
    "empty": (b"", "not an idx file of bytes"),
    "text": (b"<html>not found</html>", "not an idx file of bytes"),
    "floats": (struct.pack(">HBBI", 0, 13, 1, 2) + bytes(8), "not an idx file of bytes"),
    "no dimension": (b"\0\0\x08\0\x01", "not an idx file of bytes"),
    "200 dimensions": (b"\0\0\x08\xc8" + bytes(800), "not an idx file of bytes"),
    "half a header": (HEADER[:10], "announces"),
    "cut off": (HEADER + bytes(1000), r"announces \(2, 28, 28\) values and has 1000"),
    "too long": (HEADER + bytes(1569), r"announces \(2, 28, 28\) values and has 1569"),
    "enormous": (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3) + bytes(9), "announces"),
    "other sides": (struct.pack(">HBB3I", 0, 8, 3, 2, 8, 8) + bytes(128), r"shape \(2, 8, 8\), not \(count, 28, 28\)"),
    "labels": (idx(np.zeros(40, np.uint8)), r"shape \(40,\), not"),
    "fewer": (HEADER + bytes(2 * 784), r"labels of shape \(40,\) for 2 images"),
    "cut off, packed": (gzip.compress(HEADER + bytes(1568))[:-10], "cannot be unpacked"),
    "wrong checksum": (gzip.compress(idx(np.zeros((40, 28, 28), np.uint8)))[:-8] + bytes(8), "cannot be unpacked"),
    "damaged, packed": (b"\x1f\x8b\x08\0" + b"nonsense" * 10, "cannot be unpacked"),
    "only a beginning": (b"\x1f\x8b", "cannot be unpacked"),
}


class TestErrors:
    @pytest.mark.parametrize("case", BAD)
    def test_a_bad_file(self, root, refuse, case):
        content, message = BAD[case]
        images(root).write_bytes(content)
        refuse(MNIST, rf"t10k-(images|labels)-idx\d-ubyte.* {message}.*: remove .*, and get it from")

    def test_a_bomb(self, root, refuse, monkeypatch):
        monkeypatch.setattr(mnist, "LARGEST", 100_000)
        images(root).write_bytes(gzip.compress(bytes(1_000_000)))
        refuse(MNIST, "unpacks to more than 100000 bytes")

    def test_a_label_too_large(self, root, refuse):
        labels(root).write_bytes(idx(np.full(40, 10, np.uint8)))
        refuse(MNIST, "has a label 10, not 0 to 9")

    @pytest.mark.parametrize("kind", ["t10k", "train"])
    def test_images_without_labels(self, root, refuse, kind):
        labels(root, kind).unlink()
        refuse(MNIST, rf"{kind}-images-idx3-ubyte\.gz has no labels: .* has no mnist/{kind}-labels.* but mnist")

    def test_nothing(self, root, refuse):
        refuse(MNIST, r"t10k-images-idx3-ubyte\.gz is missing .*: set data\.root", root=str(root / "nowhere"))
