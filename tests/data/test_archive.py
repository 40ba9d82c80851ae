"""Folders and zips of unknown origin: read alike, and refused where they mean harm."""

import io
import os
import struct
import zipfile

import pytest

from lightning_ebm.data import archive
from lightning_ebm.data.archive import Folder, MissingError, Zip, escapes, find, find_tree, open_archive, read_whole
from lightning_ebm.data.episodes import DataError
from tests.data.roots import write_tree, write_zip

CURE = "get another"
FILES = {"a/one.txt": b"1", "a/b/two.txt": b"22", "three.txt": b"333"}
JUNK = {"__MACOSX/a/one.txt": b"junk", "a/.DS_Store": b"junk"}


@pytest.fixture(params=["folder", "zip"])
def opened(request, tmp_path):
    path = tmp_path / ("set" if request.param == "folder" else "set.zip")
    (write_tree if request.param == "folder" else write_zip)(path, FILES | JUNK)
    return open_archive(path, CURE)


class TestBoth:
    def test_names_and_contents(self, opened):
        assert opened.names == ["a/b/two.txt", "a/one.txt", "three.txt"]
        assert {name: opened.read(name) for name in opened.names} == FILES

    def test_a_file_that_is_too_large(self, opened, monkeypatch):
        monkeypatch.setattr(archive, "MEMBER", 2)
        assert opened.read("a/b/two.txt") == b"22"
        with pytest.raises(DataError, match=r"three\.txt.* is larger than 2 bytes: get another"):
            opened.read("three.txt")

    def test_fingerprints_tell_changes(self, tmp_path):
        for write, path in [(write_zip, tmp_path / "set.zip"), (write_tree, tmp_path / "set")]:
            seen = []
            for files in (FILES, FILES, FILES | {"a/one.txt": b"11"}, FILES | {"four.txt": b"1"}):
                if path.is_file():
                    path.unlink()
                write(path, files)
                for place, _, names in os.walk(path):
                    for name in names:
                        os.utime(os.path.join(place, name), (1, 1))
                seen.append(open_archive(path, CURE).fingerprint())
            assert seen[0] == seen[1]
            assert len(set(seen)) == 3


class TestFolder:
    def test_an_unreadable_file(self, tmp_path, monkeypatch):
        write_tree(tmp_path, FILES)
        folder = Folder(tmp_path, CURE)
        (tmp_path / "three.txt").unlink()
        (tmp_path / "three.txt").mkdir()  # what root may not read either
        with pytest.raises(DataError, match=r"three\.txt cannot be read \(Is a directory\): mend that, or get another"):
            folder.read("three.txt")

    def test_an_unreadable_folder(self, tmp_path, monkeypatch):
        def refuse(place):
            raise PermissionError(13, "Permission denied", str(place))

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\): mend that, or get another"):
            Folder(tmp_path, CURE)


def with_name(name):
    """A zip whose only file has any name at all."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("x" * len(name), b"content")
    return file.getvalue().replace(b"x" * len(name), name)


def claiming(size):
    """A zip that says of its only file that it unpacks to another size than it does."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("x", b"content")
    return file.getvalue().replace(struct.pack("<II", 7, 7), struct.pack("<II", 7, size))


class TestZip:
    @pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..\\x", "C:\\x", "C:/x", "a\\..\\..\\x", ".."])
    def test_a_name_that_escapes(self, tmp_path, name):
        assert escapes(name)
        (tmp_path / "set.zip").write_bytes(with_name(name.encode()))
        with pytest.raises(DataError, match=r"set\.zip has a file '.*' that leads out of it, .*: get another"):
            Zip(tmp_path / "set.zip", CURE)

    @pytest.mark.parametrize("name", ["a/x", "a..b/x", "...", "a/..x", "n01/n01_1.JPEG"])
    def test_a_name_that_does_not(self, name):
        assert not escapes(name)

    def test_a_bomb(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("zeros", bytes(10**7))
        with pytest.raises(DataError, match=r"would unpack from \d+ to 10000000 bytes, more than 100 times"):
            Zip(tmp_path / "set.zip", CURE)

    @pytest.mark.parametrize("size", [0, 6, 8, 500])
    def test_a_size_that_lies(self, tmp_path, size):
        (tmp_path / "set.zip").write_bytes(claiming(size))
        with pytest.raises(DataError, match=r"x in .*set\.zip cannot be decoded"):
            Zip(tmp_path / "set.zip", CURE).read("x")

    def test_two_files_of_one_name(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed, pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("x", b"1")
            packed.writestr("x", b"2")
        with pytest.raises(DataError, match="two files of one name"):
            Zip(tmp_path / "set.zip", CURE)

    @pytest.mark.parametrize("keep", [0, 10, 60, -1])
    def test_cut_off(self, tmp_path, keep):
        write_zip(tmp_path / "set.zip", FILES)
        (tmp_path / "set.zip").write_bytes((tmp_path / "set.zip").read_bytes()[:keep])
        with pytest.raises(DataError, match=r"set\.zip is no whole zip file .*: get another"):
            Zip(tmp_path / "set.zip", CURE)

    def test_a_wrong_checksum(self, tmp_path):
        write_zip(tmp_path / "set.zip", {"x": b"content"})
        content = (tmp_path / "set.zip").read_bytes().replace(b"content", b"c0ntent")
        (tmp_path / "set.zip").write_bytes(content)
        with pytest.raises(DataError, match=r"x in .*set\.zip cannot be decoded \(Bad CRC-32"):
            Zip(tmp_path / "set.zip", CURE).read("x")


class TestFinding:
    def test_the_first_place_counts(self, tmp_path):
        write_tree(tmp_path, FILES)
        assert find(str(tmp_path), ("a/one.txt", "three.txt"), CURE) == [tmp_path / "a/one.txt"]
        assert find(str(tmp_path), ("nowhere", "*.txt"), CURE) == [tmp_path / "three.txt"]
        with pytest.raises(MissingError, match=r"nowhere is missing: set data\.root or .* or get another"):
            find(str(tmp_path), ("nowhere",), CURE)

    def test_trees(self, tmp_path):
        write_zip(tmp_path / "imagenet_x" / "some.zip", FILES)
        zipped, tree = tmp_path / "imagenet_x" / "some.zip", tmp_path / "imagenet"
        assert find_tree(str(tmp_path), "imagenet*", CURE) == zipped
        assert find_tree(str(zipped), "imagenet*", CURE) == zipped
        write_tree(tree, {"train/a/x": b"", "val/a/x": b""})
        assert find_tree(str(tree), "imagenet*", CURE) == tree
        with pytest.raises(DataError, match=r"more than one such set: set data\.root to one of .*imagenet, .*\.zip"):
            find_tree(str(tmp_path), "imagenet*", CURE)
        with pytest.raises(MissingError, match=r"places\* is missing"):
            find_tree(str(tmp_path), "places*", CURE)

    def test_a_root_that_cannot_be_listed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(DataError, match=r"cannot be listed \(permission denied\): mend that, or get another"):
            find(str(tmp_path), ("x",), CURE)

    def test_reading(self, tmp_path):
        (tmp_path / "x").write_bytes(b"123")
        assert read_whole(tmp_path / "x", 3, CURE) == b"123"
        with pytest.raises(DataError, match="is larger than 2 bytes: get another"):
            read_whole(tmp_path / "x", 2, CURE)
        with pytest.raises(DataError, match=r"cannot be read \(No such file"):
            read_whole(tmp_path / "y", 2, CURE)
