"""What the command line does, one verb a function; what a verb needs is imported when it is called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightning_ebm.config import (
    ConfigError,
    expanded,
    parse_overrides,
    read,
    read_file,
    resolve,
    run_folder,
    shipped,
    to_yaml,
)
from lightning_ebm.reporting.terminal import terminal
from lightning_ebm.signals import process_number

# of several processes, the first one speaks
console = terminal(quiet=process_number() > 0)


def say(text: str) -> None:
    """Prints text; what is longer than the terminal's lines is left whole, so that a path can be copied."""
    console.print(text, soft_wrap=True)


def train(config_file: Path, overrides: Sequence[str]) -> None:
    """Meta-train one memory; goes on where an earlier run of the same configuration stopped."""
    from lightning_ebm.training.trainer import build
    from lightning_ebm.training.trainer import train as fit

    run = build(resolve(read(config_file, overrides)))
    best = fit(run)
    if best is None:
        say(f"{run.config.memory.name} has nothing to train; use evaluate or compare")
    else:
        say(f"best checkpoint: {best}")


def evaluate(config_file: Path | None, overrides: Sequence[str], memory: str = "") -> None:
    """Measure one trained memory on the test episodes and print its row; a pretrained one beside what is published."""
    from lightning_ebm.experiments.compare import evaluate as measure
    from lightning_ebm.experiments.reproduce import reproduce
    from lightning_ebm.pretrained import read as read_pretrained
    from lightning_ebm.reporting.comparison_tables import main_table

    if process_number():  # the others, if a launcher started some, have nothing to do
        return
    if memory:
        found = reproduce(read_pretrained(memory), overrides)
        console.print(main_table(found.comparison, brief=True))
        if found.deviations:
            raise ValueError("; ".join(found.deviations))
    elif config_file:
        console.print(main_table(measure(resolve(read(config_file, overrides))), brief=True))
    else:
        raise ConfigError("evaluate needs a configuration, such as configs/glyphs.yaml, or --memory NAME")


def compare(config_file: Path, overrides: Sequence[str]) -> None:
    """Train and measure every row of the configuration; print a table, write report.html and results.csv."""
    from lightning_ebm.experiments.compare import compare as run_all
    from lightning_ebm.experiments.grid import cells, slug
    from lightning_ebm.reporting.comparison_tables import terminal_tables
    from lightning_ebm.reporting.record import COLUMNS, row, write_cells
    from lightning_ebm.reporting.report import read_findings, write_index, write_report
    from lightning_ebm.training.loggers import log_table

    grid = cells(read_file(config_file), parse_overrides(overrides))
    folder = Path(grid[0].config.output) / f"compare-{config_file.stem}"
    comparisons = run_all(grid, console)
    if process_number():  # of several processes, the first one has measured
        return
    findings = read_findings(folder.parent, config_file.stem)
    reports = {}
    for variation, comparison in comparisons.items():
        if variation:
            page = write_report(comparison, folder / slug(variation), others="../index.html")
            reports[variation] = page, comparison
        else:
            page = write_report(comparison, folder, findings)
    missing = [
        variation for variation in dict.fromkeys(cell.variation for cell in grid) if variation not in comparisons
    ]
    if reports:
        page = write_index(reports, missing, folder, findings)
    results = [result for cell in grid if cell.is_done() for result in cell.results()]
    write_cells(results, folder)
    for comparison in comparisons.values():  # what is printed is written already, so that no terminal can lose it
        for table in terminal_tables(comparison):
            console.print(table)
    log_table(grid[0].config, folder.name, COLUMNS, [list(row(result).values()) for result in results])
    say(f"\nThe report, with pictures of what each memory recalled:\n  {page.resolve().as_uri()}")
    failed = [label for comparison in comparisons.values() for label in comparison.failed]
    if failed := failed + [f"all of {variation}" for variation in missing]:
        raise ConfigError(f"not finished, see above and log.txt in the run's folder: {', '.join(failed)}")


def analyse(config_file: Path, overrides: Sequence[str]) -> None:
    """Ask one question (analysis=NAME) of the memories of every row; print a table, write it and a figure."""
    from lightning_ebm.experiments.analysis import analyse as answer
    from lightning_ebm.experiments.grid import cells

    grid = cells(read_file(config_file), parse_overrides(overrides))
    folder = Path(grid[0].config.output) / f"analysis-{config_file.stem}-{grid[0].config.analysis.name}"
    found = answer(grid, folder, console)
    if found is None:  # of several processes, the first one has asked
        return
    console.print(found.table())
    console.print(f"\nTable and figure: {folder.resolve()}")


def show(config_file: Path, overrides: Sequence[str]) -> None:
    """Print the resolved configuration, and draw patterns and queries of each split."""
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
    """Write tables for a paper, Markdown and LaTeX, from cells.csv files or folders of comparisons."""
    from lightning_ebm.reporting.summarise import settings, write_summary

    paths, overrides = files_and_settings(words)
    if not paths:
        raise ConfigError("summarise needs a cells.csv, or a folder of a comparison with one in it")
    folder, tables = write_summary(paths, settings(overrides))
    for table in tables:
        console.print(table, "")
    console.print(f"summary.md and summary.tex: {folder.resolve()}")


def sweep(words: Sequence[str]) -> None:
    """Run the many runs of a sweep's file, find the best; print a table, write it, the best command and a figure."""
    from lightning_ebm.config import build as checked
    from lightning_ebm.sweeping.file import read_sweep
    from lightning_ebm.sweeping.report import ranked, write_report
    from lightning_ebm.sweeping.run import SweepConfig, run_sweep

    if not words or "=" in words[0]:
        raise ConfigError("sweep needs a file, such as sweeps/glyphs-rate.yaml, before its settings")
    file = shipped(words[0], "sweeps", "sweep")
    search = read_sweep(file)
    settings: SweepConfig = checked(SweepConfig, parse_overrides(words[1:]), "")
    trials = run_sweep(search, settings, say)
    folder = Path(settings.output) / f"sweep-{file.stem}"
    say(f"\n{write_report(search, trials, folder)}")
    say(f"\nTable, best command and figure: {folder.resolve()}")
    if failed := [trial.folder.name for trial, outcome in ranked(trials) if outcome.state == "failed"]:
        raise ConfigError(f"not finished, see above and log.txt in the run's folder: {', '.join(failed)}")


def export(config_file: Path, overrides: Sequence[str], as_: str = "", row: str = "") -> None:
    """Write a trained memory and its row into one file (--as NAME), which load_pretrained and --memory then load."""
    from lightning_ebm.experiments import export as exporting
    from lightning_ebm.experiments.reproduce import published, table
    from lightning_ebm.reporting.comparison_tables import main_table

    path = exporting.place(expanded(as_, "--as"))
    cell = exporting.wanted(config_file, parse_overrides(overrides), row)
    command = ["lightning-ebm", "compare" if row else "train", str(config_file), *overrides]
    saved = exporting.export(cell, path, command)
    console.print(main_table(table(saved, cell.config, published(saved)), brief=True))
    say(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def recall(words: Sequence[str], memory: str = "") -> None:
    """Store images of your own in a pretrained memory (--memory NAME), and recall them from damaged copies."""
    from lightning_ebm.experiments.recall import recall as recall_images
    from lightning_ebm.experiments.recall import write_report
    from lightning_ebm.pretrained import names
    from lightning_ebm.pretrained import read as read_pretrained

    if not memory:
        raise ConfigError(f"recall needs --memory NAME, one of {', '.join(names()) or 'none'}, or a file ….pt")
    saved = read_pretrained(expanded(memory, "--memory"))
    found = recall_images(saved, *files_and_settings(words))
    page = write_report(saved, found)
    console.print(found.answer.table())
    say(f"\nThe report, with pictures of every read step:\n  {page.resolve().as_uri()}")


def files_and_settings(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The words of a verb that name files, whose names may have an equals sign, and those that are key=value."""
    files = [Path(expanded(word, "file")) for word in words if "=" not in word or os.path.exists(word)]
    return files, [word for word in words if "=" in word and not os.path.exists(word)]
