"""Analyses of the same configuration, as `analyse` left them beside a comparison: sections of its report."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from lightning_ebm.registry import analyses


@dataclass(frozen=True)
class Finding:
    """What one analysis left in its folder.

    Attributes:
        folder: where it is.
        title: the question, in a few words.
        caption: what figure and table show.
        command: the command line that made it.
        columns: heads of the table.
        rows: its rows, as text.
        light: the figure on white, as SVG.
        dark: the figure on dark, as SVG.
    """

    folder: Path
    title: str
    caption: str
    command: str
    columns: list[str]
    rows: list[list[str]]
    light: str
    dark: str


def read_findings(output: Path, config: str) -> list[Finding]:
    """The analyses that were made of a configuration, by name; without any, none.

    Args:
        output: the folder that `analyse` and `compare` both wrote to.
        config: stem of the configuration's file name.
    """
    start = f"analysis-{config}-"
    names = {path: path.name.removeprefix(start) for path in sorted(output.glob(f"{start}*"))}
    # of "glyphs", not "analysis-glyphs-large-capacity", which is of another file
    own = [path for path, name in names.items() if name in analyses.names() or ":" in name]
    return [read_finding(path) for path in own if (path / "about.json").exists()]


def read_finding(folder: Path) -> Finding:
    """The analysis of a folder."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        columns, *rows = csv.reader(file)
    light, dark = ((folder / f"{name}.svg").read_text(encoding="utf-8") for name in ("figure", "figure_dark"))
    return Finding(folder, about["title"], about["caption"], about["command"], columns, rows, light, dark)
