"""Weak scaling: two processes of one thread, with twice the episodes, against one. Prints a line for each repetition.

    OMP_NUM_THREADS=1 python results/launch/weak_scaling.py REPETITIONS

An update of each process is timed twice: by the clock, and by the processor time of the process, which other users of
the machine do not lengthen much but which leaves waiting out. Medians over updates; the first five are left out.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETTINGS = (
    "training.max_steps=20", "training.validate_every=20", "training.log_images=false", "episodes.val=2",
    "episodes.patterns_per_episode=64", "trainer.accelerator=cpu", "trainer.threads=1",
)  # fmt: skip


def train(arguments: list[str], times: Path) -> None:
    """Trains in this process (of maybe two) and leaves the times of its updates in a file of its own."""
    from lightning_ebm.cli import main
    from lightning_ebm.training.module import MetaTraining

    seconds: list[tuple[float, float]] = []
    started, ended = MetaTraining.on_train_batch_start, MetaTraining.on_train_batch_end

    def start(module: Any, batch: Any, index: int) -> None:
        module.clocks = time.perf_counter(), time.process_time()
        started(module, batch, index)

    def end(module: Any, *rest: Any) -> None:
        ended(module, *rest)
        clock, processor = module.clocks
        seconds.append((time.perf_counter() - clock, time.process_time() - processor))

    MetaTraining.on_train_batch_start, MetaTraining.on_train_batch_end = start, end
    code = main(arguments)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rank = os.environ.get("LOCAL_RANK", "0")
    (times / f"{rank}.json").write_text(json.dumps({"seconds": seconds[5:], "memory": memory}))
    sys.exit(code)


def measure(processes: int) -> tuple[float, float, float]:
    """Median seconds of an update by the clock and by the processor, and the largest memory of a process in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "configs/bits.yaml", f"output={folder}", *SETTINGS]
        words += [f"trainer.devices={processes}", f"episodes.batch={8 * processes}"]
        subprocess.run(
            [sys.executable, __file__, folder, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        found = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    assert len(found) == processes
    clock, processor = (statistics.median(pair[kind] for one in found for pair in one["seconds"]) for kind in (0, 1))
    return clock, processor, max(one["memory"] for one in found) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 2:
        train(sys.argv[2:], Path(sys.argv[1]))
    rows = []
    for _ in range(int(sys.argv[1])):
        one, two = measure(1), measure(2)
        rows.append((one, two))
        print(
            f"clock {1000 * one[0]:.0f} and {1000 * two[0]:.0f} ms ({one[0] / two[0]:.0%}), "
            f"processor {1000 * one[1]:.0f} and {1000 * two[1]:.0f} ms ({one[1] / two[1]:.0%}), "
            f"memory {one[2]:.0f} and {two[2]:.0f} MiB, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    for kind, name in enumerate(("clock", "processor")):
        one, two = (statistics.median(row[side][kind] for row in rows) for side in (0, 1))
        print(f"median, {name}: {1000 * one:.0f} and {1000 * two:.0f} ms, efficiency {one / two:.0%}")
