"""Error against bits a pixel: image codecs, and pretrained memories at 8 and 4 bits a value.

    LIGHTNING_EBM_DATA=FOLDER python results/rate/measure.py

Measures the rows of codecs.yaml and the pretrained memories on the same 20 test episodes, without SSIM, which takes
most of the time of `compare`. Writes results.csv, table.md and figure.png beside this file.
"""

import csv
import dataclasses
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.grid import grid
from lightning_ebm.experiments.pretrained import run_config
from lightning_ebm.metrics import pattern_errors, recalled, unit
from lightning_ebm.pretrained import read
from lightning_ebm.quantization import rounded, state_bits
from lightning_ebm.reporting.figures.style import draw_line, legend, look, new_figure, save, write_out_ticks
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.training.trainer import Run, build

HERE = Path(__file__).parent
EPISODES = 20
PIXELS = 32 * 32
PRETRAINED = ("omniglot-2304", "omniglot-4608", "omniglot-4608-any", "cifar10-2304")
DATA = {"omniglot": "Omniglot", "cifar10": "CIFAR-10"}


@dataclasses.dataclass
class Row:
    """A memory at one size and precision, with the mask known or not."""

    data: str
    memory: str
    line: str
    mask: str
    bits_a_pixel: float
    unit: str
    corrupted: list[float] = dataclasses.field(default_factory=list)
    """Error on corrupted values of each episode."""
    exact: list[float] = dataclasses.field(default_factory=list)
    """Share of patterns of each episode that are recalled exactly."""


def rows(run: Run, memory: str, line: str, precisions: dict[str, str]) -> Iterator[Row]:
    """Writes each test episode once, and reads it at each precision (name -> what it adds to the memory's label)."""
    spec, found = run.data.source.spec, {}
    with torch.no_grad():
        for batch in test_loader(run, run.config.episodes.patterns_per_episode):
            written = run.memory.write(batch.patterns)
            for precision, suffix in precisions.items():
                state = rounded(written, precision)
                bits = state_bits(run.memory, state, precision) / batch.patterns.shape[1] / PIXELS
                for mask in ("unknown", "known"):
                    blank = Row(run.config.data.name, memory + suffix, line, mask, bits, unit(spec))
                    row = found.setdefault((precision, mask), blank)
                    answer = run.memory.read(state, batch.queries, batch.mask if mask == "known" else None)[-1]
                    row.corrupted += pattern_errors(answer, batch.patterns, spec, batch.mask).double().mean(1).tolist()
                    row.exact += recalled(answer, batch.patterns, spec).double().mean(1).tolist()
    yield from found.values()


def everything() -> Iterator[Row]:
    """The rows of codecs.yaml, then the pretrained memories."""
    for one in grid(HERE / "codecs.yaml"):
        yield from rows(build(one.config), one.label, one.series, {"float32": ""})
    for name in PRETRAINED:
        saved = read(name)
        words = [f"episodes.test={EPISODES}", "distortion={name: block, size: 16}"]
        run = dataclasses.replace(build(run_config(saved, words)), memory=saved.build())
        yield from rows(run, name, f"EBMM {name}", {"int8": ", 8 bits a value", "int4": ", 4 bits a value"})


def write_csv(found: list[Row]) -> None:
    """All rows, a line each."""
    with (HERE / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "data",
                "memory",
                "mask",
                "bits_a_pixel",
                "corrupted_mean",
                "corrupted_p5",
                "corrupted_p95",
                "exact",
                "unit",
            ]
        )
        for row in found:
            numbers = [row.bits_a_pixel, *mean_and_band(row.corrupted), sum(row.exact) / len(row.exact)]
            writer.writerow([row.data, row.memory, row.mask, *(f"{number:.6g}" for number in numbers), row.unit])


def table(found: list[Row]) -> str:
    """A table for each data set: mean [5th, 95th percentile] over episodes, and share recalled exactly; Markdown."""
    text = ""
    for data, title in DATA.items():
        own = [row for row in found if row.data == data]
        text += f"## {title}\n\nError on corrupted values ({own[0].unit}).\n\n"
        text += "| memory | bits a pixel | mask unknown | exactly | mask known | exactly |\n"
        text += "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        for memory in dict.fromkeys(row.memory for row in own):
            pair = {row.mask: row for row in own if row.memory == memory}
            text += f"| {memory} | {pair['known'].bits_a_pixel:.3f} |"
            for row in (pair["unknown"], pair["known"]):
                mean, low, high = mean_and_band(row.corrupted)
                text += f" {mean:.2f} [{low:.2f}, {high:.2f}] | {sum(row.exact) / len(row.exact):.1%} |"
            text += "\n"
        text += "\n"
    return text.rstrip("\n") + "\n"


def draw(found: list[Row]) -> None:
    """A panel for each data set and mask; a band that reaches to 0 ends at the lower edge."""
    lines = list(dict.fromkeys(row.line for row in found))
    with new_figure(9.2, 7.2) as figure:
        panels = figure.subplots(2, 2, sharex=True, sharey="row")
        for axes, (data, mask) in zip(panels.flat, product(DATA, ("unknown", "known")), strict=True):
            for rank, line in enumerate(lines):
                own = [one for one in found if (one.data, one.mask, one.line) == (data, mask, line)]
                if points := sorted((one.bits_a_pixel, *mean_and_band(one.corrupted)) for one in own):
                    draw_line(axes, points, label=line, **look(rank))
            axes.set_title(f"{DATA[data]}, mask {mask}")
            axes.set_yscale("log")
            write_out_ticks(axes.yaxis)
        for axes, data in zip(panels[:, 0], DATA, strict=True):
            axes.set_ylabel(f"error on corrupted values\n({next(one.unit for one in found if one.data == data)})")
        for axes in panels[1]:
            axes.set_xlabel("bits a pixel")
        legend(figure)
        save(figure, HERE / "figure")


if __name__ == "__main__":
    measured = list(everything())
    write_csv(measured)
    (HERE / "table.md").write_text(table(measured), encoding="utf-8")
    draw(measured)
