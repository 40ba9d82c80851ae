"""The verbs of the command line, one function each. Imports happen inside, so that `--help` is fast."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightning_ebm.config import (
    ConfigError,
    distortion_in_test,
    expanded,
    read,
    resolve,
    run_folder,
    to_yaml,
)
from lightning_ebm.launcher import rank
from lightning_ebm.reporting.terminal import terminal

# only the first of several processes prints
console = terminal(quiet=rank() > 0)


def say(text: str) -> None:
    """Prints text without breaking lines, so that paths can be copied."""
    console.print(text, soft_wrap=True)


def train(config: str, overrides: Sequence[str]) -> None:
    """Meta-train one memory, or resume the training of the same configuration."""
    from lightning_ebm.training import train as training

    training.train(config, overrides, console)


def evaluate(config: str, overrides: Sequence[str], memory: str = "") -> None:
    """Measure one trained memory on the test episodes; compare a pretrained one (--memory) with its published row."""
    from lightning_ebm.experiments.compare import evaluate as measure
    from lightning_ebm.experiments.reproduce import reproduce
    from lightning_ebm.pretrained import read as read_pretrained
    from lightning_ebm.reporting.comparison_tables import main_table

    if rank():  # other processes of a launcher have nothing to do
        return
    if not memory and not config:
        raise ConfigError("evaluate needs a configuration, such as configs/glyphs.yaml, or --memory NAME")
    deviations: list[str] = []
    if memory:
        found, deviations = reproduce(read_pretrained(expanded(memory, "--memory")), overrides, console)
    else:
        found = measure(config, overrides, console)
    console.print(main_table(found, brief=True))
    if deviations:
        raise ValueError("; ".join(deviations))


def compare(config: str, overrides: Sequence[str]) -> None:
    """Train and measure every row of a configuration; print a table and write report.html and results.csv."""
    from lightning_ebm.experiments import compare as comparing

    comparing.compare(config, overrides, console)


def analyse(config: str, overrides: Sequence[str]) -> None:
    """Run one analysis (analysis=NAME) on the memories of all rows; print a table and write it with a figure."""
    from lightning_ebm.experiments import analysis

    analysis.analyse(config, overrides, console)


def show(config: str, overrides: Sequence[str]) -> None:
    """Print the resolved configuration, and write pictures of patterns and queries of each split."""
    from lightning_ebm.reporting.figures.strips import contact_sheet
    from lightning_ebm.reporting.figures.style import save
    from lightning_ebm.training.trainer import build

    resolved = resolve(read(config, overrides))
    say(to_yaml(resolved))
    data, folder = build(resolved).data, run_folder(resolved)
    folder.mkdir(parents=True, exist_ok=True)
    loaders = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}
    for split, loader in loaders.items():
        batch = next(iter(loader()))
        distortion = distortion_in_test(resolved) if split == "test" else resolved.distortion
        title = f"{resolved.data.name}, {split}\n{distortion}"
        sheet = contact_sheet(batch.patterns[0].numpy(), batch.queries[0].numpy(), title)
        save(sheet, folder / split)
        say(f"{split}: {folder / split}.png")


def summarise(words: Sequence[str]) -> None:
    """Write tables in Markdown and LaTeX from the results of comparisons."""
    from lightning_ebm.reporting.summarise import write_summary

    paths, overrides = files_and_settings(words)
    if not paths:
        raise ConfigError("summarise needs a cells.csv file, or the folder of a comparison")
    folder, tables = write_summary(paths, overrides)
    for table in tables:
        console.print(table, "")
    console.print(f"summary.md and summary.tex: {folder.resolve()}")


def sweep(words: Sequence[str]) -> None:
    """Run the trials of a W&B sweep file; print a table and write it with the best command and a figure."""
    from lightning_ebm import sweeping

    if not words or "=" in words[0]:
        raise ConfigError("sweep needs a sweep file, such as sweeps/glyphs-rate.yaml, before any settings")
    sweeping.sweep(words[0], words[1:], console)


def export(config: str, overrides: Sequence[str], as_: str = "", row: str = "", dtype: str = "") -> None:
    """Export a trained memory and its measured row to one file (--as NAME) for load_pretrained and --memory."""
    from lightning_ebm.experiments import export as exporting
    from lightning_ebm.experiments.compare import comparison_of
    from lightning_ebm.experiments.reproduce import published
    from lightning_ebm.reporting.comparison_tables import main_table

    path = exporting.place(expanded(as_, "--as"))
    cell = exporting.wanted(config, overrides, row)
    command = ["lightning-ebm", "compare" if row else "train", config, *overrides]
    saved = exporting.export(cell, path, command, dtype or "float32")
    console.print(main_table(comparison_of(saved.name, cell.config, published(saved)), brief=True))
    say(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def recall(words: Sequence[str], memory: str = "") -> None:
    """Store your own images in a pretrained memory (--memory NAME), and recall them from corrupted copies."""
    from lightning_ebm.experiments import recall as recalling
    from lightning_ebm.pretrained import read as read_pretrained

    saved = read_pretrained(expanded(memory or recalling.DEFAULT, "--memory"))
    found = recalling.recall(saved, *files_and_settings(words))
    page = recalling.write_report(saved, found)
    console.print(found.answer.table())
    say(f"\nThe report, with pictures of every read step:\n  {page.resolve().as_uri()}")


def list_names(words: Sequence[str]) -> None:
    """List what can be chosen by name: memories, energies, data, distortions, analyses, files of the package."""
    from lightning_ebm import listing

    for kind in words or listing.KINDS:
        console.print(listing.table(kind), width=min(80, console.width))


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
