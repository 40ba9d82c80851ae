"""The cache: fast when it works, and never in the way."""

import numpy as np
import pytest

from lightning_ebm.data.cache import cached, folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


class Builder:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"numbers": np.arange(1000, dtype=np.uint8), "names": np.array(["a", "bcd"])}


def read(build, **key):
    arrays = cached("thing", {"size": 3, **key}, build)
    assert sorted(arrays) == ["names", "numbers"]
    assert (arrays["numbers"] == np.arange(1000, dtype=np.uint8)).all()
    assert arrays["names"].tolist() == ["a", "bcd"]


def test_the_second_time_nothing_is_built(home):
    build = Builder()
    read(build)
    read(build)
    assert build.calls == 1
    assert [path.suffix for path in folder().iterdir()] == [".npz"]


def test_another_key_is_another_file(home):
    build = Builder()
    read(build)
    read(build, size=4)
    read(build, format=2)
    assert build.calls == len(list(folder().iterdir())) == 3


def flip(file):
    content = bytearray(file.read_bytes())
    content[500] ^= 1  # inside the numbers
    file.write_bytes(content)


DAMAGE = {
    "flipped bit": flip,
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("<html>not found</html>"),
    "pickle": lambda file: np.savez(file, numbers=np.array([{}], dtype=object)),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_built_anew(home, damage):
    build = Builder()
    read(build)
    (file,) = folder().iterdir()
    DAMAGE[damage](file)
    read(build)
    assert build.calls == 2
    read(build)
    assert build.calls == (3 if damage == "folder" else 2)
    assert list(folder().iterdir()) == [file]


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    build = Builder()
    read(build)
    read(build)
    assert build.calls == 2


def test_errors_of_the_builder_are_not_hidden(home):
    with pytest.raises(ZeroDivisionError):
        cached("thing", {}, lambda: {"numbers": np.array(1 // 0)})
    assert not folder().exists()
