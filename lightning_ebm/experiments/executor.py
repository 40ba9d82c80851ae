"""Runs the cells of a comparison: one after the other here, or several at a time in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lightning_ebm.experiments.experiment import Cell, run_cell, write_cell
from lightning_ebm.signals import last_words, launched

SHOWN = 12  # cells at work that the live table names


@dataclass
class Job:
    """A cell in a process of its own.

    Attributes:
        cell: what it does.
        slot: its place among those that run together: the number of its GPU, where there are some.
        process: the process.
        start: when it was started, in seconds.
    """

    cell: Cell
    slot: int
    process: subprocess.Popen[bytes]
    start: float


def run_cells(cells: Sequence[Cell], jobs: int, console: Console) -> dict[int, str]:
    """Runs what is not done yet. A cell that fails does not stop the others.

    Args:
        cells: all cells of the comparison.
        jobs: how many at a time; 1 runs them in this process, 0 takes one for each GPU or, without, each core.
        console: shows what is going on.

    Returns:
        The error of each cell that failed, by its place in `cells`.
    """
    jobs = jobs or torch.cuda.device_count() or os.cpu_count() or 1
    waiting = [rank for rank, cell in enumerate(cells) if not cell.is_done()]
    # training on several devices starts its command anew, which must then be that of the cell alone
    several_ranks = any(cells[rank].config.trainer.devices > 1 for rank in waiting)
    if launched() or (jobs == 1 and not several_ranks):
        return run_here(cells, waiting, console)
    return run_in_processes(cells, waiting, jobs, console)


def run_here(cells: Sequence[Cell], waiting: Sequence[int], console: Console) -> dict[int, str]:
    """One cell after the other, each with its own progress line."""
    failed: dict[int, str] = {}
    for rank in waiting:
        try:
            run_cell(cells[rank], console.print)
        except (ValueError, NotImplementedError, RuntimeError, OSError, MemoryError) as error:
            failed[rank] = " ".join(str(error).split())
            console.print(Text(f"{cells[rank].label}: failed: {failed[rank]}", style="red"))
    return failed


def run_in_processes(cells: Sequence[Cell], waiting: list[int], jobs: int, console: Console) -> dict[int, str]:
    """Several cells at a time. Stopping this process stops them; if it is killed, they end their cell alone.

    What runs is a table in a terminal and nothing in a file; each cell that ends is a line in both.
    """
    queue, begun = list(waiting), time.monotonic()
    running: dict[int, Job] = {}
    failed: dict[int, str] = {}
    slots = list(range(jobs))
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            while queue or running:
                while queue and slots:
                    rank = queue.pop(0)
                    running[rank] = start(cells[rank], slots.pop(0), jobs)
                for rank, job in list(running.items()):
                    if job.process.poll() is not None:
                        slots.append(running.pop(rank).slot)
                        if cells[rank].is_done():
                            how = Text(f"{name_of(job.cell)}: done after {time.monotonic() - job.start:.0f} s")
                        else:
                            failed[rank] = last_words(job.cell.folder / "log.txt", job.process.returncode)
                            how = Text(f"{name_of(job.cell)}: failed: {failed[rank]}", style="red")
                        ended = len(waiting) - len(queue) - len(running)
                        console.print(how, f"({ended} of {len(waiting)})", highlight=False)
                live.update(table(cells, waiting, queue, running, failed, time.monotonic() - begun), refresh=True)
                time.sleep(0.25)
        finally:
            for job in running.values():
                job.process.terminate()
            for job in running.values():
                job.process.wait()
    return failed


def start(cell: Cell, slot: int, jobs: int) -> Job:
    """Starts the process of a cell; what it prints goes to log.txt in the run's folder."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    write_cell(cell, cell.folder / "cell.yaml")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    if torch.cuda.is_available() and cell.config.trainer.devices == 1:
        environment["CUDA_VISIBLE_DEVICES"] = str(slot % torch.cuda.device_count())
    command = [sys.executable, "-m", "lightning_ebm.experiments.experiment", str(cell.folder / "cell.yaml")]
    with (cell.folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    return Job(cell, slot, process, time.monotonic())


def table(
    cells: Sequence[Cell],
    waiting: Sequence[int],
    queue: Sequence[int],
    running: dict[int, Job],
    failed: dict[int, str],
    seconds: float,
) -> Group:
    """The cells that run, and how many are done; time left, if all cost what these did."""
    done = len(cells) - len(queue) - len(running) - len(failed)
    share = sum(job.cell.progress() / max(1, job.cell.config.training.updates) for job in running.values())
    finished = len(waiting) - len(queue) - len(running) + share  # since this comparison was started
    left = (len(waiting) - finished) * seconds / finished if finished else 0.0
    words = f"{done} done, {len(running)} running, {len(queue)} waiting, {len(failed)} failed"
    time_left = f"; about {left / 60:.0f} min left" if left else ""
    view = Table(box=None, pad_edge=False)
    for name in ("cell", "updates", "seconds"):
        view.add_column(name, justify="left" if name == "cell" else "right", overflow="fold")
    for job in list(running.values())[:SHOWN]:
        updates = f"{job.cell.progress():,} of {job.cell.config.training.updates:,}"
        view.add_row(Text(name_of(job.cell)), updates, f"{time.monotonic() - job.start:.0f}")
    return Group(Text(words + time_left), view)


def name_of(cell: Cell, seed: bool = True) -> str:
    """The cell in a few words, with its seed or without."""
    seeds = [f"seed {cell.config.seed}"] if seed else []
    return ", ".join([cell.label, *([cell.variation] if cell.variation else []), *seeds])
