"""The inside of a contender's process: it does what the parent asks for, and answers."""

import resource
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cases import Case
from benchmarks.contenders import Contender, load


@dataclass(frozen=True)
class Result:
    """What a meta-step computed, and in what time.

    Attributes:
        seconds: of this one step; of a first one, compilation included.
        loss: the meta-loss.
        gradients: its gradient by parameter name.
    """

    seconds: float
    loss: float
    gradients: dict[str, np.ndarray]


class Worker:
    """Answers to the commands of `process.Process`: each public method is one.

    Args:
        name: of the contender.
    """

    def __init__(self, name: str) -> None:
        self.contender: Contender = load(name)
        self.device = "cpu"
        self.level = 0.0

    def prepare(self, case: Case, dtype: str, device: str) -> None:
        """Sets a case up, and notes how much memory the process has before its first meta-step."""
        self.device = device
        self.contender.prepare(case, dtype, device)
        self.level = memory_mib(device)

    def step(self) -> float:
        """Runs one meta-step; returns its seconds."""
        start = time.perf_counter()
        self.contender.meta_step()
        return time.perf_counter() - start

    def result(self) -> Result:
        """Runs one meta-step; returns its time, loss and gradients."""
        start = time.perf_counter()
        loss, gradients = self.contender.meta_step()
        seconds = time.perf_counter() - start
        return Result(seconds, float(array(loss)), {name: array(value) for name, value in gradients.items()})

    def peak_mib(self) -> tuple[float, float]:
        """Highest memory so far, above that before the first meta-step, and the latter; MiB."""
        return memory_mib(self.device, peak=True) - self.level, self.level

    def flops(self) -> int | None:
        """Counted operations of one meta-step."""
        return self.contender.flops()


def gemm_peak(device: str) -> float:
    """Best speed of large float32 matrix products on this device with this process's threads, in FLOP/s."""
    speeds = []
    for size in (512, 1024, 2048) if device == "cpu" else (2048, 4096, 8192):
        a, b = torch.rand(2, size, size, device=device)
        for _ in range(6):
            start = time.perf_counter()
            a @ b
            if device == "cuda":
                torch.cuda.synchronize()
            speeds.append(2 * size**3 / (time.perf_counter() - start))
    return max(speeds)


def memory_mib(device: str, peak: bool = False) -> float:
    """Memory of this process on a device, now or at its highest, in MiB."""
    if device == "cuda":
        used = torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
        return used / 2**20
    try:  # not `ru_maxrss` on Linux: a new process inherits the mark of the one that started it
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return float(status["VmHWM" if peak else "VmRSS"].split()[0]) / 2**10
    except (OSError, KeyError):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def array(value: Any) -> np.ndarray:
    """A tensor of any tool in NumPy."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def serve(pipe: Connection, name: str, threads: int) -> None:
    """Answers (done, value) or (failed, reason) to (command, arguments), until the other end is closed.

    Whatever a contender raises is an answer: it must not stop the others.
    """
    torch.set_num_threads(threads)
    worker = None
    while True:
        try:
            command, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if command == "gemm_peak":
                pipe.send(("done", gemm_peak(*arguments)))
                continue
            worker = worker or Worker(name)
            pipe.send(("done", getattr(worker, command)(*arguments)))
        except ImportError as error:
            pipe.send(("not installed", str(error)))
        except Exception as error:
            pipe.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]))
