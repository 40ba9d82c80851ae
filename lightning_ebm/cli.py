"""The command line: `lightning-ebm VERB CONFIG key=value …`, one verb, one short function."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from lightning_ebm.config import ConfigError, parse_overrides, read, read_file, resolve, run_folder, to_yaml
from lightning_ebm.processes import Stopped, process_number, stops_on_signal
from lightning_ebm.registry import analyses, datasets, distortions, energies, memories

DESCRIPTION = "Meta-train, compare and launch associative memories."
EPILOG = """\
Any key of the configuration can be given as key=value, for example
  training.updates=500 episodes.items=32 memory.writing.steps=3 memory=hopfield
`lightning-ebm show CONFIG` prints all keys with their values. Nested choices by name:
  memory: {memories}
  memory.energy (of ebmm): {energies}
  data: {datasets}
  distortion: {distortions}
  analysis: {analyses}
or the import path of your own class, package.module:Class.
"""
BENCH_EPILOG = """\
Settings, each with what it is if not given:
  cases=[mlp,gated_rnn,resnet_conv,resnet_conv_quarter]  settings=[third_order,second_order]
  contenders=[ours,ours_by_episode,autograd_loop,higher,torchopt,jax_unrolled,jax_scan]
                          (or ours_compiled; the default on CUDA differs)
  device=cpu (or cuda)  rounds=7  threads=1  steps=0 (those of the case)  timeout=3600 (seconds)
  growth=false  growth_case=mlp  output=runs/bench
The other tools are installed by `pip install 'lightning-ebm[bench]'`; one that is missing is named in the table.
"""

SWEEP_EPILOG = """\
Settings, each with what it is if not given:
  workers=1 (runs at a time)  output=runs  seed=0 (of random and Bayesian search)
FILE is in the schema of Weights & Biases, such as sweeps/glyphs-rate.yaml, and is run here, without a server.
Everything is kept in <output>/sweep-<file>; the same command goes on where a stopped sweep was.
"""

# of several processes, the first one speaks; of its errors, each does
console = Console(highlight=False, quiet=process_number() > 0)
errors = Console(highlight=False)


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


def evaluate(config_file: Path, overrides: Sequence[str]) -> None:
    """Measure one trained memory on the test episodes and print its row."""
    from lightning_ebm.evaluation.compare import evaluate as measure
    from lightning_ebm.evaluation.tables import rich_table

    if process_number() == 0:  # the others, if a launcher started some, have nothing to do
        console.print(rich_table(measure(resolve(read(config_file, overrides)))))


def compare(config_file: Path, overrides: Sequence[str]) -> None:
    """Train and measure every row of the configuration; print a table, write report.html and results.csv."""
    from lightning_ebm.evaluation.compare import compare as run_all
    from lightning_ebm.evaluation.grid import cells, slug
    from lightning_ebm.evaluation.report import write_report
    from lightning_ebm.evaluation.results import write_cells
    from lightning_ebm.evaluation.tables import rich_table, wide_table

    grid = cells(read_file(config_file), parse_overrides(overrides))
    folder = Path(grid[0].config.output) / f"compare-{config_file.stem}"
    comparisons = run_all(grid, console)
    if process_number():  # of several processes, the first one has measured
        return
    for variation, comparison in comparisons.items():
        if len({result.items for result in comparison.results}) > 1:
            console.print(wide_table(comparison, "error"))  # on all values, as the paper counts
        else:
            console.print(rich_table(comparison))
        page = write_report(comparison, folder / slug(variation) if variation else folder)
        console.print(f"\nThe report, with pictures of what each memory recalled:\n  {page.resolve().as_uri()}")
    write_cells([result for cell in grid if cell.is_done() for result in cell.results()], folder)
    if failed := [label for comparison in comparisons.values() for label in comparison.failed]:
        raise ConfigError(f"not finished, see above and log.txt in the run's folder: {', '.join(failed)}")


def analyse(config_file: Path, overrides: Sequence[str]) -> None:
    """Ask one question (analysis=NAME) of the memories of every row; print a table, write it and a figure."""
    from lightning_ebm.evaluation.analysis import analyse as answer
    from lightning_ebm.evaluation.analysis import terminal_table
    from lightning_ebm.evaluation.grid import cells

    grid = cells(read_file(config_file), parse_overrides(overrides))
    folder = Path(grid[0].config.output) / f"analysis-{config_file.stem}-{grid[0].config.analysis.name}"
    found = answer(grid, folder, console)
    if found is None:  # of several processes, the first one has asked
        return
    console.print(terminal_table(found))
    console.print(f"\nTable and figure: {folder.resolve()}", markup=False)


def show(config_file: Path, overrides: Sequence[str]) -> None:
    """Print the resolved configuration, and draw patterns and queries of each split."""
    from lightning_ebm.config import distortion_in_test
    from lightning_ebm.evaluation.plots import contact_sheet
    from lightning_ebm.evaluation.style import png
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


def sweep(file: Path, overrides: Sequence[str]) -> None:
    """Run the many runs of a sweep's file, find the best; print a table, write it, the best command and a figure."""
    from lightning_ebm.config import build as checked
    from lightning_ebm.sweeping.file import read_sweep
    from lightning_ebm.sweeping.report import ranked, write_report
    from lightning_ebm.sweeping.run import SweepConfig, run_sweep

    search = read_sweep(file)
    settings: SweepConfig = checked(SweepConfig, parse_overrides(overrides), "")
    trials = run_sweep(search, settings, lambda line: console.print(line, markup=False))
    folder = Path(settings.output) / f"sweep-{file.stem}"
    console.print(f"\n{write_report(search, trials, folder)}", markup=False, soft_wrap=True)
    console.print(f"\nTable, best command and figure: {folder.resolve()}", markup=False)
    if failed := [trial.folder.name for trial, outcome in ranked(trials) if outcome.state == "failed"]:
        raise ConfigError(f"not finished, see above and log.txt in the run's folder: {', '.join(failed)}")


VERBS = {"train": train, "evaluate": evaluate, "compare": compare, "analyse": analyse, "show": show}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Returns:
        The exit code: 0, 1 for a mistake (one line says which), 75 when a signal asked to stop and the same command
        goes on, 130 when interrupted.
    """
    parser = argparse.ArgumentParser("lightning-ebm", description=DESCRIPTION)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    names = {
        registry.group.removeprefix("lightning_ebm."): ", ".join(registry.names())
        for registry in (memories, energies, datasets, distortions, analyses)
    }
    for name, work in VERBS.items():
        verb = verbs.add_parser(
            name,
            help=(work.__doc__ or "").strip(),
            description=work.__doc__,
            epilog=EPILOG.format(**names),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, such as configs/glyphs.yaml")
        verb.add_argument("overrides", nargs="*", metavar="key=value", help="settings laid over the file")
    verb = verbs.add_parser(
        "bench",
        help=(bench.__doc__ or "").strip(),
        description=bench.__doc__,
        epilog=BENCH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("overrides", nargs="*", metavar="key=value", help="settings laid over the defaults")
    verb = verbs.add_parser(
        "sweep",
        help=(sweep.__doc__ or "").strip(),
        description=sweep.__doc__,
        epilog=SWEEP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("file", type=Path, metavar="FILE", help="a sweep, such as sweeps/glyphs-rate.yaml")
    verb.add_argument("overrides", nargs="*", metavar="key=value", help="settings laid over the defaults")
    parsed = parser.parse_args(arguments)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where the files that import paths name are, as for `python -m`
    quieten()
    goes_on = "" if parsed.verb == "bench" else "; the same command goes on from the last checkpoint"
    try:
        with stops_on_signal():
            if parsed.verb == "bench":
                bench(parsed.overrides)
            elif parsed.verb == "sweep":
                sweep(parsed.file, parsed.overrides)
            else:
                VERBS[parsed.verb](parsed.config, parsed.overrides)
    except (ConfigError, ValueError, NotImplementedError, RuntimeError, OSError, MemoryError) as error:
        where = f" in process {process_number()}" if process_number() else ""
        text = " ".join(str(error).split()) or type(error).__name__
        errors.print(f"[bold red]error{where}:[/]", escape(text), soft_wrap=True)
        return 1
    except Stopped as stop:
        console.print(f"stopped by {stop.signal}{goes_on}")
        return int(str(stop.code))
    except (KeyboardInterrupt, SystemExit):  # Lightning turns an interrupt into an exit
        console.print(f"interrupted{goes_on}")
        return 130
    return 0


def quieten() -> None:
    """Silences advice that is not meant for our users, so that our own messages are read."""
    import pytorch_lightning  # noqa: F401  (it sets its loggers' level when imported)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for advice in (
        ".*does not have many workers.*",  # episodes cost less than a worker's start
        ".*LeafSpec.*is deprecated.*",  # Lightning's own affair
        ".*GPU available but not used.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # as it should when a run goes on
    ):
        warnings.filterwarnings("ignore", advice)


if __name__ == "__main__":
    sys.exit(main())
