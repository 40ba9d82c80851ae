"""What every analysis keeps to, and how one is carried out: `lightning-ebm analyse CONFIG analysis=NAME`."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from matplotlib.figure import Figure
from rich.console import Console

from lightning_ebm.config import ConfigError, to_yaml
from lightning_ebm.experiments.executor import name_of, run_cells
from lightning_ebm.experiments.experiment import Cell
from lightning_ebm.registry import analyses
from lightning_ebm.reporting.report import write_finding
from lightning_ebm.reporting.table import Table, plain_table
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

    def table(self) -> Table:
        """Its table, for any way of showing it."""
        return plain_table(self.title, self.caption, self.columns, self.rows)


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


def trained(cells: Sequence[Cell], console: Console) -> dict[str, Run]:
    """The memories of a grid, trained as far as they are not yet, with their best parameters.

    Raises:
        ConfigError: if one cannot be trained; the message names the row.
    """
    failed = run_cells(cells, cells[0].config.compare.jobs, console)
    if failed:
        rank, error = next(iter(failed.items()))
        raise ConfigError(f"compare.rows.{cells[rank].label}: {error}")
    runs = {}
    for cell in cells:
        runs[name_of(cell, seed=len(cell.config.compare.seeds) > 1)] = run = build(cell.config)
        if is_trainable(run.memory) and cell.config.training.updates:
            load(run.memory, run.folder / "checkpoints" / "best.ckpt")
    return runs


def analyse(cells: Sequence[Cell], folder: Path, console: Console) -> Answer | None:
    """Trains what is not trained, asks the question that the configuration names, and writes the answer down.

    Writes table.csv, table.md (with what it takes to make it again), figure.png and, for the report of a comparison,
    about.json to `folder`. Of several processes that train together, the first one asks.
    """
    config = cells[0].config
    runs = trained(cells, console)
    if process_number():
        return None
    found = analyses.build(config.analysis).answer(runs)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(found, folder / "table.csv")
    origin = provenance(config)
    made = "".join(f"- {name}: {value}\n" for name, value in origin.items())
    text = f"# {found.title}\n\n{found.table().markdown()}\n## How it was made\n\n{made}"
    (folder / "table.md").write_text(text, encoding="utf-8")
    (folder / "config.yaml").write_text("\n".join(to_yaml(run.config) for run in runs.values()), encoding="utf-8")
    write_finding(folder, found.table(), origin["command"], found.figure)
    return found


def write_csv(answer: Answer, path: Path) -> None:
    """Writes the table, floats to six significant digits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(answer.columns)
        writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in answer.rows)
