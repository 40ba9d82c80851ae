"""Folders and zips of unknown origin: read alike, and refused where they mean harm."""

import io
import os
import struct
import zipfile
from types import SimpleNamespace

import pytest

from lightning_ebm.data import archive
from lightning_ebm.data.archive import Folder, MissingError, Zip, data_root, find_tree, open_archive, read_whole
from lightning_ebm.data.download import Remote, find_or_fetch
from lightning_ebm.data.episodes import DataError
from tests.data.roots import write_tree, write_zip

CURE = "get another"
FILES = {"a/one.txt": b"1", "a/b/two.txt": b"22", "three.txt": b"333"}
JUNK = dict.fromkeys(
    [
        *("__MACOSX/a/one.txt", "a/.DS_Store", "a/._one.txt", "a/Thumbs.db", "lost+found/x.png", "a/@eaDir/one.txt"),
        *(".ipynb_checkpoints/a/one.txt", "a/.ipynb_checkpoints/one-checkpoint.txt", "a/Desktop.ini"),
    ],
    b"junk",
)


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
    def test_links_are_followed(self, tmp_path):
        write_tree(tmp_path / "elsewhere", FILES)
        (tmp_path / "set" / "b").mkdir(parents=True)
        (tmp_path / "set" / "a").symlink_to(tmp_path / "elsewhere" / "a")
        (tmp_path / "set" / "twice").symlink_to(tmp_path / "elsewhere" / "a")  # the same folder again is no loop
        (tmp_path / "set" / "b" / "four.txt").symlink_to("../../elsewhere/three.txt")
        (tmp_path / "link").symlink_to("set")
        folder = Folder(tmp_path / "link", CURE)
        assert folder.names == ["a/b/two.txt", "a/one.txt", "b/four.txt", "twice/b/two.txt", "twice/one.txt"]
        assert folder.read("b/four.txt") == b"333" and folder.fingerprint()

    @pytest.mark.parametrize(
        ("place", "target", "message"),
        [
            ("a/up", "..", "a/up is a link to a folder that it lies in, a loop: remove the link"),
            ("a/b/self", "../b", "a/b/self is a link to a folder that it lies in, a loop: remove the link"),
            ("a/x", "x", "a/x is a loop of links: remove or fix the link"),
            ("a/x", "gone", "a/x is a link to gone, which is not there: remove or fix the link"),
            ("a/x.png", "one.txt/y", r"a/x\.png is a link to one\.txt/y, which is not there"),
        ],
    )
    def test_links_that_lead_nowhere_or_back_are_named(self, tmp_path, place, target, message):
        write_tree(tmp_path, FILES)
        (tmp_path / place).symlink_to(target)
        with pytest.raises(DataError, match=message):
            Folder(tmp_path, CURE)
        (tmp_path / place).unlink()  # as it says
        assert Folder(tmp_path, CURE).names == sorted(FILES)

    def test_what_is_no_file_is_passed_over(self, tmp_path):
        write_tree(tmp_path, FILES)
        os.mkfifo(tmp_path / "a" / "pipe.png")
        assert Folder(tmp_path, CURE).names == sorted(FILES)

    def test_an_unreadable_file(self, tmp_path, monkeypatch):
        write_tree(tmp_path, FILES)
        folder = Folder(tmp_path, CURE)
        (tmp_path / "three.txt").unlink()
        (tmp_path / "three.txt").mkdir()  # what root may not read either
        with pytest.raises(DataError, match=r"three\.txt cannot be read \(Is a directory\): fix that, or get another"):
            folder.read("three.txt")

    def test_an_unreadable_folder(self, tmp_path, monkeypatch):
        def refuse(place):
            raise PermissionError(13, "Permission denied", str(place))

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\): fix that, or get another"):
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
    @pytest.mark.parametrize("name", ["a\\b\\one.txt", "..\\one.txt", "/etc/one.txt", "../../one.txt", "C:/one.txt"])
    def test_a_name_with_backslashes_or_that_would_lead_elsewhere_is_only_a_name(self, tmp_path, name):
        (tmp_path / "set.zip").write_bytes(with_name(name.encode()))
        opened = Zip(tmp_path / "set.zip", CURE)
        assert opened.names == [name.replace("\\", "/")]
        assert opened.read(opened.names[0]) == b"content"
        assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]  # nothing is unpacked

    def test_a_symbolic_link_in_a_zip_is_named(self, tmp_path):
        link = zipfile.ZipInfo("train/cat")
        link.external_attr = 0o120777 << 16
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
            packed.writestr(link, "../elsewhere/cat")
        with pytest.raises(DataError, match=r"set\.zip has a symbolic link in place of train/cat: zip the files"):
            Zip(tmp_path / "set.zip", CURE)

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
        with pytest.raises(DataError, match=r"set\.zip is not a complete zip file .*: get another"):
            Zip(tmp_path / "set.zip", CURE)

    def test_a_wrong_checksum(self, tmp_path):
        write_zip(tmp_path / "set.zip", {"x": b"content"})
        content = (tmp_path / "set.zip").read_bytes().replace(b"content", b"c0ntent")
        (tmp_path / "set.zip").write_bytes(content)
        with pytest.raises(DataError, match=r"x in .*set\.zip cannot be decoded \(Bad CRC-32"):
            Zip(tmp_path / "set.zip", CURE).read("x")


def find(root, names, cure):
    config = SimpleNamespace(root=root, download=False)
    return find_or_fetch(Remote("http://localhost/x", ""), config, ("",), names, cure)


class TestFinding:
    def test_the_first_place_counts(self, tmp_path):
        write_tree(tmp_path, FILES)
        assert find(str(tmp_path), ("a/one.txt", "three.txt"), CURE) == tmp_path / "a/one.txt"
        assert find(str(tmp_path), ("nowhere", "three.txt"), CURE) == tmp_path / "three.txt"
        with pytest.raises(MissingError, match=r"has no nowhere but a, three\.txt: set data\.root .* or get another"):
            find(str(tmp_path), ("nowhere",), CURE)
        with pytest.raises(MissingError, match=r"gone/x is missing \(.*gone: No such file or directory\): set"):
            find(str(tmp_path / "gone"), ("x",), CURE)

    def test_trees(self, tmp_path):
        write_zip(tmp_path / "imagenet_x" / "some.zip", FILES)
        (tmp_path / "imagenet_x" / "._some.zip").write_bytes(b"macOS")
        zipped, tree = tmp_path / "imagenet_x" / "some.zip", tmp_path / "imagenet"
        assert find_tree(str(tmp_path), "imagenet*", CURE) == zipped
        assert find_tree(str(zipped), "imagenet*", CURE) == zipped
        write_tree(tree, {"train/a/x": b"", "val/a/x": b""})
        assert find_tree(str(tree), "imagenet*", CURE) == tree
        with pytest.raises(DataError, match=r"more than one such set: set data\.root to one of .*imagenet, .*\.zip"):
            find_tree(str(tmp_path), "imagenet*", CURE)
        there = r"has no folders train and val itself, and no places\*, a zip .* but imagenet, imagenet_x"
        with pytest.raises(MissingError, match=there):
            find_tree(str(tmp_path), "places*", CURE)

    def test_a_root_that_cannot_be_listed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(DataError, match=r"cannot be listed \(permission denied\): fix that, or get another"):
            find(str(tmp_path), ("x",), CURE)

    def test_reading(self, tmp_path):
        (tmp_path / "x").write_bytes(b"123")
        assert read_whole(tmp_path / "x", 3, CURE) == b"123"
        with pytest.raises(DataError, match="is larger than 2 bytes: get another"):
            read_whole(tmp_path / "x", 2, CURE)
        with pytest.raises(DataError, match=r"cannot be read \(No such file"):
            read_whole(tmp_path / "y", 2, CURE)


def test_the_root_may_be_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIGHTNING_EBM_DATA", raising=False)
    assert data_root(".", "x", CURE).samefile(tmp_path)
    with pytest.raises(DataError, match="where is x"):
        data_root("", "x", CURE)
