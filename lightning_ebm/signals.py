"""The processes of one run: which is the first, and how a run is asked to stop so that it can go on later."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

REQUEUE = 75
"""Exit code of a run that was asked to stop and can go on: EX_TEMPFAIL of sysexits.h, "try again later"."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What schedulers send before they take a machine away. (SLURM: SIGTERM, or what `--signal` names.)"""


class Stopped(SystemExit):
    """A signal asked the run to stop, and everything that it had done is saved, if that was possible.

    Uncaught, it ends the process with `REQUEUE`, or with 1 if something is lost; with 0 in a process that Lightning
    started, for Lightning kills them all when one of its own ends otherwise, and the exit code is that of the first.

    Args:
        number: the signal.
        lost: why what was done since the last checkpoint could not be saved; empty if it was.
    """

    def __init__(self, number: int, lost: str = "") -> None:
        started_by_lightning = os.environ.get("LOCAL_RANK", "0") != "0" and "TORCHELASTIC_RUN_ID" not in os.environ
        super().__init__(1 if lost else 0 if started_by_lightning else REQUEUE)
        self.words = f"stopped by {signal.Signals(number).name}"
        if lost:
            self.words += f"; what was done since the last checkpoint could not be saved: {lost}"


def process_number() -> int:
    """Number of this process among those of the run, as its launcher says; known before they have met.

    torchrun and SLURM number them through. Lightning numbers machines and the processes of each; of those, only the
    first one of the first machine is 0.
    """
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "0") != "0"), 0)


def launched() -> bool:
    """Whether a launcher (torchrun, srun) has started this command as one of several processes."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1) > 1


@contextmanager
def stops_on_signal() -> Iterator[None]:
    """Within it, each of `STOP_SIGNALS` raises `Stopped`, for there is nothing to save."""
    before = {number: signal.signal(number, raise_stopped) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_stopped(number: int, frame: Any) -> NoReturn:
    """A signal handler."""
    raise Stopped(number)
