"""A signal or a failure ends training in one line, and the same command resumes as if nothing had been."""

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lightning_ebm.cli import main
from lightning_ebm.data import datamodule
from lightning_ebm.data.bits import RandomBits
from lightning_ebm.data.episodes import DataError
from lightning_ebm.signals import REQUEUE, STOP_SIGNALS
from lightning_ebm.training import checkpoints
from lightning_ebm.training import trainer as training
from lightning_ebm.training.module import MetaTraining
from lightning_ebm.training.preemption import wait_for_child
from tests.marks import slow
from tests.training.tiny import DEBUG, TINY, assert_same_state, config, last, metrics, trained

OVERRIDES = ("training.max_steps=53", "training.validate_every=20", "training.ema_decay=0.5", "episodes.val=2")


def failing(error):
    def fail(*_):
        raise error

    return fail


def at_update(monkeypatch, update, work):
    """Lets `work()` happen once within an update, while its loss is computed."""
    original, done = MetaTraining.training_step, []

    def step(self, batch, batch_index):
        noise = torch.rand(()) + random.random() + np.random.rand()  # a memory may draw while training
        if self.global_step + 1 == update and not done:
            done.append(update)
            work()
        return original(self, batch, batch_index) + 0 * noise

    monkeypatch.setattr(MetaTraining, "training_step", step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        at_update(patch, 0, None)
        return trained(config(tmp_path_factory.mktemp("whole"), *OVERRIDES)).folder


@pytest.mark.parametrize(
    ("number", "update", "saved"),
    [
        pytest.param(signal.SIGUSR1, 33, 33, id="between"),
        pytest.param(signal.SIGTERM, 40, 40, id="validation", marks=slow),
        pytest.param(signal.SIGUSR2, 50, 51, id="row", marks=slow),  # the row of update 50 is written after it
        pytest.param(signal.SIGTERM, 53, 53, id="end"),
    ],
)
def test_a_signal_saves_this_update_and_asks_to_be_run_again(
    tmp_path, monkeypatch, capsys, whole, number, update, saved
):
    arguments = ["train", str(DEBUG), f"output={tmp_path}", *TINY, *OVERRIDES]
    at_update(monkeypatch, update, lambda: os.kill(os.getpid(), number))
    handlers = [signal.getsignal(n) for n in STOP_SIGNALS]
    assert main(arguments) == REQUEUE == os.EX_TEMPFAIL
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"stopped by {number.name}; the same command resumes")
    (folder,) = tmp_path.glob("debug-*")
    assert last(folder)["global_step"] == saved
    seconds = last(folder)["training_seconds"]
    assert main(arguments) == 0
    assert [signal.getsignal(n) for n in STOP_SIGNALS] == handlers
    assert_same_state(last(whole), last(folder), finished=update == 53)
    assert last(folder)["training_seconds"] >= seconds > 0
    assert metrics(folder) == metrics(whole)
    assert [step for step, key in metrics(whole) if key == "val/error"] == [19, 39]
    assert [step for step, key in metrics(whole) if key == "train/loss"] == [49]


def test_a_signal_to_all_processes_leaves_workers_to_the_trainer(tmp_path, monkeypatch, capsys, whole):
    """As a terminal, a scheduler or `timeout` send it; what a worker has begun is finished, and the update is saved."""
    arguments = ["train", str(DEBUG), f"output={tmp_path}", *TINY, *OVERRIDES, "episodes.workers=2"]

    def stop_all():
        workers = [child.pid for child in multiprocessing.active_children()]
        assert workers
        for process in (*workers, os.getpid()):
            os.kill(process, signal.SIGTERM)

    at_update(monkeypatch, 33, stop_all)
    assert main(arguments) == REQUEUE
    (folder,) = tmp_path.glob("debug-*")
    assert last(folder)["global_step"] == 33
    assert main(arguments) == 0
    assert metrics(folder) == metrics(whole)


def test_a_signal_stops_a_comparison_also_where_it_cannot_save(tmp_path, monkeypatch, capsys):
    rows = "compare.rows={first: {}, second: {seed: 1}}"
    arguments = ["compare", str(DEBUG), f"output={tmp_path}", *TINY, *OVERRIDES, rows, "compare.jobs=1"]

    def stop():
        monkeypatch.setattr(checkpoints, "atomic_write", failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        os.kill(os.getpid(), signal.SIGTERM)

    at_update(monkeypatch, 33, stop)
    assert main(arguments) == 1
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith("stopped by SIGTERM; what was done since the last checkpoint could not be saved: ")
    assert "No space left" in line
    (folder,) = (path.parent for path in tmp_path.glob("*/checkpoints"))  # the second one was not begun
    assert last(folder)["global_step"] == 20


def test_where_there_is_nothing_to_save_a_signal_stops_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "record_run", lambda run: os.kill(os.getpid(), signal.SIGUSR1))
    assert main(["train", str(DEBUG), f"output={tmp_path}", *TINY, *OVERRIDES]) == REQUEUE
    assert capsys.readouterr().out.startswith("stopped by SIGUSR1")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory. More processes (trainer.devices, now 1)"),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "a smaller episodes.batch (now 2), episodes.patterns_per_episode (now 4)",
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"), "another process of this run"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),  # as when a worker is to be started
        (RuntimeError("something else [3]"), "something else [3]"),
    ],
)
def test_failures_within_an_update_are_one_line(tmp_path, monkeypatch, refused, error, message):
    arguments = ["train", str(DEBUG), f"output={tmp_path}", *TINY, "training.max_steps=6"]
    at_update(monkeypatch, 4, lambda: failing(error)())
    assert message in refused(*arguments)
    (folder,) = tmp_path.glob("debug-*")
    assert last(folder)["global_step"] == 2
    assert main(arguments) == 0
    assert last(folder)["global_step"] == 6


def kill_a_worker(monkeypatch):
    at_update(monkeypatch, 4, lambda: os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL))


def in_workers(work):
    """Something that happens in a worker when it draws patterns of a later update."""

    def trouble(monkeypatch):
        original, main_process = RandomBits.draw, os.getpid()

        def draw(self, split, *arguments):
            if os.getpid() != main_process and split == "train" and next(drawn) >= 3:
                work()
            return original(self, split, *arguments)

        drawn = iter(range(10**6))
        monkeypatch.setattr(RandomBits, "draw", draw)

    return trouble


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=slow)])
@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        pytest.param(kill_a_worker, "a worker is gone or hangs (DataLoader worker (pid", id="killed"),
        pytest.param(
            in_workers(lambda: os._exit(3)), "a worker is gone or hangs (DataLoader worker (pid", id="ended", marks=slow
        ),
        pytest.param(in_workers(lambda: time.sleep(1000)), "hangs (DataLoader timed out after 2", id="hangs"),
        pytest.param(
            in_workers(lambda: failing(DataError("/gone: set data.root"))()), "/gone: set data.root", id="data"
        ),
        pytest.param(in_workers(lambda: failing(MemoryError("no room"))()), "no room", id="memory", marks=slow),
    ],
)
def test_a_worker_that_fails_is_one_line_and_none_is_left(tmp_path, monkeypatch, refused, workers, trouble, message):
    words = ("training.max_steps=40", "training.validate_every=40", f"episodes.workers={workers}")
    arguments = ["train", str(DEBUG), f"output={tmp_path}", *TINY, *words]
    monkeypatch.setattr(datamodule, "WORKER_TIMEOUT", 2.0)
    with monkeypatch.context() as patch:
        trouble(patch)
        line = refused(*arguments)
    assert message in line
    assert "Traceback" not in line
    datamodule.end_workers()
    assert not multiprocessing.active_children()


def test_a_workers_death_is_told_where_it_makes_other_code_fail_too(tmp_path, monkeypatch, refused):
    """It is raised wherever the main process is, such as within torch.func, which then refuses what Lightning does."""

    def step(*_):
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
        finally:
            raise RuntimeError("mutating directly with `.data` under vmap transform is not allowed.")

    monkeypatch.setattr(MetaTraining, "training_step", step)
    line = refused("train", str(DEBUG), f"output={tmp_path}", *TINY, "training.max_steps=2")
    assert "a worker is gone or hangs (DataLoader worker (pid 7)" in line


LOADS = """
import sys
from lightning_ebm.config import read, resolve
from lightning_ebm.training.trainer import build
words = ["data=bits", "data.size=100000", "distortion=pixels", "distortion.amount=4", "episodes.workers=2"]
try:
    loader = build(resolve(read(sys.argv[1], [*words, "memory=hopfield"]))).data.test_dataloader()
    print(sum(batch.patterns.nbytes for batch in loader))
except ValueError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize(
    ("options", "code", "output"),
    [
        ("size=64k", 0, "6400000"),
        pytest.param("size=64k,nr_inodes=1", 1, "set episodes.workers=0, or make /dev/shm larger", marks=slow),
    ],
)
def test_workers_need_next_to_no_shared_memory(options, code, output):
    """A batch of 3.2 MB where /dev/shm holds 64 kB; and where it holds not even a semaphore."""
    script = f'mount -t tmpfs -o {options} none /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    done = subprocess.run(
        [*command, sys.executable, "-c", LOADS, str(DEBUG)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr
    assert output in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "the disk is full"), pytest.param(errno.EROFS, "cannot be written to", marks=slow)],
)
@pytest.mark.parametrize("place", ["checkpoint", "metrics"])
def test_a_disk_that_fails_is_one_line_and_the_last_checkpoint_stays(
    tmp_path, monkeypatch, refused, code, message, place
):
    arguments = ["train", str(DEBUG), f"output={tmp_path}", *TINY, "training.max_steps=6"]

    def break_disk():
        broken = failing(OSError(code, os.strerror(code), "a file"))
        if place == "checkpoint":
            monkeypatch.setattr(checkpoints, "atomic_write", broken)
        else:
            monkeypatch.setattr(training.MetricsFile, "save", broken)

    at_update(monkeypatch, 4, break_disk)
    line = refused(*arguments)
    assert message in line
    assert "a file" in line
    monkeypatch.undo()
    (folder,) = tmp_path.glob("debug-*")
    assert last(folder)["global_step"] == 2
    assert main(arguments) == 0


def test_a_run_folder_that_is_moved_away_is_named(tmp_path, monkeypatch, refused):
    at_update(monkeypatch, 4, lambda: next(tmp_path.glob("debug-*")).rename(tmp_path / "elsewhere"))
    line = refused("train", str(DEBUG), f"output={tmp_path}", *TINY, "training.max_steps=6")
    assert line.startswith(str(tmp_path / "debug-"))
    assert "the folder is gone" in line


@pytest.mark.parametrize("blocked", ["output=/proc/nowhere", "output=/dev/null/runs"])
def test_a_folder_that_cannot_be_made_is_one_line(capsys, blocked):
    assert main(["train", str(DEBUG), blocked, *TINY]) == 1
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("error: ")
    assert blocked.removeprefix("output=") in line


def test_data_that_vanished_stops_before_anything_is_touched(tmp_path, monkeypatch, refused):
    """The run stands at update 2 when its data set's files go; when they are back, it goes on."""
    arguments = ["train", str(DEBUG), f"output={tmp_path}", *TINY, "training.max_steps=6"]
    at_update(monkeypatch, 4, lambda: failing(RuntimeError("stop"))())
    assert refused(*arguments) == "stop"
    (folder,) = tmp_path.glob("debug-*")
    before = (folder / "checkpoints" / "last.ckpt").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(RandomBits, "from_config", failing(DataError("/gone: no such folder; set data.root")))
        assert refused(*arguments) == "/gone: no such folder; set data.root"
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == before
    assert main(arguments) == 0


def test_updates_after_the_last_validation_are_kept(tmp_path):
    run = trained(config(tmp_path, "training.max_steps=5", "training.validate_every=2"))
    assert training.training_record(run)[0] == last(run.folder)["global_step"] == 5


@pytest.mark.parametrize(
    ("command", "news"),
    [("exit 0", ""), ("exit 3", "ended with exit code 3"), ("kill -9 $$", "was killed by signal 9")],
)
def test_how_a_process_ended_is_told_and_left_for_lightning_to_see(command, news):
    child = subprocess.Popen(["sh", "-c", command])
    told = wait_for_child(child, 1)
    assert told == (f"process 1 ({child.pid}) {news}" if news else "")
    assert (child.poll() != 0) == bool(news)
