"""The verbs of the command line, one function each. Imports happen inside, so that `--help` is fast."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightning_ebm.config import (
    ConfigError,
    expanded,
    parse_overrides,
    read,
    resolve,
    run_folder,
    shipped,
    to_yaml,
)
from lightning_ebm.reporting.terminal import terminal
from lightning_ebm.signals import process_number

# only the first of several processes prints
console = terminal(quiet=process_number() > 0)


def say(text: str) -> None:
    """Prints text without breaking lines, so that paths can be copied."""
    console.print(text, soft_wrap=True)


def train(config_file: Path, overrides: Sequence[str]) -> None:
    """Meta-train one memory, or resume the training of the same configuration."""
    from lightning_ebm.training.trainer import build
    from lightning_ebm.training.trainer import train as fit

    run = build(resolve(read(config_file, overrides)))
    best = fit(run)
    if best is None:
        say(f"{run.config.memory.name} has no parameters to train; use evaluate or compare")
    else:
        say(f"best checkpoint: {best}")


def evaluate(config_file: Path | None, overrides: Sequence[str], memory: str = "") -> None:
    """Measure one trained memory on the test episodes; compare a pretrained one (--memory) with its published row."""
    from lightning_ebm.experiments.compare import evaluate as measure
    from lightning_ebm.experiments.reproduce import reproduce
    from lightning_ebm.pretrained import read as read_pretrained
    from lightning_ebm.reporting.comparison_tables import main_table

    if process_number():  # other processes of a launcher have nothing to do
        return
    if memory:
        found = reproduce(read_pretrained(expanded(memory, "--memory")), overrides)
        console.print(main_table(found.comparison, brief=True))
        if found.deviations:
            raise ValueError("; ".join(found.deviations))
    elif config_file:
        console.print(main_table(measure(config_file, overrides), brief=True))
    else:
        raise ConfigError("evaluate needs a configuration, such as configs/glyphs.yaml, or --memory NAME")


def compare(config_file: Path, overrides: Sequence[str]) -> None:
    """Train and measure every row of a configuration; print a table and write report.html and results.csv."""
    from lightning_ebm.experiments.compare import compare as run_all

    run_all(config_file, overrides, console)


def analyse(config_file: Path, overrides: Sequence[str]) -> None:
    """Run one analysis (analysis=NAME) on the memories of all rows; print a table and write it with a figure."""
    from lightning_ebm.experiments.analysis import analyse as ask

    ask(config_file, overrides, console)


def show(config_file: Path, overrides: Sequence[str]) -> None:
    """Print the resolved configuration, and write pictures of patterns and queries of each split."""
    from lightning_ebm.config import distortion_in_test
    from lightning_ebm.reporting.figures.strips import contact_sheet
    from lightning_ebm.reporting.figures.style import png
    from lightning_ebm.training.trainer import build

    config = resolve(read(config_file, overrides))
    say(to_yaml(config))
    data = build(config).data
    folder = run_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    loaders = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}
    for split, loader in loaders.items():
        batch = next(iter(loader()))
        distortion = distortion_in_test(config) if split == "test" else config.distortion
        title = f"{config.data.name}, {split}\n{distortion}"
        sheet = contact_sheet(batch.patterns[0].numpy(), batch.queries[0].numpy(), title)
        (folder / f"{split}.png").write_bytes(png(sheet))
        say(f"{split}: {folder / split}.png")


def summarise(words: Sequence[str]) -> None:
    """Write tables in Markdown and LaTeX from the results of comparisons."""
    from lightning_ebm.reporting.summarise import settings, write_summary

    paths, overrides = files_and_settings(words)
    if not paths:
        raise ConfigError("summarise needs a cells.csv file, or the folder of a comparison")
    folder, tables = write_summary(paths, settings(overrides))
    for table in tables:
        console.print(table, "")
    console.print(f"summary.md and summary.tex: {folder.resolve()}")


def sweep(words: Sequence[str]) -> None:
    """Run the trials of a W&B sweep file; print a table and write it with the best command and a figure."""
    from lightning_ebm.sweep import sweep as run_all

    if not words or "=" in words[0]:
        raise ConfigError("sweep needs a sweep file, such as sweeps/glyphs-rate.yaml, before any settings")
    run_all(shipped(words[0], "sweeps", "sweep"), words[1:], console)


def export(config_file: Path, overrides: Sequence[str], as_: str = "", row: str = "", dtype: str = "") -> None:
    """Export a trained memory and its measured row to one file (--as NAME) for load_pretrained and --memory."""
    from lightning_ebm.experiments import export as exporting
    from lightning_ebm.experiments.reproduce import published, table
    from lightning_ebm.reporting.comparison_tables import main_table

    path = exporting.place(expanded(as_, "--as"))
    cell = exporting.wanted(config_file, parse_overrides(overrides), row)
    command = ["lightning-ebm", "compare" if row else "train", str(config_file), *overrides]
    saved = exporting.export(cell, path, command, dtype or "float32")
    console.print(main_table(table(saved, cell.config, published(saved)), brief=True))
    say(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def recall(words: Sequence[str], memory: str = "") -> None:
    """Store your own images in a pretrained memory (--memory NAME), and recall them from corrupted copies."""
    from lightning_ebm.experiments.recall import recall as recall_images
    from lightning_ebm.experiments.recall import write_report
    from lightning_ebm.pretrained import names
    from lightning_ebm.pretrained import read as read_pretrained

    if not memory:
        raise ConfigError(f"recall needs --memory NAME, one of {', '.join(names()) or 'none'}, or a file ….safetensors")
    saved = read_pretrained(expanded(memory, "--memory"))
    found = recall_images(saved, *files_and_settings(words))
    page = write_report(saved, found)
    console.print(found.answer.table())
    say(f"\nThe report, with pictures of every read step:\n  {page.resolve().as_uri()}")


def list_names(words: Sequence[str]) -> None:
    """List what can be chosen by name: memories, energies, data, distortions, analyses, files of the package."""
    from lightning_ebm import listing

    width = min(80, console.width)
    for kind in words or listing.KINDS:
        for line in listing.lines(kind, width):
            say(line)


def schema(words: Sequence[str]) -> None:
    """Print the JSON Schema of a configuration, from which editors complete and check YAML files."""
    from lightning_ebm.json_schema import json_schema, to_json

    if words:
        raise ConfigError(f"schema takes no words, got {' '.join(words)}")
    print(to_json(json_schema()), end="")


def files_and_settings(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Splits words into files, whose names may contain an equals sign, and key=value settings."""
    files = [Path(expanded(word, "file")) for word in words if "=" not in word or os.path.exists(word)]
    return files, [word for word in words if "=" in word and not os.path.exists(word)]
