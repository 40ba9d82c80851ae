"""What a GPU makes of compiled training: `python -m benchmarks.gpu`, in less than eight minutes, from a clone alone.

Measures, and writes to runs/gpu.json:
- exactness: float64 meta-gradients of each energy on the device against the CPU's, and float32 compiled against eager;
- updates: milliseconds of loss and gradients eager, compiled, and compiled with CUDA graphs, with device memory;
- the achieved TFLOP/s of the gated RNN of width 1,024;
- updates a second of `compare` with 1, 4 and 16 experiments side by side on the device.

`--device cpu --quick` runs the same in tiny sizes, to test the script. After `--seconds`, nothing more is begun.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rich
import torch
from rich.table import Table
from torch import Tensor

from benchmarks.contenders.ours import FlopCounter
from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.stepwise import Stepwise
from lightning_ebm.files import atomic_write
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import Choice, energies
from lightning_ebm.training.compilation import compiler
from lightning_ebm.training.trainer import commit, processor, versions

BITS, IMAGE = (128,), (1, 32, 32)
SHAPES = {"gated_rnn": BITS, "mixture": BITS, "phase_mixture": BITS}
"""Energies of vectors; all others are measured on images."""
SIDE_BY_SIDE = (1, 4, 16)


def memory_of(name: str, quick: bool) -> tuple[EBMM, Tensor, Tensor]:
    """An EBMM with an energy at its default size, with patterns and queries (episodes, items, *shape), on the CPU."""
    torch.manual_seed(0)
    shape = SHAPES.get(name, (1, 16, 16) if quick else IMAGE)
    cls = energies.load(name)
    small: dict[str, Any] = {"hidden": 16, "written_units": 4} if quick and name == "gated_rnn" else {}
    net = energies.build(Choice(name, cls.config(**small)), PatternSpec(shape, binary=True))
    steps = 2 if quick else 5
    term = name in ("gated_rnn", "resnet_fc", "resnet_conv")
    rules = EBMMConfig(writing=WritingConfig(steps=steps, gradient_term=term), reading=ReadingConfig(steps=steps))
    memory = EBMM(net, rules)
    patterns, fresh, chance = torch.rand(3, 2 if quick else 4, 2 if quick else 32, *shape)
    return memory, patterns.round(), torch.where(chance < 0.3, fresh.round(), patterns.round())


def gradients(loss: Tensor, memory: EBMM) -> list[Tensor]:
    """The meta-gradient, by parameter."""
    return list(torch.autograd.grad(loss, list(memory.parameters()), materialize_grads=True, allow_unused=True))


def difference(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference of two gradients, relative to the largest entry of each parameter's."""
    pairs = zip(one, (x.to(one[0]) for x in other), strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in pairs)


def median_ms(update: Callable[[], Any], rounds: int, device: torch.device) -> float:
    """The median milliseconds of an update, after three that are not timed."""
    times = []
    for turn in range(rounds + 3):
        began = time.perf_counter()
        update()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if turn >= 3:
            times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


def of_energy(name: str, device: torch.device, quick: bool) -> dict[str, Any]:
    """Exactness, milliseconds, compile seconds, peak memory and achieved TFLOP/s of one energy's update."""
    memory, patterns, queries = memory_of(name, quick)
    few, few_queries = patterns[:1, :4].double(), queries[:1, :4].double()
    exact = copy.deepcopy(memory).double()
    on_cpu = gradients(exact.meta_loss(few, few_queries), exact)
    exact.to(device)
    on_device = gradients(exact.meta_loss(few.to(device), few_queries.to(device)), exact)
    row: dict[str, Any] = {"energy": name, "float64 to CPU": difference(on_cpu, [x.cpu() for x in on_device])}
    del exact, on_cpu, on_device

    memory.to(device)
    patterns, queries = patterns.to(device), queries.to(device)
    expected = gradients(memory.meta_loss(patterns, queries), memory)
    with FlopCounter() as counter:
        gradients(memory.meta_loss(patterns, queries), memory)
    forms = {"eager": memory.meta_loss, "compiled": Stepwise(memory, compiler()).meta_loss}
    if device.type == "cuda":
        forms["CUDA graphs"] = Stepwise(memory, compiler(cuda_graphs=True)).meta_loss
    for form, loss in forms.items():

        def update(loss: Callable[..., Tensor] = loss) -> list[Tensor]:
            torch.compiler.cudagraph_mark_step_begin()
            return gradients(loss(patterns, queries), memory)

        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        row[f"{form} difference"] = difference(expected, [x.clone() for x in update()])
        row[f"{form} first s"] = time.perf_counter() - began
        row[f"{form} ms"] = median_ms(update, 2 if quick else 20, device)
        row[f"{form} TFLOP/s"] = counter.total / row[f"{form} ms"] / 1e9
        if device.type == "cuda":
            row[f"{form} MiB"] = torch.cuda.max_memory_allocated() / 2**20
    return row


def side_by_side(count: int, device: torch.device, quick: bool, seconds: float) -> dict[str, Any]:
    """Updates a second of all of `count` experiments that `compare` runs in parallel, its start included."""
    updates = 2 if quick else 100
    words: tuple[str, ...] = (
        "data=bits", "distortion=pixels", "distortion.amount=32", "memory={name: ebmm, energy: gated_rnn}",
        "memory.writing.gradient_term=true", f"training.max_steps={updates}", f"training.validate_every={updates}",
        "training.log_images=false", "episodes.val=4", "episodes.test=4", "episodes.patterns_per_episode=8",
        "trainer.threads=1", f"trainer.accelerator={'gpu' if device.type == 'cuda' else 'cpu'}",
        f"compare.jobs={count}", f"compare.seeds=[{','.join(map(str, range(count)))}]", "compare.gallery=0",
    )  # fmt: skip
    if quick:
        words += ("memory.energy.hidden=8", "memory.energy.written_units=3", "data.size=12", "distortion.amount=4")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "side.yaml"
        file.write_text("name: side\ncompare: {rows: {EBMM: {}}}\n")
        command = [sys.executable, "-m", "lightning_ebm", "compare", str(file), f"output={folder}", *words]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, seconds))
        taken = time.perf_counter() - began
    if done.returncode:
        return {"experiments": count, "failed": (done.stderr or done.stdout).strip().splitlines()[-1:]}
    return {"experiments": count, "updates a second": count * updates / taken, "seconds": taken}


def measured(
    device: torch.device, names: list[str], seconds: float, quick: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of both tables, as they are ready; those that fail or run out of time say so."""
    end = time.monotonic() + seconds
    for count in SIDE_BY_SIDE[:1] if quick else SIDE_BY_SIDE:
        try:
            yield "compare", side_by_side(count, device, quick, seconds / 6)
        except subprocess.TimeoutExpired:
            yield "compare", {"experiments": count, "failed": "out of time"}
    for name in names:
        if time.monotonic() > end:
            yield "energies", {"energy": name, "failed": "out of time"}
            continue
        try:
            yield "energies", of_energy(name, device, quick)
        except (RuntimeError, NotImplementedError) as error:
            yield "energies", {"energy": name, "failed": " ".join(str(error).split())[:200]}


def table(rows: list[dict[str, Any]]) -> Table:
    """Rows as a table whose columns are all keys that occur."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    shown = Table(*columns)
    for row in rows:
        values = (row.get(key, "") for key in columns)
        shown.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values))
    return shown


def made_by(device: torch.device) -> dict[str, str]:
    """Device, commit and versions."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    return {"device": name, "commit": commit(), **versions("lightning-ebm")}


def main(words: list[str] | None = None) -> int:
    """Runs the script; returns 0, or 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to test the script")
    parser.add_argument("--energies", nargs="+", choices=energies.names(), default=energies.names())
    parser.add_argument("--seconds", type=float, default=420.0, help="after which nothing more is begun")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu.json"))
    options = parser.parse_args(words)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu --quick tests the script")
    device = torch.device(options.device)
    found: dict[str, list[dict[str, Any]]] = {"compare": [], "energies": []}
    for kind, row in measured(device, options.energies, options.seconds, options.quick):
        found[kind].append(row)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        # after each row, so that nothing is lost if the device is taken away
        atomic_write(options.output, json.dumps({**found, "made by": made_by(device)}, indent=1).encode())
        rich.print(row)
    for rows in found.values():
        rich.print(table(rows))
    return int(any("failed" in row for rows in found.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
