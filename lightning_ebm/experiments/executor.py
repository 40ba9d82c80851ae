"""The executor: runs experiments of a comparison and trials of a sweep, each a command in a process of its own.

Processes run on this machine, one a GPU of those that the user shows or one a core, or as jobs of SLURM, submitted
through submitit.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from lightning_ebm.config import ConfigError
from lightning_ebm.files import atomic_write
from lightning_ebm.reporting.terminal import QUIET
from lightning_ebm.signals import reason

PAUSE = 0.25  # seconds between two looks at the processes
SHOWN = 12  # jobs that the live table names


class UnfinishedError(ConfigError):
    """Some jobs, whose names it takes, failed; `found` is what would have been returned, and in the report."""

    def __init__(self, failed: Sequence[str], found: Any) -> None:
        super().__init__(f"not finished, see above and log.txt in the run's folder: {', '.join(failed)}")
        self.found = found


@dataclass(frozen=True)
class Job:
    """A command and what is known of it."""

    name: str
    command: Sequence[str]
    folder: Path
    """Where log.txt lies, all that it prints."""
    devices: int = 1
    """GPUs that it uses; 0: all that are shown."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Variables added to those of this process; None removes one."""
    progress: Callable[[], float] = lambda: 0.0
    """Share of its work that is done, from 0 to 1."""
    speaks: Sequence[float] = ()
    """Seconds within which it must have printed a first line, a second one, and so on, or it is killed."""
    gives_up: Callable[[], bool] = lambda: False
    """Whether it should be asked to stop, since its result is of no use any more."""

    @property
    def log(self) -> Path:
        """The file of what it prints."""
        return self.folder / "log.txt"

    @property
    def exit_code(self) -> Path:
        """Where a job of SLURM leaves its exit code: submitit's own would have to be unpickled."""
        return self.folder / "slurm" / "exit-code"


def variables(changes: Mapping[str, str | None]) -> dict[str, str]:
    """The environment of this process with changes, as in `Job.environment`."""
    return {name: value for name, value in {**os.environ, **changes}.items() if value is not None}


@dataclass
class Running:
    """A job at work."""

    job: Job
    process: subprocess.Popen[bytes] | Submitted
    gpus: Sequence[str] = ()
    printed: int = 0
    """Bytes of its log when it started."""
    start: float = field(default_factory=time.monotonic)
    lines: int = 0
    """Lines that it is known to have printed since."""
    asked: bool = False
    """Whether it was asked to stop."""
    hung: str = ""
    """Why it was killed, if it hung."""

    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self.start


def run_jobs(
    executor: Local | Slurm,
    jobs: Iterator[Job],
    total: int,
    ended: Callable[[Running, str], str],
    console: Console = QUIET,
) -> None:
    """Runs jobs, `total` of them, until there are none left; a ConfigError if a command or SLURM cannot be started.

    Each is asked for when there is room for it, so that it may depend on how others have ended. `ended` gets one that
    has ended, with the reason if it failed, and returns its line in the log: "done", "failed: …". Stopping this process
    stops all jobs; if it is killed, they end alone. A terminal also shows a live table.
    """
    running: list[Running] = []
    begun, count = time.monotonic(), 0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            while True:
                while executor.has_room(running) and (job := next(jobs, None)):
                    running.append(executor.start(job, running))
                if not running:
                    return
                time.sleep(PAUSE)
                for one in list(running):
                    code = one.process.poll()
                    if code is None:
                        watch(one)
                        continue
                    running.remove(one)
                    count += 1
                    words = ended(one, one.hung or why(one.job.log, code))
                    line = f"{one.job.name}: {words} ({count} of {total}, {one.seconds():.0f} s)"
                    console.print(Text(line, style="red" if words.startswith("failed") else ""), soft_wrap=True)
                live.update(table(running, count, total, time.monotonic() - begun), refresh=True)
        finally:
            for one in running:
                one.process.terminate()
            for one in running:
                one.process.wait()


def watch(one: Running) -> None:
    """Asks a job to stop that gives up; kills one that hangs before it has printed what it should have."""
    if not one.asked and one.job.gives_up():
        one.asked = True
        one.process.terminate()
    if not isinstance(one.process, subprocess.Popen):  # a job of SLURM waits in the queue first
        return
    due = [limit for limit in one.job.speaks if one.seconds() > limit]
    if len(due) > one.lines:
        one.lines = one.job.log.read_bytes()[one.printed :].count(b"\n")
        if len(due) > one.lines:
            one.hung = f"it hung on start: it printed {one.lines} lines in {due[one.lines]:.0f} s, and was killed"
            one.process.kill()


def why(log: Path, code: int) -> str:
    """Why a job has failed, in one line: the signal that killed it, or the last line of its log; empty for code 0."""
    if code == 0:
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    last = " ".join(lines[-1].removeprefix("error: ").split()) if lines else "it printed nothing"
    if code < 0:  # never on Windows, which has no SIGKILL
        name = signal.Signals(-code).name
        hint = ", which the system sends when memory runs out" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}; last line: {last}"
    return last if code == 1 else f"exit code {code}; last line: {last}"


def table(running: Sequence[Running], count: int, total: int, seconds: float) -> Group:
    """The jobs at work, and the time left if all cost what these did."""
    finished = count + sum(one.job.progress() for one in running)
    words = f"{count} of {total} ended, {len(running)} running"
    if finished:
        words += f"; about {max(0.0, total - finished) * seconds / finished / 60:.0f} min left"
    numbers = (Column(name, justify="right") for name in ("done", "seconds"))
    view = Table(Column("job", overflow="fold"), *numbers, box=None, pad_edge=False)
    for one in running[:SHOWN]:
        view.add_row(Text(one.job.name), f"{one.job.progress():.0%}", f"{one.seconds():.0f}")
    return Group(Text(words), view)


def gpus() -> list[str]:
    """The GPUs that the user shows, as CUDA_VISIBLE_DEVICES names them: numbers, or UUIDs of GPUs or MIG slices."""
    import torch  # not above, for a job of SLURM imports this file to run a command that imports it again

    count = torch.cuda.device_count()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if shown is None else (name.strip() for name in shown.split(","))
    return list(names)[:count]  # CUDA ends the list at the first name that it does not know


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait_for_earlier(log: IO[bytes]) -> None:
    """Waits for the process of the same job that has outlived an earlier, killed run of this command.

    The lock belongs to the open log. The new process inherits it and holds it until it ends, whatever its command is
    and even if this process is killed; locks of `files.lock` are not inherited. Without such locks, nothing waits.
    """
    try:
        import fcntl

        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warnings.warn(f"waiting for a process of an earlier command, which still writes {log.name}", stacklevel=1)
            fcntl.flock(log, fcntl.LOCK_EX)
    except (ImportError, OSError):
        return


def make_executor(kind: str, workers: int, slurm: Mapping[str, Any]) -> Local | Slurm:
    """The executor of `compare.executor`, `compare.jobs` and `compare.slurm`, or of the same settings of a sweep.

    Raises:
        ConfigError: if submitit is not installed.
    """
    return Local(workers) if kind == "local" else Slurm(workers, slurm)


class Local:
    """Processes on this machine; `workers` as in `make_executor`."""

    def __init__(self, workers: int) -> None:
        self.gpus, self.workers = gpus(), workers
        self.places = len(self.gpus) or cores()

    def has_room(self, running: Sequence[Running]) -> bool:
        """Whether another job may start."""
        if self.workers:
            return len(running) < self.workers
        return sum(max(1, len(one.gpus)) for one in running) < self.places

    def start(self, job: Job, running: Sequence[Running]) -> Running:
        """Starts a job on the GPUs that the fewest others use; what it prints is added to its log."""
        used = [gpu for one in running for gpu in one.gpus]
        chosen = sorted(self.gpus, key=used.count)[: job.devices]
        threads = str(max(1, cores() // (self.workers or self.places)))
        environment = {"OMP_NUM_THREADS": threads, **variables(job.environment)}
        if chosen:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        job.folder.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            wait_for_earlier(log)
            before = log.tell()
            try:
                process = subprocess.Popen(job.command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            except OSError as error:
                raise ConfigError(f"cannot start {job.command[0]!r}, the first word of a command: {error}") from None
        return Running(job, process, chosen, before)


class Slurm:
    """Jobs of SLURM; the arguments are those of `make_executor`.

    Each is requeued at its time limit or when it is preempted, and resumes from its checkpoint.
    """

    def __init__(self, workers: int, settings: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError:
            raise ConfigError("executor=slurm needs submitit: pip install 'lightning-ebm[slurm]'") from None
        self.submitit, self.workers, self.settings = submitit, workers, dict(settings)

    def has_room(self, running: Sequence[Running]) -> bool:
        """Whether another job may be submitted."""
        return not self.workers or len(running) < self.workers

    def start(self, job: Job, running: Sequence[Running]) -> Running:
        """Submits a job, or takes up the one that an earlier run of this command has submitted."""
        job.folder.mkdir(parents=True, exist_ok=True)
        python = f"{shlex.quote(sys.executable)} -P"  # files of the working folder never stand in for modules
        try:
            executor = self.submitit.SlurmExecutor(job.folder / "slurm", max_num_timeout=1_000_000, python=python)
            executor.update_parameters(**{"job_name": job.folder.name, **self.settings})
        except (ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(f"slurm={self.settings}: {reason(error)}") from None
        kept = job.folder / "slurm" / "job"
        if kept.exists() and not job.exit_code.exists():
            found = executor.job_class(executor.folder, kept.read_text())
            if not found.done(force_check=True) and found.state != "UNKNOWN":
                return Running(job, Submitted(job, found))
        job.exit_code.unlink(missing_ok=True)
        try:
            submitted = executor.submit(Task(job.command, job.environment, job.log, job.exit_code))
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"sbatch refuses {job.name}: {reason(error)}") from None
        atomic_write(kept, submitted.job_id.encode())
        return Running(job, Submitted(job, submitted))


@dataclass
class Submitted:
    """A job of SLURM, as if it were a `subprocess.Popen`."""

    job: Job
    submitted: Any

    def poll(self) -> int | None:
        """Its exit code; 1 if SLURM has ended it before it could leave one, which the log then says."""
        if not self.submitted.done():
            return None
        try:
            return int(self.job.exit_code.read_text())
        except (OSError, ValueError):
            with self.job.log.open("a") as log:
                print(f"job {self.submitted.job_id} of SLURM has ended in the state {self.submitted.state}", file=log)
            return 1

    def terminate(self) -> None:
        """Cancels it: SLURM sends SIGTERM, and SIGKILL half a minute later."""
        self.submitted.cancel(check=False)

    def wait(self) -> None:
        """Not for a cluster, whose jobs end by themselves."""


@dataclass
class Task:
    """What a job of SLURM does: it runs a command, leaves the exit code, and stops it before the job is requeued."""

    command: Sequence[str]
    environment: Mapping[str, str | None]
    log: Path
    code: Path

    def __call__(self) -> None:
        """Runs the command to its end."""
        with self.log.open("ab") as log:
            environment = variables(self.environment)
            self.process = subprocess.Popen(self.command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        if not int(os.environ.get("SLURM_PROCID", 0)):  # of the processes of one training, the first one tells
            atomic_write(self.code, str(self.process.wait()).encode())

    def checkpoint(self) -> Any:
        """Called by submitit on the signal that comes before the time limit or a preemption."""
        import submitit

        self.process.terminate()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Task(self.command, self.environment, self.log, self.code))
