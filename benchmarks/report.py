"""The files of a benchmark."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.chart import time_bars
from benchmarks.config import BenchConfig
from benchmarks.contenders import REFERENCE
from benchmarks.results import GrowthRow, Row, write_csv
from benchmarks.run import TOLERANCES
from benchmarks.tables import growth_table, markdown_tables
from lightning_ebm.reporting.figures.style import save
from lightning_ebm.training.trainer import commit, processor, versions

EXPLANATION = f"""\
A meta-step writes T times and reads K times in all episodes, and takes the gradient of the meta-loss in all trainable
parameters. *Third order* is with the term in the energy's gradient in the writing loss, *second order* without it.
Every contender first agreed with `{REFERENCE}` on the loss and on each gradient, relative to the gradient's largest
entry: to {TOLERANCES["float64"]:g} in float64 at a small size, to {TOLERANCES["float32"]:g} in float32 at full size.

Times are medians of meta-steps timed in turn, one of each contender in a round, each in a process of its own; *first*
is the first meta-step, compilation included. *Peak* is the most memory that the process held, above what it held before
its first meta-step: compilation is included. *GFLOP* counts the matrix products and convolutions that were run, and
*of peak* relates their speed to that of large matrix products on the same threads.
"""


def write_report(config: BenchConfig, rows: Sequence[Row], growth: Sequence[GrowthRow]) -> None:
    """Writes bench.md, bench.csv and bench.png, and growth.csv where growth was measured.

    Args:
        config: names the folder, which exists; files of these names are replaced.
        rows: at least one.
        growth: may be empty.
    """
    folder = Path(config.output)
    write_csv([row.flat() for row in rows], folder / "bench.csv")
    save(time_bars(rows), folder / "bench")
    text = f"# Time of a meta-step\n\n{EXPLANATION}{markdown_tables(rows)}"
    if growth:
        write_csv([asdict(row) for row in growth], folder / "growth.csv")
        text += f"\n## Growth, {config.growth_case}, third order\n\n{growth_table(growth)}"
    made = {**provenance(config), "matrix products": f"{rows[0].gemm_flops_s / 1e9:,.0f} GFLOP/s in float32"}
    text += "\n## How it was made\n\n" + "".join(f"- {name}: {value}\n" for name, value in made.items())
    (folder / "bench.md").write_text(text, encoding="utf-8")


def provenance(config: BenchConfig) -> dict[str, str]:
    """What the numbers depend on: command, commit, hardware, threads, versions."""
    device = torch.cuda.get_device_name() if config.device == "cuda" else processor()
    return {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "device": device,
        "threads": str(config.threads),
        "rounds": str(config.rounds),
        **versions("higher", "torchopt", "jax", "jaxlib", "lightning-ebm"),
    }
