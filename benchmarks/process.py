"""A contender's process, seen from the parent."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from benchmarks.worker import serve


class ContenderError(RuntimeError):
    """A contender failed.

    Args:
        status: "not installed" or "failed".
        reason: why, in one line.
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status, self.reason = status, reason


class Process:
    """A spawned process with one contender in it; it sleeps until it is asked for something.

    Threads are set through the environment, which libraries read when they are loaded.

    Args:
        name: of the contender.
        threads: that its tool may use.
        timeout: seconds after which a process that has not answered is given up.
    """

    def __init__(self, name: str, threads: int, timeout: float) -> None:
        self.timeout = timeout
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, name, threads), daemon=True)
        with environment(thread_settings(threads)):
            self.process.start()
        other.close()

    def ask(self, command: str, *arguments: Any) -> Any:
        """The answer of a method of `worker.Worker`, or of `gemm_peak`.

        Raises:
            ContenderError: if it failed, did not answer in time, or its process ended.
        """
        try:
            self.pipe.send((command, arguments))
            if not self.pipe.poll(self.timeout):
                self.stop()
                raise ContenderError("failed", f"no answer to {command!r} in {self.timeout:g} s")
            status, value = self.pipe.recv()
        except (EOFError, OSError):  # as when the system ended it for want of memory
            self.process.join(10)
            raise ContenderError("failed", f"its process ended, exit code {self.process.exitcode}") from None
        if status != "done":
            raise ContenderError(status, value)
        return value

    def stop(self) -> None:
        """Ends the process."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def thread_settings(threads: int) -> dict[str, str]:
    """Environment variables that fix the number of threads of all tools, and keep idle ones from spinning."""
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NPROC": count,  # the size of XLA's thread pools
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen={str(threads > 1).lower()}",
        "JAX_PLATFORMS": "cpu",
        "KMP_BLOCKTIME": "0",
    }


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """This process's environment with other settings, which a process started meanwhile inherits."""
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
