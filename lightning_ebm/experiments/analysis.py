"""What every analysis keeps to, and how one is carried out: `lightning-ebm analyse CONFIG analysis=NAME`."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightning_ebm.config import ConfigError, Overrides, Source, to_yaml
from lightning_ebm.experiments.executor import QUIET
from lightning_ebm.experiments.experiment import Experiment, name_of, run_experiments
from lightning_ebm.experiments.grid import grid, name_of_source
from lightning_ebm.registry import analyses
from lightning_ebm.reporting.figures.style import save, svg
from lightning_ebm.signals import process_number
from lightning_ebm.training.checkpoints import load
from lightning_ebm.training.trainer import Run, build, is_trainable, provenance


@dataclass(frozen=True)
class Answer:
    """What an analysis found.

    Attributes:
        title: the question, in a few words.
        caption: what the figure shows and what its axes and the table's columns are, with units.
        columns: heads of the table.
        rows: its rows; numbers at full precision.
        figure: draws it, for a light or a dark page.
    """

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    figure: Callable[[bool], Figure]


class Analysis(ABC):
    """A question about trained memories.

    Attributes:
        config: dataclass of the settings; its fields are the keys of a config file.
    """

    config: ClassVar[type]

    @classmethod
    @abstractmethod
    def from_config(cls, config: Any) -> Self:
        """Builds the analysis.

        Raises:
            ValueError: if a setting is out of range; the message names the key.
        """

    @abstractmethod
    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """Asks it of every memory.

        Args:
            runs: trained memories with their data, by label; not changed.

        Raises:
            ValueError: if the question makes no sense for such patterns, or for none of the memories.
        """


def trained(experiments: Sequence[Experiment], console: Console) -> dict[str, Run]:
    """The memories of a grid, trained as far as they are not yet, with their best parameters.

    Raises:
        ConfigError: if one cannot be trained; the message names the row.
    """
    failed = run_experiments(experiments, console)
    if failed:
        rank, error = next(iter(failed.items()))
        raise ConfigError(f"compare.rows.{experiments[rank].label}: {error}")
    runs = {}
    for one in experiments:
        runs[name_of(one, seed=len(one.config.compare.seeds) > 1)] = run = build(one.config)
        if is_trainable(run.memory) and one.config.training.updates:
            load(run.memory, run.folder / "checkpoints" / "best.ckpt")
    return runs


def analyse(source: Source, overrides: Overrides = (), console: Console = QUIET) -> Answer | None:
    """Trains what is not trained, asks the question that the configuration names, and writes the answer down.

    Writes table.csv, table.md (with what it takes to make it again), figure.png and .svg, and, for the report of a
    comparison, figure_dark.svg and about.json to `<output>/analysis-<file>-<question>`. Of several processes that train
    together, the first one asks. A console shows progress and the table.
    """
    experiments = grid(source, overrides)
    config = experiments[0].config
    folder = Path(config.output) / f"analysis-{name_of_source(source)}-{config.analysis.name}"
    runs = trained(experiments, console)
    if process_number():
        return None
    found = analyses.build(config.analysis).answer(runs)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(found.columns)
        writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in found.rows)
    origin = provenance(config)
    made = "".join(f"- {name}: {value}\n" for name, value in origin.items())
    text = f"# {found.title}\n\n{found.caption}\n\n{markdown(found)}\n## How it was made\n\n{made}"
    (folder / "table.md").write_text(text, encoding="utf-8")
    (folder / "config.yaml").write_text("\n".join(to_yaml(run.config) for run in runs.values()), encoding="utf-8")
    save(found.figure(False), folder / "figure")
    (folder / "figure_dark.svg").write_text(svg(found.figure(True)), encoding="utf-8")
    about = {"title": found.title, "caption": found.caption, "command": origin["command"]}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    console.print(terminal_table(found))
    console.print(f"\nTable and figure: {folder.resolve()}", markup=False)
    return found


def markdown(answer: Answer) -> str:
    """The table as Markdown, numbers to four digits."""
    lines = [answer.columns, ["---"] * len(answer.columns), *[[shown(x) for x in row] for row in answer.rows]]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def terminal_table(answer: Answer) -> Table:
    """The table for a terminal."""
    table = Table(title=Text(answer.title), caption=Text(answer.caption), box=None)
    table.title_justify = table.caption_justify = "left"
    for rank, column in enumerate(answer.columns):
        table.add_column(Text(column), justify="right" if rank else "left", overflow="fold")
    for row in answer.rows:
        table.add_row(*(Text(shown(x)) for x in row))
    return table


def shown(value: Any) -> str:
    """A value in a table: floats to four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
