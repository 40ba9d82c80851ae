"""Questions about trained memories: `lightning-ebm analyse CONFIG analysis=NAME`."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from matplotlib.figure import Figure
from rich.console import Console

from lightning_ebm.config import ConfigError, Overrides, Source, to_yaml
from lightning_ebm.data.episodes import Episode
from lightning_ebm.experiments.experiment import name_of, run_experiments, test_loader
from lightning_ebm.experiments.grid import grid, name_of_source, specs
from lightning_ebm.experiments.measure import measure, per_episode, placed
from lightning_ebm.launcher import rank
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.metrics import pattern_errors
from lightning_ebm.metrics import unit as error_unit
from lightning_ebm.registry import analyses
from lightning_ebm.reporting.figures.errors import Lines, error_bars, error_lines
from lightning_ebm.reporting.record import Record, mean_and_band
from lightning_ebm.reporting.report import write_finding
from lightning_ebm.reporting.table import Table, plain_table, write_rows
from lightning_ebm.reporting.terminal import QUIET
from lightning_ebm.settings import Settings
from lightning_ebm.training.train import restore
from lightning_ebm.training.trainer import Run, provenance

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis found."""

    title: str
    """The question, in a few words."""
    caption: str
    """What the figure shows and what its axes and the table's columns are, with units."""
    columns: Sequence[str]
    """Heads of the table."""
    rows: Sequence[Sequence[Any]]
    """Rows of the table; numbers at full precision."""
    figure: Figure
    """In the colours of a white page."""

    def table(self) -> Table:
        """Its table."""
        return plain_table(self.title, self.caption, self.columns, self.rows)


@dataclass(frozen=True)
class Analysis(Settings, ABC):
    """A question about trained memories. Its fields are its settings, the keys of a config file below `analysis`."""

    config: ClassVar[type]

    def __init_subclass__(cls) -> None:
        cls.config = cls

    @classmethod
    def from_config(cls, config: Self) -> Self:
        """The analysis, which is its own settings."""
        return config

    @abstractmethod
    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        """Asks the question of every memory.

        Args:
            runs: trained memories with their data, by label; not changed.

        Raises:
            ValueError: if the question does not apply to such patterns, or to any of the memories.
        """


def spec_of(runs: Mapping[str, Run]) -> PatternSpec:
    """Kind of the patterns, which is the same for all memories of an analysis."""
    return next(iter(runs.values())).data.source.spec


@contextmanager
def test_episodes(run: Run, items: int = 0, **changes: Any) -> Iterator[Iterator[Episode]]:
    """Test episodes of `experiment.test_loader(run, items, **changes)`, without gradients.

    Within the block, they and the memory are on the run's device.
    """
    with torch.no_grad(), placed(run.memory, run.device):
        yield (batch.to(run.device) for batch in test_loader(run, items, **changes))


def measure_run(run: Run, episodes: Iterable[Episode] | None = None, **options: Any) -> Record:
    """The run's memory on its test episodes, or on others; `options` are those of `measure`."""
    episodes = test_loader(run) if episodes is None else episodes
    return measure(run.memory, episodes, run.data.source.spec, device=run.device, **options)


def errors_by_group(
    run: Run, groups: Mapping[str, slice], write: Callable[..., State], *how: Any
) -> dict[str, list[float]]:
    """Errors on corrupted values of each test episode, by group of its items.

    `write(memory, patterns, *how)` writes patterns (episodes, items, *shape); the run's memory reads.
    """
    errors: dict[str, list[float]] = {name: [] for name in groups}
    with test_episodes(run) as episodes:
        for batch in episodes:
            answer = run.memory.read(write(run.memory, batch.patterns, *how), batch.queries)[-1]
            each = pattern_errors(answer, batch.patterns, run.data.source.spec, batch.mask)
            for name, items in groups.items():
                errors[name] += per_episode(each[:, items])
    return errors


def ask(runs: Mapping[str, Run], question: Callable[[Run], Answer], needs: str = "") -> dict[str, Answer]:
    """The answer of each memory, by label; a memory that lacks what the question `needs` is skipped, with a warning.

    It lacks that if the question raises NotImplementedError.

    Raises:
        ValueError: if all of them lack it.
    """
    answers = {}
    for label, run in runs.items():
        try:
            answers[label] = question(run)
        except NotImplementedError:
            if not needs:
                raise
            warnings.warn(f"{label} is skipped: not every memory {needs}", stacklevel=2)
    if not answers:
        raise ValueError(f"analysis: none of these memories {needs}")
    return answers


@dataclass(frozen=True)
class Condition:
    """A memory's errors under one condition."""

    place: Any
    """Where it is drawn: a number on the horizontal axis of lines, or the name of a bar."""
    errors: list[float]
    """Error of each test episode."""
    cells: Sequence[Any] = ()
    """What the table says of the condition; empty: its place."""
    exact: float | None = None
    """Share of patterns that were recalled exactly, which ends the table's row."""
    line: str = ""
    """What follows the memory's label in the name of the line or bar."""


@dataclass(frozen=True)
class ErrorAnalysis(Analysis):
    """An analysis that measures the error of every memory under several conditions."""

    title: ClassVar[str]
    """See `AnalysisResult`."""
    caption: ClassVar[str]
    """Begins the caption; `{name}` is the setting of that name."""
    columns: ClassVar[Sequence[str]]
    """Heads of what `Condition.cells` say."""
    axis: ClassVar[str] = ""
    """Horizontal axis of a figure with lines; empty: a figure with bars."""
    xscale: ClassVar[str] = "log"
    """Scale of that axis."""
    needs: ClassVar[str] = ""
    """What a memory must have or do, see `ask`."""
    masks: ClassVar[str] = "; the mask is unknown"
    """What the caption says of the mask."""

    @abstractmethod
    def conditions(self, run: Run) -> Iterable[Condition]:
        """Measures a memory under each condition."""

    def reference(self, runs: Mapping[str, Run]) -> Lines:
        """Further lines of the figure."""
        return {}

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        """Table and figure of the `conditions` of every memory."""
        curves: dict[str, list[tuple[Any, float, float, float]]] = {}
        rows, exact = [], False
        for label, conditions in ask(runs, lambda run: list(self.conditions(run)), self.needs).items():
            for found in conditions:
                point = mean_and_band(found.errors)
                curves.setdefault(label + found.line, []).append((found.place, *point))
                exact = found.exact is not None
                rows.append([label, *(found.cells or [found.place]), *point, *[found.exact] * exact])
        unit = error_unit(spec_of(runs))
        if self.axis:
            figure = error_lines(curves | self.reference(runs), self.axis, unit, xscale=self.xscale)
        else:
            figure = error_bars(curves, unit)
        marks = "Lines are means, bands reach" if self.axis else "Bars are means, lines reach"
        return AnalysisResult(
            self.title,
            f"{self.caption.format(**vars(self))} Errors are in {unit}{self.masks}. {marks} from the 5th to"
            " the 95th percentile of test episodes.",
            ["memory", *self.columns, "error", "5th percentile", "95th percentile", *["recalled exactly"] * exact],
            rows,
            figure,
        )


def analyse(source: Source, overrides: Overrides = (), console: Console = QUIET) -> AnalysisResult | None:
    """Trains what is not trained, asks the question that the configuration names, and writes the answer down.

    Writes table.csv, table.md (with what it takes to make it again), figure.png and, for the report of a comparison,
    about.json to `<output>/analysis-<file>-<question>`. Of several processes that train together, the first one asks,
    and the others return None. A console shows progress and the table.

    Raises:
        ConfigError: if a memory cannot be trained; the message names its row.
        ValueError: if the question does not apply.
    """
    experiments = grid(source, overrides)
    config = experiments[0].config
    if config.compare.vary and len(specs(experiments)) > 1:
        raise ConfigError("compare.vary: the patterns of an analysis must be of one shape and kind")
    folder = Path(config.output) / f"analysis-{name_of_source(source)}-{config.analysis.name}"
    for place, error in run_experiments(experiments, console).items():
        raise ConfigError(f"compare.rows.{experiments[place].label}: {error}")
    runs = {name_of(one, seed=len(one.config.compare.seeds) > 1): restore(one.config) for one in experiments}
    if rank():
        return None
    found = analyses.build(config.analysis).result(runs)
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "table.csv", found.columns, found.rows)
    (folder / "config.yaml").write_text("\n".join(to_yaml(run.config) for run in runs.values()), encoding="utf-8")
    write_finding(folder, found.table(), provenance(config), found.figure)
    console.print(found.table())
    console.print(f"\nTable and figure: {folder.resolve()}", soft_wrap=True)
    return found
