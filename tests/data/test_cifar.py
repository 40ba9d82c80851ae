"""CIFAR-10: what is read is what was pickled, by Python 2 or 3; a pickle that asks for more is refused."""

import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

from lightning_ebm.data import cifar
from lightning_ebm.data.cifar import CIFAR10, CIFAR10Config, read_batch
from tests.data.roots import batch, cifar10

BY_PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
    b"K\x00tb\x89T\x00\x18\x00\x00" + bytes(range(256)) * 24 + b"tbU\x06labelsq\x08]q\x09(K\x07K\x01eu."
)


@pytest.fixture
def root(root):
    cifar10(root)
    return root


def folder(root):
    return root / "cifar10" / "cifar-10-batches-py"


class TestReading:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_equals_the_unrestricted_unpickler(self, protocol):
        whole = batch(20, seed=0)
        frozen = batch(20, seed=0)  # is pickled otherwise by protocol 5
        frozen[b"data"].flags.writeable = False
        anew = {key.decode(): value for key, value in whole.items()}  # as those do who read it with latin1
        for one in (whole, frozen, anew):
            part = read_batch(pickle.dumps(one, protocol), "a batch")
            assert (part.images == whole[b"data"].reshape(20, 3, 32, 32)).all()
            assert part.labels.tolist() == whole[b"labels"]

    def test_what_python_2_wrote(self):
        part = read_batch(BY_PYTHON_2, "a batch")
        assert (part.images.reshape(-1) == np.tile(np.arange(256), 24)).all()
        assert part.labels.tolist() == [7, 1]
        assert (part.images.reshape(2, -1) == pickle.loads(BY_PYTHON_2, encoding="bytes")[b"data"]).all()

    def test_splits(self, root):
        source = CIFAR10(CIFAR10Config(str(root)))
        names = ("data_batch_1", "data_batch_3", "test_batch")
        first, third, test = (read_batch((folder(root) / name).read_bytes(), name).images for name in names)
        together = np.concatenate([first, third])
        assert (source.splits["train"].images == together[:72]).all()
        assert (source.splits["val"].images == together[72:]).all()
        assert (source.splits["test"].images == test).all()
        drawn = source.draw("test", 40, np.random.default_rng(0))
        assert {(image * 255).round().astype(np.uint8).tobytes() for image in drawn} == {i.tobytes() for i in test}

    def test_values_end_at_one(self, root):
        everything = CIFAR10(CIFAR10Config(str(root))).draw("train", 72, np.random.default_rng(0))
        assert everything.dtype == np.float32
        assert (everything.min(), everything.max()) == (0, 1)


class Harmful:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def nested(depth, nothing=b""):
    """A pickle of {t: 1} where t is a tuple of tuples whose hash takes 2^depth steps."""
    return b"\x80\x02}()" + (nothing + b"q\x00h\x00h\x00\x86") * depth + b"K\x01u."


NO_ARRAY = r"not an array of unsigned bytes in C order of shape \(count, 3072\)"
BAD = {
    "empty": (b"", "exhausted"),
    "text": (b"<html>not found</html>", "unknown"),
    "cut off": (pickle.dumps(batch(20, 0), 2)[:-30_000], "not a complete batch"),
    "no dict": (pickle.dumps([1, 2], 2), "no data"),
    "os.system": (pickle.dumps({b"data": Harmful(os.system, ("touch escaped",)), b"labels": [1]}, 2), NO_ARRAY),
    "eval": (pickle.dumps({b"data": Harmful(eval, ("1 + 1",)), b"labels": [1]}, 2), NO_ARRAY),
    "a part of numpy": (b"\x80\x02cnumpy.lib.npyio\nload\nU\x05x.npy\x85R.", "no data"),
    "extension": (b"\x80\x02\x82\x01.", "no data"),
    "persistent": (b"\x80\x02U\x01xQ.", "no data"),
    "a slow hash": (nested(200), "no data"),
    "a slow hash in disguise": (nested(200, b"(e"), "no data"),
    "a deep hash": (b"\x80\x02})" + b"\x85" * 2**14 + b"K\x01u.", "no data"),
    "a huge memo": (b"\x80\x02}r\xff\xff\xff\x7f.", "no data"),
    "a huge string": (b"\x80\x04}\x8e\xff\xff\xff\xff\xff\x00\x00\x00x.", "not a complete batch"),
    "many lists": (b"\x80\x02" + b"]" * 2**25 + b".", "no data"),
    "many lists in a frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**14) + b"]" * 2**14 + b".", "no data"),
    "no data": (pickle.dumps({b"labels": [1, 2], b"more": 3}, 2), "no data"),
    "no labels": (pickle.dumps({b"data": batch(2, 0)[b"data"]}, 2), "no labels"),
    "floats": (pickle.dumps(batch(2, 0, data=np.zeros((2, 3072), np.float32)), 2), NO_ARRAY),
    "objects": (pickle.dumps(batch(1, 0, data=np.array([[{}]], object)), 2), NO_ARRAY),
    "bare bytes": (pickle.dumps(batch(1, 0, data=bytes(3072)), 3), NO_ARRAY),
    "another order": (pickle.dumps(batch(2, 0, data=np.zeros((2, 3072), np.uint8, "F")), 5), NO_ARRAY),
    "other order": (pickle.dumps(batch(2, 0, data=np.zeros((2, 3072), np.uint8, "F")), 2), NO_ARRAY),
    "grey": (pickle.dumps(batch(2, 0, data=np.zeros((2, 1024), np.uint8)), 2), NO_ARRAY),
    "three axes": (pickle.dumps(batch(2, 0, data=np.zeros((1, 2, 3072), np.uint8)), 2), NO_ARRAY),
    "a lie": (BY_PYTHON_2.replace(b"K\x02M\x00\x0c", b"K\x03M\x00\x0c"), NO_ARRAY),
    "few labels": (pickle.dumps(batch(3, 0, labels=[1, 2]), 2), "not 3 numbers from 0 to 9"),
    "a label too large": (pickle.dumps(batch(2, 0, labels=[1, 10]), 2), "not 2 numbers from 0 to 9"),
    "labels of text": (pickle.dumps(batch(2, 0, labels=["cat", "dog"]), 2), "not 2 numbers from 0 to 9"),
}


class TestErrors:
    @pytest.mark.parametrize("case", BAD)
    def test_a_bad_batch(self, root, refuse, case, monkeypatch):
        monkeypatch.chdir(root)
        content, message = BAD[case]
        (folder(root) / "data_batch_3").write_bytes(content)
        refuse(CIFAR10, rf"data_batch_3 .*{message}.* https://")
        assert not (root / "escaped").exists()

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_nothing_is_run(self, tmp_path, monkeypatch, protocol):
        monkeypatch.chdir(tmp_path)
        whole = {b"more": Harmful(os.system, ("touch escaped",)), **batch(20, 0)}
        part = read_batch(pickle.dumps(whole, protocol), "a batch")
        assert (part.images.reshape(20, 3072) == whole[b"data"]).all()
        assert not (tmp_path / "escaped").exists()

    def test_too_large(self, refuse, monkeypatch):
        monkeypatch.setattr(cifar, "LARGEST", 1000)
        refuse(CIFAR10, "data_batch_1 is larger than 1000 bytes")

    def test_no_training_batch(self, root, refuse):
        for number in (1, 3):
            (folder(root) / f"data_batch_{number}").unlink()
        refuse(CIFAR10, r"has none of data_batch_1 to data_batch_5: remove .*-py, and get .* https://")

    def test_no_test_batch(self, root, refuse):
        (folder(root) / "test_batch").unlink()
        refuse(CIFAR10, r"test_batch cannot be read \(No such file")

    def test_nothing(self, root, refuse):
        message = r"has no cifar10/cifar-10-batches-py but |cifar-10-batches-py is missing .*: set data\.root"
        refuse(CIFAR10, message, root=str(root / "cache"))


def packed(names):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in names:
            content = pickle.dumps(batch(10, seed=len(name) + ord(name[-1])), 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


class TestArchive:
    """The authors' archive is read where it lies: nothing is unpacked to the disk."""

    def write(self, root, content, place="elsewhere/cifar10"):
        path = root / place / "cifar-10-python.tar.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return str(root / "elsewhere")

    @pytest.mark.parametrize("place", ["elsewhere/cifar10", "elsewhere"])
    def test_a_whole_archive(self, root, place):
        names = [f"cifar-10-batches-py/{name}" for name in (*cifar.BATCHES, "test_batch")]
        source = CIFAR10(CIFAR10Config(self.write(root, packed([*names, "../escaped", "/tmp/escaped"]), place)))
        assert [len(source.splits[split]) for split in ("train", "val", "test")] == [45, 5, 10]
        assert [path.name for path in (root / "elsewhere").rglob("*") if path.is_file()] == ["cifar-10-python.tar.gz"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is not a complete archive of CIFAR-10"),
            (b"<html>", "is not a complete archive of CIFAR-10"),
            (packed(["x"])[:5000], "is not a complete archive of CIFAR-10"),
            (packed(["cifar-10-batches-py/data_batch_1"]), "has no file cifar-10-batches-py/data_batch_2"),
        ],
    )
    def test_a_damaged_archive(self, root, refuse, content, message):
        message = rf"python\.tar\.gz {message}.*: remove .*python\.tar\.gz, and get"
        refuse(CIFAR10, message, root=self.write(root, content))
