"""The cache: fast when it works, never in the way, and safe with several processes."""

import errno
import json
import multiprocessing
import os
import resource
import time
from unittest.mock import Mock

import numpy as np
import pytest

from lightning_ebm.data import cache
from lightning_ebm.data.cache import cached, filled, folder, opened

pytestmark = pytest.mark.usefixtures("root")


def builder():
    """Makes two arrays, and counts how often."""
    return Mock(side_effect=lambda: {"numbers": np.arange(1000, dtype=np.uint8), "names": np.array(["a", "bcd"])})


def read(build, **key):
    arrays = cached("thing", {"size": 3, **key}, build)
    assert sorted(arrays) == ["names", "numbers"]
    assert (arrays["numbers"] == np.arange(1000, dtype=np.uint8)).all()
    assert arrays["names"].tolist() == ["a", "bcd"]


def entries():
    """What the cache holds, without its locks."""
    return [path for path in folder().iterdir() if path.suffix != ".lock"]


def only_folder():
    (found,) = entries()
    return found


def test_the_second_time_nothing_is_built():
    build = builder()
    read(build)
    read(build)
    assert build.call_count == 1
    assert sorted(file.name for file in only_folder().iterdir()) == ["manifest.json", "names.npy", "numbers.npy"]


def test_what_is_read_is_mapped_and_cannot_be_changed():
    for _ in range(2):
        numbers = cached("thing", {}, lambda: {"numbers": np.arange(1000)})["numbers"]
        assert isinstance(numbers, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            numbers[0] = 1


def test_no_rows_at_all():
    build = Mock(return_value={"none": np.empty((0, 3), np.uint8)})
    for _ in range(2):
        arrays = cached("thing", {}, build)
        assert arrays["none"].shape == (0, 3)
    assert build.call_count == 1


def test_another_key_is_another_folder():
    build = builder()
    read(build)
    read(build, size=4)
    read(build, format=2)
    assert build.call_count == len(entries()) == 3


def flip(path):
    content = bytearray((path / "numbers.npy").read_bytes())
    content[500] ^= 1  # inside the numbers
    (path / "numbers.npy").write_bytes(content)


def cut(path):
    file = path / "numbers.npy"
    file.write_bytes(file.read_bytes()[:-100])


def tell(path, **changes):
    """Changes what the manifest says of the numbers."""
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["numbers"] |= changes
    (path / "manifest.json").write_text(json.dumps(manifest))


def pickled(path):
    file = path / "numbers.npy"
    np.save(file, np.array([{}], dtype=object))
    tell(path, bytes=file.stat().st_size, sha256=cache.digest(file), shape=[1], dtype="|O")


def to_file(path):
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    path.touch()


DAMAGE = {
    "flipped bit": flip,
    "cut off": cut,
    "empty": lambda path: (path / "names.npy").write_bytes(b""),
    "gone": lambda path: (path / "names.npy").unlink(),
    "text": lambda path: (path / "numbers.npy").write_text("<html>not found</html>"),
    "pickle": pickled,
    "another shape": lambda path: tell(path, shape=[10, 100]),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "broken manifest": lambda path: (path / "manifest.json").write_text('{"numbers": {"sha'),
    "a file": to_file,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_built_anew(damage):
    build = builder()
    read(build)
    path = only_folder()
    DAMAGE[damage](path)
    read(build)
    assert build.call_count == 2
    read(build)
    assert build.call_count == 2
    assert only_folder() == path


def test_checksums_of_large_files_are_not_verified(monkeypatch):
    monkeypatch.setattr(cache, "CHECKED", 100)
    read(builder())
    flip(only_folder())
    assert opened(only_folder())["numbers"].shape == (1000,)


class TestNoPlace:
    """Everything works from memory then, with one warning that says what to do, and nothing is left."""

    def check(self):
        build = builder()
        with pytest.warns(UserWarning, match="cannot be written .* XDG_CACHE_HOME") as warned:
            read(build)
        assert len(warned) == build.call_count == 1
        with pytest.warns(UserWarning):
            read(build)
        assert build.call_count == 2

    def test_a_folder_that_cannot_be_made(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        self.check()

    @pytest.mark.parametrize(("place", "step"), [(os, "posix_fallocate"), (cache, "record")], ids=["start", "end"])
    def test_a_disk_that_is_full_from_the_start_or_fills_up_at_the_end(self, monkeypatch, place, step):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(place, step, full)
        self.check()
        assert entries() == []

    def test_a_limit_that_the_system_sets(self):
        """The second array is larger than any file may be: a true error of the system, in a process of its own."""

        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
            with pytest.warns(UserWarning, match="cannot be written"):
                arrays = cached("thing", {}, lambda: {"a": np.arange(10), "b": np.arange(10_000), "c": np.arange(3)})
            assert [arrays[label].sum() for label in "abc"] == [45, 49_995_000, 3]

        process = multiprocessing.get_context("fork").Process(target=limited)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        assert entries() == []


def test_errors_of_the_builder_are_not_hidden_and_leave_nothing():
    def fail(allocate):
        allocate("numbers", (3,), np.uint8)
        raise OSError("a damaged file of the data set")

    with pytest.raises(ZeroDivisionError):
        cached("thing", {}, lambda: {"numbers": np.array(1 // 0)})
    with pytest.raises(OSError, match="of the data set"):
        filled("thing", {}, fail)
    assert entries() == []


def killed_while_building(barrier):
    def fill(allocate):
        allocate("numbers", (100_000,), np.int64)
        barrier.wait()
        time.sleep(60)

    filled("thing", {}, fill)


def test_another_process_takes_over_from_a_killed_one():
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    process = context.Process(target=killed_while_building, args=(barrier,))
    process.start()
    barrier.wait(30)
    process.kill()
    process.join(30)
    assert (only_folder() / "numbers.npy").exists()
    arrays = cached("thing", {}, lambda: {"other": np.arange(3)})
    assert arrays["other"].tolist() == [0, 1, 2]
    assert sorted(file.name for file in only_folder().iterdir()) == ["manifest.json", "other.npy"]


def build_together(barrier, queue, number):
    built = []

    def fill(allocate):
        built.append(number)
        time.sleep(0.5)  # the others come while this one builds
        allocate("numbers", (100_000,), np.int64)[...] = np.arange(100_000)

    barrier.wait()
    arrays = filled("thing", {}, fill)
    queue.put((len(built), int(arrays["numbers"].sum()), str(arrays["numbers"].filename)))


def test_of_several_processes_together_one_builds():
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()
    processes = [context.Process(target=build_together, args=(barrier, queue, number)) for number in range(4)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(30)
    assert sorted(built for built, _, _ in results) == [0, 0, 0, 1]
    assert {total for _, total, _ in results} == {4_999_950_000}
    assert {name for _, _, name in results} == {str(only_folder() / "numbers.npy")}
