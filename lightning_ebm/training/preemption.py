"""How a run ends before its time: it is asked to, one of its processes dies, or memory, disk or a worker fails."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from lightning_ebm.data.datamodule import end_workers
from lightning_ebm.schema import RunConfig
from lightning_ebm.signals import REQUEUE, STOP_SIGNALS, Stopped, reason
from lightning_ebm.training.checkpoints import CHECKPOINTS

GRACE = 3.0
"""Seconds that a process has to end by its own error after another one died."""
DISK = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "the disk is full, or your quota of it")
DISK |= dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "it cannot be written to")
"""Error numbers of a run's folder, in words."""


class StopOnSignal(Checkpoint):
    """After a signal of `STOP_SIGNALS` to any process, all finish the update, save to `last`, and raise `Stopped`.

    It is a `Checkpoint` because Lightning calls those last, so that a validation's checkpoints are written before.
    """

    def __init__(self, last: Path) -> None:
        self.last, self.received = last, 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes the signals, from Lightning too, which would save in the middle of an update under SLURM."""
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._receive)  # Lightning puts back what was there before training

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number

    def on_train_batch_end(
        self, trainer: Any, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Stops after this update, unless more belongs to it: a validation, or a row of metrics not yet written."""
        update = trainer.global_step
        if update % trainer.val_check_interval and update % trainer.log_every_n_steps and self._is_asked(trainer):
            module.on_train_batch_end(outputs, batch, batch_index)  # its turn would come after ours
            try:
                trainer.save_checkpoint(self.last)
            except OSError as error:  # no failure of this run alone, after which a comparison would start the next one
                raise Stopped(self.received, lost=str(error)) from error
            raise Stopped(self.received)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stops after a validation, whose checkpoint is written by now."""
        if self._is_asked(trainer):
            raise Stopped(self.received)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Saves the updates after the last validation, if there are any."""
        if trainer.global_step % trainer.val_check_interval:
            trainer.save_checkpoint(self.last)

    def _is_asked(self, trainer: pl.Trainer) -> bool:
        asked = trainer.strategy.reduce_boolean_decision(self.received > 0, all=False)
        self.received = self.received or (signal.SIGTERM if asked else 0)  # another process was
        return asked


class EndTogether(pl.Callback):
    """When a process dies, the others say so and end too, also those that wait for it in a collective operation."""

    def __init__(self) -> None:
        self.started = False

    def watch_start(self, trainer: pl.Trainer) -> None:
        """Before `fit`: watches the processes that this one is about to start, until training begins.

        Meanwhile this one waits for them in C++, where Python's handlers of signals do not run. If one of them is
        stopped, so was this one, or it would wait for as long as `trainer.timeout` says.
        """
        launcher = trainer.strategy.launcher
        if not isinstance(launcher, _SubprocessScriptLauncher):
            return

        def wait() -> None:
            while not self.started:
                for number, child in enumerate(launcher.procs, 1):
                    if child.poll() is not None:
                        stopped = -child.returncode in (0, *STOP_SIGNALS)
                        how = "stopped by a signal" if stopped else f"error: {wait_for_child(child, number)}"
                        print(f"{how} while its processes started", flush=True)
                        os._exit(REQUEUE if stopped else 1)
                time.sleep(0.2)

        threading.Thread(target=wait, daemon=True).start()

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Watches the processes that this one started, or the one that started it."""
        self.started = True
        for thread in threading.enumerate():
            if isinstance(thread, _ChildProcessObserver):
                thread._child_processes = []  # Lightning would kill this process first, and nobody would say why
        launcher = trainer.strategy.launcher
        for number, child in enumerate(launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else [], 1):
            watch(lambda child=child, number=number: wait_for_child(child, number))  # type: ignore[misc]
        if trainer.local_rank > 0:
            watch(wait_for_parent)


def watch(wait: Callable[[], str]) -> None:
    """In a thread, waits for bad news (an empty message is none), says it, and ends this process."""

    def end() -> None:
        if news := wait():
            print(f"error: {news}; the others end too. The same command resumes from the last checkpoint", flush=True)
            time.sleep(GRACE)
            sys.stdout.flush()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def wait_for_child(child: subprocess.Popen[bytes], number: int) -> str:
    """Waits until a process that this one started ends; a message if that was no success."""
    code = child.wait()  # Lightning, which asks too, still gets it
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"process {number} ({child.pid}) {how}" if code else ""


def wait_for_parent() -> str:
    """Waits until the process that started this one is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    return f"the process that started this one ({parent}) is gone"


class TrainingFailureError(RuntimeError):
    """Training ended before its time; the message says why, what to do, and what is kept."""


@contextmanager
def explained(config: RunConfig, folder: Path) -> Iterator[None]:
    """Turns failures within it that are a `known_failure` into a TrainingFailureError; others pass as they are."""
    try:
        yield
    except Exception as error:
        if why := known_failure(error, config, folder):
            kept = any((folder / CHECKPOINTS).glob("last*.ckpt"))
            resumes = "; the last checkpoint is kept, and the same command resumes from it" if kept else ""
            raise TrainingFailureError(why + resumes) from error
        raise


def known_failure(error: Exception, config: RunConfig, folder: Path) -> str:
    """Why a run of this configuration in this folder failed, in words; empty for errors that are no such failure."""
    # a worker's death is raised wherever the main process is, and can make what handles it fail too
    handled: BaseException | None = error
    while isinstance(handled, Exception):
        if str(handled).startswith("DataLoader"):
            error = handled
            break
        handled = handled.__context__
    text, in_torch = str(error), isinstance(error, RuntimeError)
    number = (error.errno or 0) if isinstance(error, OSError) else 0
    if "in DataLoader worker process" in text:  # after its traceback, the error itself
        return text.strip().splitlines()[-1].partition(": ")[2] or reason(error)
    if in_torch and text.startswith("DataLoader"):
        end_workers()
        return (
            f"episodes.workers={config.episodes.workers}: a worker is gone or hangs ({reason(error)})."
            " If memory ran out, fewer of them need less; episodes.workers=0 loads in the main process"
        )
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or number == errno.ENOMEM
    if is_memory or (in_torch and "allocate memory" in text):
        # only more processes make an update smaller and leave what is learned as it is
        return (
            f"out of memory. More processes (trainer.devices, now {config.trainer.devices}) share the episodes of an"
            f" update out; a smaller episodes.batch (now {config.episodes.batch}), episodes.patterns_per_episode (now"
            f" {config.episodes.patterns_per_episode}) or memory makes it smaller, as another run"
        )
    gone = "the folder is gone, or cannot be made" if number == errno.ENOENT and not folder.exists() else ""
    trouble = DISK.get(number, gone)
    if trouble:
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        return f"{folder}: {trouble}{where}; make room, or choose another output=…"
    if in_torch and (isinstance(error, torch.distributed.DistError) or "gloo" in text):
        return (
            "another process of this run is gone, or did not answer for"
            f" trainer.timeout={config.trainer.timeout:g} seconds; its own message says why"
        )
    return ""
