"""Tables for a paper, from the cells of one or several comparisons: `lightning-ebm summarise`."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_ebm.config import ConfigError, build, parse_overrides
from lightning_ebm.reporting.paper_tables import Row, Summary, latex, markdown
from lightning_ebm.reporting.published import Published, published
from lightning_ebm.reporting.record import CONTROL, QUERY
from lightning_ebm.reporting.tables import MEASURES, Measure
from lightning_ebm.settings import setting

COLUMNS = ("items", "floats")
ERRORS: dict[str, tuple[Measure, str]] = {
    "corrupted": ("error_corrupted", "corrupted_mean"),
    "all": ("error", "error_mean"),
}
SAME = ("cell", "label", "items", "mask_known", "precision", "data", "distortion", "episodes", "error_mean")
"""What two rows share that are of one measurement, though in several files; times differ if it was repeated."""


@dataclass
class SummaryConfig:
    """Settings of `summarise`.

    Attributes:
        columns: what columns are: items (numbers of patterns) or floats (sizes of the state); empty: floats where
            memories were tried in several sizes with one number of patterns, else items.
        error: whose errors: corrupted values, or all; empty: corrupted, but all where published rows are asked for.
        published: a paper's numbers as rows of their own, as `compare.published`; empty: none.
        output: folder for summary.md and summary.tex; empty: that of the first file.
    """

    columns: str = ""
    error: str = ""
    published: str = setting("", path=True)
    output: str = setting("", path=True)


def settings(words: Sequence[str]) -> SummaryConfig:
    """The settings of key=value words.

    Raises:
        ConfigError: on an unknown key or a value that is not allowed; the message names the key.
    """
    config: SummaryConfig = build(SummaryConfig, parse_overrides(words), "")
    for key, allowed in (("columns", COLUMNS), ("error", tuple(ERRORS))):
        if getattr(config, key) not in ("", *allowed):
            raise ConfigError(f"{key} must be one of {', '.join(allowed)}, or empty, got {getattr(config, key)!r}")
    if config.published and config.error == "corrupted":
        raise ConfigError("error must be all where published is given: published errors are on all values")
    return config


def read_cells(path: Path) -> list[dict[str, str]]:
    """The rows of a cells.csv, or of that of a comparison's folder.

    Raises:
        ConfigError: if there is none, or it is no such file.
    """
    path = path / "cells.csv" if path.is_dir() else path
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; `lightning-ebm compare` writes it") from None
    needed = {"label", "series", "memory", "items", "mask_known", "floats", "error_mean", "corrupted_mean"}
    needed |= {"unit", "data", "distortion", "seed", "cell"}
    if not rows or not needed <= rows[0].keys() or any(None in row.values() for row in rows):
        raise ConfigError(f"{path} must be a cells.csv with the columns {', '.join(sorted(needed))}")
    return rows


def summarise(cells: Sequence[dict[str, str]], config: SummaryConfig) -> list[Summary]:
    """One table for each task (data, distortion, mask), seeds pooled; cells that are in several files count once.

    Args:
        cells: rows of cells.csv files.
        config: what is asked for.

    Raises:
        ConfigError: if published numbers are over the other kind of columns, or two runs of one seed share a label.
    """
    laid_over = published(config.published) if config.published else None
    columns = config.columns or (laid_over.axis if laid_over else "")
    columns = columns or ("floats" if has_sizes(cells) and len({cell["items"] for cell in cells}) == 1 else "items")
    if laid_over and laid_over.axis != columns:
        raise ConfigError(f"published={config.published} needs columns={laid_over.axis}, got {columns}")
    measure, column_of_error = ERRORS[config.error or ("all" if laid_over else "corrupted")]
    tasks: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for cell in cells:
        task = [cell[key] for key in ("unit", "data", "distortion", "mask_known")]
        tasks.setdefault((*task, "" if columns == "items" else cell["items"]), []).append(cell)
    tables = []
    for (unit, data, distortion, mask_known, items), members in tasks.items():
        rows = pooled_rows(members, columns, column_of_error)
        shown = sorted({column for row in rows for column in row.errors})
        mask = "known" if mask_known == "True" else "unknown"
        stored = f", {int(items):,} patterns" if items else ""
        caption = f"{data}, {distortion}{stored}, mask {mask}: {MEASURES[measure]} ({unit}), mean over test episodes"
        if any(len(errors) > 1 for row in rows for errors in row.errors.values()):
            caption += " ± half the 95 % interval over seeds"
        caption += ". Controls are in italics." if any(row.kind == "control" for row in rows) else "."
        if laid_over:
            rows += published_rows(laid_over)
            shown = sorted({column for row in rows for column in row.errors})
            caption += f" Published, in italics: {laid_over.source}; mask not stated."
        head = "patterns stored" if columns == "items" else "floats of state"
        tables.append(Summary(caption, head, shown, rows))
    return tables


def has_sizes(cells: Sequence[dict[str, str]]) -> bool:
    """Whether any line has points of several sizes."""
    sizes: dict[str, set[str]] = {}
    for cell in cells:
        sizes.setdefault(cell["series"], set()).add(cell["floats"])
    return any(len(found) > 1 for found in sizes.values())


def pooled_rows(cells: Sequence[dict[str, str]], columns: str, column_of_error: str) -> list[Row]:
    """The rows of one table: by label, or, where columns are sizes, by the line that sizes are points of.

    What has no size, such as the query itself, is the same in the columns of all sizes.

    Raises:
        ConfigError: if two runs of one seed have the same place.
    """
    rows: dict[str, Row] = {}
    seen: dict[tuple[str, int, str], str] = {}
    every = sorted({int(cell[columns]) for cell in cells} - {0})
    for cell in cells:
        label = cell["series"] if columns == "floats" and cell["series"] else cell["label"]
        seed = "" if cell["label"] == QUERY else cell["seed"]
        place = label, int(cell[columns]), seed
        if place in seen and not seed:
            continue  # the queries are the same in all runs
        if place in seen:
            runs = f"{seen[place]} and {cell['cell']}"
            raise ConfigError(f"{label!r} of seed {seed} was measured twice, in {runs}: give them different labels")
        seen[place] = cell["cell"]
        row = rows.setdefault(label, Row(label, "control" if cell["memory"] == CONTROL else "memory"))
        for column in [int(cell[columns])] if int(cell[columns]) else every:
            row.errors.setdefault(column, []).append(float(cell[column_of_error]))
    return sorted(rows.values(), key=lambda row: row.kind == "control")


def published_rows(found: Published) -> list[Row]:
    """A paper's numbers, one value for each column."""
    return [
        Row(f"{label}, published", "published", {column: [mean] for column, mean, *_ in points if not math.isnan(mean)})
        for label, points in found.lines.items()
    ]


def write_summary(paths: Sequence[Path], config: SummaryConfig) -> tuple[Path, str]:
    """Writes summary.md and summary.tex.

    Args:
        paths: cells.csv files, or folders of comparisons; at least one.
        config: what is asked for.

    Returns:
        The folder, and the Markdown.
    """
    cells: dict[tuple[str | None, ...], dict[str, str]] = {}
    for path in paths:
        for row in read_cells(path):
            cells.setdefault(tuple(row.get(key) for key in SAME), row)
    tables = summarise(list(cells.values()), config)
    folder = Path(config.output) if config.output else paths[0] if paths[0].is_dir() else paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(tables)
    (folder / "summary.md").write_text(text, encoding="utf-8")
    (folder / "summary.tex").write_text(latex(tables), encoding="utf-8")
    return folder, text
