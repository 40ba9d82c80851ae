"""Tables for a paper, from the cells of one or several comparisons: `lightning-ebm summarise`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_ebm.config import ConfigError, Overrides, build, naming, parse_overrides
from lightning_ebm.reporting.comparison_tables import Line, error_table, kind_of, mask_name
from lightning_ebm.reporting.published import published
from lightning_ebm.reporting.record import MEASURES, QUERY, Measure, Record, grouped, has_size_sweep, read_csv
from lightning_ebm.reporting.table import Table
from lightning_ebm.settings import Settings, setting

COLUMNS = {"items": "patterns stored", "floats": "floats of state"}
ERRORS: dict[str, Measure] = {"corrupted": "error_corrupted", "all": "error"}


@dataclass(frozen=True)
class SummaryConfig(Settings):
    """Settings of `summarise`."""

    columns: str | None = setting(None, one_of=COLUMNS)
    """What columns are: items (numbers of patterns) or floats (sizes of the state); empty: floats where memories were
    tried in several sizes with one number of patterns, else items."""
    error: str | None = setting(None, one_of=ERRORS)
    """Whose errors: corrupted values, or all; empty: corrupted, but all where published rows are asked for."""
    paper_results: str = setting("", path=True)
    """A paper's numbers as rows of their own, as in `compare.paper_results`; empty: none."""
    output: str = setting("", path=True)
    """Folder for summary.md and summary.tex; empty: the folder of the first file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.paper_results and self.error == "corrupted":
            raise ValueError("error must be all where paper_results is given: published errors are on all values")


def summarise(records: Sequence[Record], config: SummaryConfig) -> list[Table]:
    """One table for each task (data, distortion, mask), seeds pooled; a measurement given several times counts once.

    Raises:
        ConfigError: if published numbers are over the other kind of columns, or two runs of one seed share a label.
    """
    counts = {one.items for one in records}
    columns = config.columns or ("floats" if has_size_sweep(records) and len(counts) == 1 else "items")
    laid_over = None
    if config.paper_results:
        with naming("paper_results"):
            laid_over = published(config.paper_results)
        columns = config.columns or laid_over.axis
        with naming(f"paper_results={config.paper_results}"):
            if laid_over.axis != columns:
                raise ValueError(f"needs columns={laid_over.axis}, got {columns}")
            for one in records:
                laid_over.check(one.unit)
            if laid_over.items and laid_over.items not in counts:
                raise ValueError(f"needs results of {laid_over.items} patterns")
    measure = ERRORS[config.error or ("all" if laid_over else "corrupted")]

    def task(one: Record) -> tuple[str, str, str, bool, int]:
        return one.unit, one.data, one.distortion, one.mask_known, 0 if columns == "items" else one.items

    tables = []
    for (unit, data, distortion, mask_known, items), members in grouped(records, task).items():
        rows = pooled_rows(members, columns, measure)
        stored = f", {items:,} patterns" if items else ""
        caption = (
            f"{data}, {distortion}{stored}, mask {mask_name(mask_known)}: {MEASURES[measure]} ({unit}), mean over"
            " test episodes"
        )
        if any(len(errors) > 1 for _, line in rows.values() for errors in line.values()):
            caption += " ± half the 95 % interval over seeds"
        caption += ". Controls are in italics." if any(kind == "control" for kind, _ in rows.values()) else "."
        if laid_over and laid_over.items in (0, items):
            for label, points in laid_over.named().items():
                rows[label] = "published", {place: [mean] for place, mean, *_ in points if not math.isnan(mean)}
            caption += f" Published, in italics: {laid_over.source}; mask not stated."
        tables.append(error_table(f"{caption} Best in bold.", COLUMNS[columns], rows))
    return tables


def pooled_rows(records: Sequence[Record], columns: str, measure: Measure) -> dict[str, Line]:
    """The rows of one table: by label, or, where columns are sizes, by the line that sizes are points of.

    What has no size, such as the query itself, is the same in the columns of all sizes.

    Raises:
        ConfigError: if two runs of one seed have the same place.
    """
    rows: dict[str, Line] = {}
    seen: dict[tuple[str, int, str], str] = {}
    every = sorted({getattr(record, columns) for record in records} - {0})
    for record in records:
        label = record.series if columns == "floats" and record.series else record.label
        place, seed = getattr(record, columns), "" if record.label == QUERY else str(record.seed)
        if (label, place, seed) in seen and not seed:
            continue  # the queries are the same in all runs
        if (label, place, seed) in seen:
            runs = f"{seen[label, place, seed]} and {record.cell}"
            raise ConfigError(f"{label!r} of seed {seed} was measured twice, in {runs}: give them different labels")
        seen[label, place, seed] = record.cell
        _, line = rows.setdefault(label, (kind_of(record), {}))
        for column in [place] if place else every:
            line.setdefault(column, []).append(record.mean(measure))
    return dict(sorted(rows.items(), key=lambda row: row[1][0] == "control"))


def write_summary(paths: Sequence[Path], overrides: Overrides = ()) -> tuple[Path, list[Table]]:
    """Writes summary.md and summary.tex, from at least one cells.csv or folder of a comparison.

    Overrides are fields of `SummaryConfig`. Returns the folder, and the tables.

    Raises:
        ConfigError: if a file or a setting is wrong, or they do not fit.
    """
    config: SummaryConfig = build(SummaryConfig, parse_overrides(overrides), "")
    records: dict[tuple[object, ...], Record] = {}
    for path in paths:
        for one in read_csv(path / "cells.csv" if path.is_dir() else path):
            # one measurement, also if it is in several files; times differ if it was repeated
            same = (one.cell, one.label, *one.setting, one.precision, one.data, one.distortion, *one.error)
            records.setdefault(same, one)
    tables = summarise(list(records.values()), config)
    folder = Path(config.output) if config.output else paths[0] if paths[0].is_dir() else paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.md").write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")
    (folder / "summary.tex").write_text("\n".join(table.latex() for table in tables), encoding="utf-8")
    return folder, tables
