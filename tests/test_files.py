"""Files are whole or not there, and of several processes one is in a folder at a time."""

import ast
import errno
import multiprocessing
import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest

from lightning_ebm import files
from lightning_ebm.files import LockedError, atomic_write, lock
from lightning_ebm.signals import Stopped, stops_on_signal


class Other:
    """A fork of this process that is in a folder until it is told to leave."""

    def __init__(self, path):
        fork = multiprocessing.get_context("fork")
        self.inside, self.leave = fork.Event(), fork.Event()
        self.process = fork.Process(target=self.stay, args=(path,))
        self.process.start()
        self.pid = self.process.pid
        assert self.inside.wait(60)

    def stay(self, path):
        with lock(path):
            self.inside.set()
            self.leave.wait()

    def end(self):
        self.leave.set()
        self.process.join()


@pytest.fixture
def other(tmp_path):
    other = Other(tmp_path / "lock")
    yield other
    other.process.kill()
    other.process.join()


def failing(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    path = tmp_path / "new folder" / "file"
    atomic_write(path, b"old")

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(error)):
            atomic_write(path, b"new")
    assert [file.name for file in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_two_writers_do_not_break_each_other(tmp_path):
    path, failures = tmp_path / "file", []

    def write(letter):
        try:
            for _ in range(50):
                atomic_write(path, letter * 10_000)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            content = path.read_bytes()
            assert content == content[:1] * 10_000
    assert not failures
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_synced_does_not_stop_a_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", failing(errno.EACCES))  # as on Windows
    files.sync_names(tmp_path)


def test_a_second_process_is_named_and_waited_for(tmp_path, other):
    path, said = tmp_path / "lock", []
    with pytest.raises(LockedError, match=rf"{tmp_path} is in use by process {other.pid} on "), lock(path, wait=False):
        pass

    def say(line):
        said.append(line)
        other.leave.set()

    with lock(path, say=say), lock(path, wait=False):  # and again, within
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    (line,) = said
    assert line.startswith(f"{tmp_path} is in use by process {other.pid} on ")


def test_death_ends_a_lock(tmp_path, other):
    other.process.kill()
    other.process.join()
    with lock(tmp_path / "lock", wait=False):
        pass


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_a_holder_that_is_not_known_is_another_process(tmp_path, other, content):
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(LockedError, match="in use by another process"), lock(tmp_path / "lock", wait=False):
        pass


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Stopped)])
def test_waiting_ends_on_a_signal(tmp_path, other, number, error):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), number))
    with pytest.raises(error), stops_on_signal(), lock(tmp_path / "lock", say=lambda _: timer.start()):
        pytest.fail("two are in")
    timer.join()
    other.end()
    with lock(tmp_path / "lock", wait=False):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="flock is of Unix")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_costs_a_warning(tmp_path, monkeypatch, code):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", failing(code))
    for _ in range(2):
        entered = []
        with pytest.warns(UserWarning, match=rf"{tmp_path}: its file system has no locks \("), lock(tmp_path / "lock"):
            entered.append(1)
        assert entered
    with pytest.raises(OSError, match="of the body"), pytest.warns(UserWarning), lock(tmp_path / "lock"):
        raise OSError(code, "of the body")
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), lock(tmp_path / "lock"):
        pass


def test_nothing_needs_a_module_that_windows_lacks():
    """Such an import stands in a `try` that expects ImportError, and nothing uses `signal.SIGKILL`."""
    for path in Path(files.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guarded = {
            node
            for guard in ast.walk(tree)
            if isinstance(guard, ast.Try)
            and any("ImportError" in ast.unparse(one.type or guard) for one in guard.handlers)
            for statement in guard.body
            for node in ast.walk(statement)
        }
        for node in set(ast.walk(tree)) - guarded:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not set(re.findall(r"\w+", ast.unparse(node))) & {
                    "fcntl",
                    "grp",
                    "pwd",
                    "resource",
                    "termios",
                }, path
            assert ast.unparse(node) != "signal.SIGKILL" if isinstance(node, ast.Attribute) else True, path
