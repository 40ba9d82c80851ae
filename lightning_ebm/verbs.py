"""What the command line does, one verb a function; what a verb needs is imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lightning_ebm.config import ConfigError, parse_overrides, read, resolve, run_folder, to_yaml
from lightning_ebm.signals import process_number

# of several processes, the first one speaks
console = Console(highlight=False, quiet=process_number() > 0)


def train(config_file: Path, overrides: Sequence[str]) -> None:
    """Meta-train one memory; goes on where an earlier run of the same configuration stopped."""
    from lightning_ebm.training.trainer import build
    from lightning_ebm.training.trainer import train as fit

    run = build(resolve(read(config_file, overrides)))
    best = fit(run)
    if best is None:
        console.print(f"{run.config.memory.name} has nothing to train; use evaluate or compare")
    else:
        console.print(f"best checkpoint: {best}")


def evaluate(config_file: Path | None, overrides: Sequence[str], memory: str = "") -> None:
    """Measure one trained memory on the test episodes and print its row; a pretrained one beside what is published."""
    from lightning_ebm.experiments.compare import evaluate as measure
    from lightning_ebm.experiments.reproduce import reproduce
    from lightning_ebm.pretrained import read as read_pretrained
    from lightning_ebm.reporting.tables import rich_table

    if process_number():  # the others, if a launcher started some, have nothing to do
        return
    if memory:
        found = reproduce(read_pretrained(memory), overrides)
        console.print(rich_table(found.comparison))
        if found.deviations:
            raise ValueError("; ".join(found.deviations))
    elif config_file:
        console.print(rich_table(measure(config_file, overrides)))
    else:
        raise ConfigError("evaluate needs a configuration, such as configs/glyphs.yaml, or --memory NAME")


def compare(config_file: Path, overrides: Sequence[str]) -> None:
    """Train and measure every row of the configuration; print a table, write report.html and results.csv."""
    from lightning_ebm.experiments.compare import compare as run_all

    run_all(config_file, overrides, console)


def analyse(config_file: Path, overrides: Sequence[str]) -> None:
    """Ask one question (analysis=NAME) of the memories of every row; print a table, write it and a figure."""
    from lightning_ebm.experiments.analysis import analyse as ask

    ask(config_file, overrides, console)


def show(config_file: Path, overrides: Sequence[str]) -> None:
    """Print the resolved configuration, and draw patterns and queries of each split."""
    from lightning_ebm.config import distortion_in_test
    from lightning_ebm.reporting.figures.strips import contact_sheet
    from lightning_ebm.reporting.figures.style import png
    from lightning_ebm.training.trainer import build

    config = resolve(read(config_file, overrides))
    console.print(to_yaml(config), markup=False)
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
        console.print(f"{split}: {folder / split}.png", markup=False)


def bench(overrides: Sequence[str]) -> None:
    """Time a meta-step of EBMM against other tools, at equal results; print a table, write bench.md and figures."""
    from rich.live import Live

    from lightning_ebm.benchmark.config import resolve as settings
    from lightning_ebm.benchmark.growth import grow
    from lightning_ebm.benchmark.report import write_report
    from lightning_ebm.benchmark.results import Row, write_csv
    from lightning_ebm.benchmark.run import run
    from lightning_ebm.benchmark.tables import rich_tables

    config = settings(overrides)
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    with Live(console=console, auto_refresh=False) as live:

        def keep(rows: list[Row]) -> None:
            live.update(rich_tables(rows), refresh=True)
            write_csv(rows, folder / "bench.csv")  # so that nothing measured is lost if it is stopped

        rows = run(config, keep)
    write_report(config, rows, [])
    if config.growth:
        write_report(config, rows, grow(config, console.print))
    console.print(f"\nTables and figures: {folder.resolve()}", markup=False)


def summarise(words: Sequence[str]) -> None:
    """Write tables for a paper, Markdown and LaTeX, from cells.csv files or folders of comparisons."""
    from lightning_ebm.reporting.summarise import settings, write_summary

    paths = [Path(word) for word in words if "=" not in word or Path(word).exists()]
    if not paths:
        raise ConfigError("summarise needs a cells.csv, or a folder of a comparison with one in it")
    folder, text = write_summary(paths, settings([word for word in words if Path(word) not in paths]))
    console.print(text, markup=False, soft_wrap=True)
    console.print(f"summary.md and summary.tex: {folder.resolve()}", markup=False)


def sweep(words: Sequence[str]) -> None:
    """Run the many trials of a sweep's file, find the best; print a table, write it, the best command and a figure."""
    from lightning_ebm.sweep import sweep as run_all

    if not words or "=" in words[0]:
        raise ConfigError("sweep needs a file, such as sweeps/glyphs-rate.yaml, before its settings")
    run_all(words[0], words[1:], console)


def export(config_file: Path, overrides: Sequence[str], as_: str = "", row: str = "") -> None:
    """Write a trained memory and its row into one file (--as NAME), which EBMM.pretrained and --memory then load."""
    from lightning_ebm.experiments import export as exporting
    from lightning_ebm.experiments.reproduce import published, table
    from lightning_ebm.reporting.tables import rich_table

    path = exporting.place(as_)
    cell = exporting.wanted(config_file, parse_overrides(overrides), row)
    command = ["lightning-ebm", "compare" if row else "train", str(config_file), *overrides]
    saved = exporting.export(cell, path, command)
    console.print(rich_table(table(saved, cell.config, published(saved))))
    console.print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB", markup=False)


def recall(words: Sequence[str], memory: str = "") -> None:
    """Store images of your own in a pretrained memory (--memory NAME), and recall them from damaged copies."""
    from lightning_ebm.experiments.analysis import terminal_table
    from lightning_ebm.experiments.recall import recall as recall_images
    from lightning_ebm.pretrained import names
    from lightning_ebm.pretrained import read as read_pretrained
    from lightning_ebm.reporting.pages.recall_page import write_recall

    if not memory:
        raise ConfigError(f"recall needs --memory NAME, one of {', '.join(names()) or 'none'}, or a file ….pt")
    saved = read_pretrained(memory)
    files = [Path(word) for word in words if "=" not in word or Path(word).exists()]
    found = recall_images(saved, files, [word for word in words if Path(word) not in files])
    page = write_recall(saved, found)
    console.print(terminal_table(found.answer))
    console.print(f"\nThe report, with pictures of every read step:\n  {page.resolve().as_uri()}")
