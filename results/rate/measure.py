"""Error against bits a pixel: image codecs, and pretrained memories at 8 and 4 bits a value.

    LIGHTNING_EBM_DATA=FOLDER python results/rate/measure.py

Runs codecs.yaml and the pretrained memories on the same 20 test episodes. Writes results.csv, table.md and figure.png
beside this file.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import lightning_ebm as lebm
from lightning_ebm.config import merge, parse_overrides, resolve
from lightning_ebm.experiments.compare import compare
from lightning_ebm.experiments.experiment import Setting, measured
from lightning_ebm.experiments.reproduce import configuration
from lightning_ebm.pretrained import read
from lightning_ebm.reporting.figures.style import draw_line, from_zero, legend, look, new_figure, save
from lightning_ebm.reporting.record import Record, mean_and_band, write_csv
from lightning_ebm.training.trainer import build

HERE = Path(__file__).parent
EPISODES = 20
PIXELS = 32 * 32
PRETRAINED = ("omniglot-2304", "omniglot-4608", "omniglot-4608-decoded", "cifar10-2304")
DATA = {"omniglot": "Omniglot", "cifar10": "CIFAR-10"}


def pretrained(name: str) -> Iterator[Record]:
    """A pretrained memory at 8 and 4 bits a value, with the mask unknown and known."""
    saved = read(name)
    config = resolve(merge(configuration(saved), parse_overrides([f"episodes.test={EPISODES}"])))
    run = dataclasses.replace(build(config), memory=lebm.load_pretrained(name))
    settings = [Setting(64, known, precision) for known in (False, True) for precision in ("int8", "int4")]
    for setting, records in measured(run, settings):
        for record in records:
            yield dataclasses.replace(record, label=f"{name}, {setting.precision}", series=f"EBMM {name}")


def bits_a_pixel(record: Record) -> float:
    """Bits of the state for each pixel that it stores, scales and headers included."""
    return record.bits / record.items / PIXELS


def table(records: list[Record]) -> str:
    """One table for each data set in Markdown: errors on corrupted values, mean [5th, 95th percentile]."""
    text = ""
    for data, title in DATA.items():
        own = [record for record in records if record.data == data]
        text += f"## {title}\n\nError on corrupted values ({own[0].unit}).\n\n"
        text += "| memory | bits a pixel | mask unknown | mask known |\n| --- | ---: | ---: | ---: |\n"
        for label in dict.fromkeys(record.label for record in own):
            pair = sorted((one for one in own if one.label == label), key=lambda one: one.mask_known)
            cells = ["{:.2f} [{:.2f}, {:.2f}]".format(*mean_and_band(one.error_corrupted)) for one in pair]
            text += f"| {label} | {bits_a_pixel(pair[0]):.3f} | {' | '.join(cells)} |\n"
        text += "\n"
    return text


def draw(records: list[Record]) -> None:
    """A panel for each data set and mask."""
    series = [name for name in dict.fromkeys(record.series for record in records)]
    with new_figure(9.2, 7.2, False) as figure:
        for row, (data, panels) in enumerate(zip(DATA, figure.subplots(2, 2, sharex=True, sharey="row"), strict=True)):
            for known, axes in zip((False, True), panels, strict=True):
                for rank, name in enumerate(series):
                    line = [one for one in records if (one.data, one.mask_known, one.series) == (data, known, name)]
                    points = sorted((bits_a_pixel(one), *mean_and_band(one.error_corrupted)) for one in line)
                    if points:
                        draw_line(axes, points, label=name, **look(rank, False))
                axes.set_title(f"{DATA[data]}, mask {'known' if known else 'unknown'}")
                axes.set_ylabel("" if known else f"error on corrupted values\n({line[0].unit})" if line else "")
                if row:
                    axes.set_xlabel("bits a pixel")
                from_zero(axes)
        legend(figure)
        save(figure, HERE / "figure")


if __name__ == "__main__":
    of_codecs = compare(HERE / "codecs.yaml")
    lost = [dataclasses.replace(one, label=one.role, series=one.role) for one in of_codecs if one.role]
    found = [one for one in of_codecs if not one.role]
    found += [record for name in PRETRAINED for record in pretrained(name)]
    write_csv([*found, *lost[:1]], HERE / "results.csv")
    (HERE / "table.md").write_text(table(found), encoding="utf-8")
    draw(found)
