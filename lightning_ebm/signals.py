"""Stop signals: how a run is asked to stop and save, and its exit code."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from lightning_ebm.launcher import LIGHTNING, here

REQUEUE = 75
"""Exit code of a run that was stopped and can resume: EX_TEMPFAIL of sysexits.h, "try again later"."""

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""What schedulers send before they take a machine away. (SLURM: SIGTERM, or what `--signal` names.) Windows has one."""

FAILURES = (ValueError, NotImplementedError, RuntimeError, OSError, MemoryError)
"""Errors that are told in one line. Any other is a mistake of the code, and its traceback is shown."""


def reason(error: BaseException, most: int = sys.maxsize) -> str:
    """What an error says, in one line of at most so many characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= most else f"{words[:most]}…"


class Exit(SystemExit):
    """The end of this process with an exit code, which is told in one line, its `words`."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(code)
        self.words = words


class Stopped(Exit):
    """A signal asked the run to stop, and everything that it had done is saved, if that was possible.

    Uncaught, it ends the process with `REQUEUE`, or with 1 if something is lost; with 0 in a process that Lightning
    started, for Lightning kills them all when one of its own ends otherwise, and the exit code is that of the first.
    `lost` says why what was done since the last checkpoint could not be saved; it is empty if it was.
    """

    def __init__(self, number: int, lost: str = "") -> None:
        words = f"stopped by {signal.Signals(number).name}"
        if lost:
            words += f"; what was done since the last checkpoint could not be saved: {lost}"
        super().__init__(1 if lost else 0 if here().launcher is LIGHTNING else REQUEUE, words)


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
