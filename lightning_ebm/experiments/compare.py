"""The comparison: all experiments of a grid are run and put together, one table and one report for each variation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from lightning_ebm import launcher
from lightning_ebm.config import ConfigError, Overrides, Source, distortion_in_test, naming, read, resolve, to_yaml
from lightning_ebm.experiments.executor import UnfinishedError
from lightning_ebm.experiments.experiment import Experiment, measured, name_of, named, run_experiments
from lightning_ebm.experiments.grid import grid, name_of_source, specs
from lightning_ebm.files import slug
from lightning_ebm.metrics import unit
from lightning_ebm.reporting.comparison_tables import terminal_tables
from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.reporting.published import published
from lightning_ebm.reporting.record import COLUMNS, QUERY, Comparison, Record, grouped, pooled, row, write_cells
from lightning_ebm.reporting.report import read_findings, write_index, write_report
from lightning_ebm.reporting.terminal import QUIET
from lightning_ebm.schema import RunConfig
from lightning_ebm.training.loggers import log_table
from lightning_ebm.training.train import restore
from lightning_ebm.training.trainer import provenance


def compare(source: Source, overrides: Overrides = (), console: Console = QUIET) -> list[Record]:
    """Trains and measures every row of a configuration, and writes a report to `<output>/compare-<file>`.

    What is done already is not done again, so the same call resumes where an interrupted one stopped. Arguments are
    those of `train`; the console shows the tables too.

    Returns:
        A record for each experiment and test setting, seeds apart; in all processes of a launcher but the first, none.

    Raises:
        ConfigError: if the configuration is wrong, or every experiment failed.
        UnfinishedError: if some failed.
    """
    experiments = grid(source, overrides)
    first = experiments[0].config
    if first.compare.paper_results:
        with naming("compare.paper_results"):  # before anything is trained
            laid_over = published(first.compare.paper_results)
            for spec in specs(experiments):
                laid_over.check(unit(spec))
    failed = run_experiments(experiments, console)
    if launcher.rank():
        return []
    if len(failed) == len(experiments):
        raise ConfigError(f"{experiments[0].label}: {failed[0]}")
    variations = grouped(range(len(experiments)), lambda place: experiments[place].variation)
    comparisons: dict[str, Comparison] = {}
    for variation, places in variations.items():
        members = [experiments[place] for place in places]
        ending = ", seed {}" if len({one.config.seed for one in members}) > 1 else ""
        errors = {
            one.label + ending.format(one.config.seed): failed[place]
            for place, one in zip(places, members, strict=True)
            if place in failed
        }
        if done := [experiments[place] for place in places if place not in failed]:
            comparisons[variation] = together(done, errors)
    missing = [variation for variation in variations if variation not in comparisons]
    folder = Path(first.output) / f"compare-{name_of_source(source)}"
    page = write_reports(comparisons, missing, folder)
    records = [result for place, one in enumerate(experiments) if place not in failed for result in one.results()]
    write_cells(records, folder)
    log_table(first, folder.name, COLUMNS, [list(row(result).values()) for result in records])
    for comparison in comparisons.values():  # what is printed is written already, so that no terminal can lose it
        for table in terminal_tables(comparison):
            console.print(table)
    console.print(
        f"\nThe report, with pictures of what each memory recalled:\n  {page.resolve().as_uri()}", soft_wrap=True
    )
    if failed:
        labels = [label for comparison in comparisons.values() for label in comparison.failed]
        raise UnfinishedError(labels + [f"all of {variation}" for variation in missing], records)
    return records


def write_reports(comparisons: Mapping[str, Comparison], missing: Sequence[str], folder: Path) -> Path:
    """Writes a report for each variation, and where there are several, an index of all. Returns the first page."""
    findings = read_findings(folder.parent, folder.name.removeprefix("compare-"))
    if list(comparisons) == [""]:
        return write_report(comparisons[""], folder, findings)
    for variation, comparison in comparisons.items():
        write_report(comparison, folder / slug(variation), others="../index.html")
    return write_index(comparisons, missing, folder, findings)


def evaluate(source: Source, overrides: Overrides = (), console: Console = QUIET) -> Comparison:
    """Measures one trained memory, as `compare` would; the console shows progress.

    Raises:
        ConfigError: if it was not trained, or its checkpoint is damaged.
    """
    config = resolve(read(source, overrides))
    run, one = restore(config, config.checkpoint), Experiment.of(config)
    found = [named(row, one.label, one.series) for _, rows in measured(run, one.settings(), console) for row in rows]
    return comparison_of(config.memory.name, config, found)


def comparison_of(name: str, config: RunConfig, results: list[Record], ending: str = "") -> Comparison:
    """Rows of one memory, to be shown as a table: its name, what it was measured with, and what ends the title."""
    if not results:
        raise ConfigError("compare.precisions: without a state there is nothing to round; add float32")
    title = f"{name} on {config.data.name}, {distortion_in_test(config)}{ending}"
    return Comparison(title, results[0].unit, results, {}, to_yaml(config), provenance(config))


def together(experiments: Sequence[Experiment], failed: dict[str, str]) -> Comparison:
    """What the experiments of one table found, at least one, seeds pooled; `failed`: label and error of the others."""
    first = experiments[0].config
    results = [result for one in experiments for result in one.results()]
    queries = {r.setting: r for r in reversed(results) if r.role == QUERY}  # the same in all
    results = pooled(r for r in results if r.role != QUERY) + list(queries.values())
    firsts = {one.label: one for one in reversed(experiments)}  # of several seeds, the first one is shown
    shown = [firsts[label] for label in dict.fromkeys(one.label for one in experiments)]
    seeds = ", ".join(map(str, sorted({one.config.seed for one in experiments})))
    variation = f", {experiments[0].variation}" if experiments[0].variation else ""
    results = sorted(results, key=lambda result: result.setting[::-1])
    made = comparison_of("Associative memories", first, results, variation)
    return replace(
        made,
        gallery={one.label: found for one in shown if first.compare.gallery and (found := one.recall())},
        config="\n".join(f"# {name_of(one)}\n{to_yaml(one.config)}" for one in experiments),
        provenance={**made.provenance, "seed": seeds, "episode seed": str(first.episodes.seed)},
        curves={one.label: curve for one in shown if (curve := read_curve(one.folder))},
        failed=failed,
        runs={one.folder.name: to_yaml(one.config) for one in experiments},
        published=published(first.compare.paper_results) if first.compare.paper_results else None,
    )
