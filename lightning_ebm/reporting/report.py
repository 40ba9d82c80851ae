"""The reports: HTML pages that need no network, with figures and tables as files in the same folder."""

import base64
import csv
import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from lightning_ebm.files import slug
from lightning_ebm.registry import analyses
from lightning_ebm.reporting.comparison_tables import items_table, main_table, summary
from lightning_ebm.reporting.figures.curves import learning_curves
from lightning_ebm.reporting.figures.errors import error_against_items, error_against_size
from lightning_ebm.reporting.figures.strips import mosaic, read_path, recall_gallery, shown_steps
from lightning_ebm.reporting.figures.style import on_dark, save, svg
from lightning_ebm.reporting.record import METRICS, Comparison, Measure, Recall, has_size_sweep, write_csv
from lightning_ebm.reporting.table import Table, plain_table, write_rows
from lightning_ebm.reporting.templates import render

NARROW = 540  # points; a figure below that does not get the full width of the page

Section = tuple[str, Markup]
"""A heading, and the part of a page below it."""


@dataclass(frozen=True)
class Finding:
    """What an analysis left in its folder: a table, the command line that made it, and its figure as SVG."""

    folder: Path
    table: Table
    command: str
    figure: str


def write_report(comparison: Comparison, folder: Path, findings: Sequence[Finding] = (), others: str = "") -> Path:
    """Writes report.html, results.csv, table.md, config.yaml and the figures as PNG. Returns the page's path.

    The comparison has at least one result. Each finding, of the same memories, becomes a section. `others` is the
    address of the page that lists the reports of all variations; empty: there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(comparison.results, folder / "results.csv")
    write_markdown(folder, main_table(comparison), comparison.provenance)
    (folder / "config.yaml").write_text(comparison.config, encoding="utf-8")
    command, ranks = comparison.provenance["command"], count(1)
    note = " Click a heading to sort. Each row names its runs and links to their configuration."
    figures = figures_of(comparison, folder, ranks)
    sections = [
        ("Results", render("tables.html", tables=tables_of(comparison), command=command, note=note)),
        ("Figures", render("figures.html", figures=figures, command=command)),
    ]
    if comparison.gallery:
        save_strips(comparison.gallery, folder)
        caption = (
            "One test episode, or its first patterns: what was stored, the queries, and what each memory answered. All"
            " memories got the same queries. Numbers below pictures are energies, of memories that have them."
        )
        rows = gallery_rows(comparison.gallery)
        sections.append(("Recalled patterns", render("gallery.html", rows=rows, caption=caption, command=command)))
    sections += analysis_sections(findings, ranks)
    if comparison.failed:
        failed = [(label, "", message) for label, message in comparison.failed.items()]
        sections.append(("Not finished", render("terms.html", terms=failed)))
    sections.append(("How to read this", render("how_to_read.html", metrics=METRICS.values())))
    configurations = comparison.runs or {"": comparison.config}
    beside = "The numbers (results.csv) and figures (PNG) are in the folder of this page."
    sections.append(origin(command, comparison.provenance, configurations, beside))
    page = folder / "report.html"
    return write_page(page, comparison.title, kicker(comparison), summary(comparison), sections, others)


def write_index(
    comparisons: Mapping[str, Comparison], missing: Sequence[str], folder: Path, findings: Sequence[Finding]
) -> Path:
    """Writes index.html, which lists the reports of several variations of the task; `findings` as in `write_report`.

    `comparisons` are variation -> what its report, in `folder / slug(variation)`, is of; `missing` have no finished
    experiment.
    """
    listed = []
    for variation, comparison in comparisons.items():
        failed = f" Not finished: {', '.join(comparison.failed)}." if comparison.failed else ""
        listed.append((variation, f"{slug(variation)}/report.html", " ".join(summary(comparison)) + failed))
    listed += [(name, "", "Nothing was finished.") for name in missing]
    first = next(iter(comparisons.values()))
    beside = "cells.csv, in the folder of this page, has the numbers of every run of every report."
    sections = [
        ("Reports", render("terms.html", terms=listed)),
        *analysis_sections(findings, count(1)),
        origin(first.provenance["command"], {}, {}, beside),
    ]
    title = f"Associative memories on {len(listed)} variations of a task"
    return write_page(folder / "index.html", title, kicker(first), [], sections)


def kicker(comparison: Comparison) -> str:
    """The line above the title of a comparison's page."""
    date = comparison.provenance.get("date", "")
    return "A comparison of associative memories" + (f", {date}" if date else "")


def write_page(
    path: Path, title: str, kicker: str, lead: Sequence[str], sections: Sequence[Section], others: str = ""
) -> Path:
    """Writes a whole page: a heading with a line above it, paragraphs, and sections. Returns its path."""
    page = render("page.html", title=title, kicker=kicker, lead=lead, sections=sections, others=others)
    path.write_text(page, encoding="utf-8")
    return path


def origin(command: str, provenance: Mapping[str, str], configurations: Mapping[str, str], beside: str = "") -> Section:
    """Command, configurations and provenance: what it takes to make the page again."""
    html = render("origin.html", command=command, provenance=provenance, configurations=configurations, beside=beside)
    return "How it was made", html


def tables_of(comparison: Comparison) -> list[Table]:
    """All numbers; before them the paper's table 1, if several numbers of patterns were tried."""
    if len(comparison.counts) == 1:
        return [main_table(comparison)]
    on_all: list[Measure] = ["error"] if comparison.published_lines("items") else []
    measures: list[Measure] = ["error_corrupted", *on_all]
    tables = [items_table(comparison, mask, measure) for measure in measures for mask in comparison.masks]
    return [*tables, main_table(comparison)]


def plot(rank: int, caption: str, figure: str) -> dict[str, Any]:
    """A figure, an SVG on white, as `macros.html` shows it."""
    found = re.search(r'<svg[^>]* width="([\d.]+)pt"', figure)
    narrow = bool(found and float(found[1]) < NARROW)
    light, dark = (data_uri(image.encode(), "svg+xml") for image in (figure, on_dark(figure)))
    return {"rank": rank, "caption": caption, "light": light, "dark": dark, "narrow": narrow}


def figures_of(comparison: Comparison, folder: Path, ranks: Iterator[int]) -> list[dict[str, Any]]:
    """The figures that have something to show; they are written to the folder too."""
    several_counts = len(comparison.counts) > 1
    wanted: dict[str, tuple[str, Figure]] = {}
    reach = "reach from the 5th to the 95th percentile of test episodes."
    if several_counts:
        caption = f"Error on corrupted values against the number of stored patterns. Lines are means, bands {reach}"
        wanted["error_against_items"] = caption, error_against_items(comparison)
    if not several_counts or has_size_sweep(comparison.results):
        caption = f"Error on corrupted values against the size of the state. Points are means, bars {reach}"
        wanted["error_against_size"] = caption, error_against_size(comparison)
    if comparison.published:
        against = error_against_size if comparison.published.axis == "floats" else error_against_items
        caption = (
            "Error on all values, which is what the published lines (thin, dashed) count. These are from"
            f" {comparison.published.source}; whether the mask was known is not stated."
        )
        wanted["error_against_published"] = caption, against(comparison, "error")
    if comparison.curves:
        caption = "Error on validation episodes while training."
        wanted["learning_curves"] = caption, learning_curves(comparison.curves, comparison.unit)
        points = ((label, *point) for label, curve in comparison.curves.items() for point in curve)
        write_rows(folder / "learning_curves.csv", ("label", "update", "seconds", "error"), points)
    for name, (_, figure) in wanted.items():
        save(figure, folder / name)
    return [plot(next(ranks), caption, svg(figure)) for caption, figure in wanted.values()]


def analysis_sections(findings: Sequence[Finding], ranks: Iterator[int]) -> list[Section]:
    """A section with figure and table for each analysis."""
    return [
        (
            one.table.title,
            render(
                "analysis.html",
                figure=plot(next(ranks), one.table.caption, one.figure),
                anchor=f"{slug(one.table.title)}-table",
                caption=f"The numbers of the figure. Also in {one.folder.name}/table.csv.",
                command=one.command,
                table=one.table,
            ),
        )
        for one in findings
    ]


def read_findings(output: Path, config: str) -> list[Finding]:
    """The analyses in an output folder of a configuration, the stem of its file's name; what is damaged is skipped."""
    start, findings = f"analysis-{config}-", []
    for path in sorted(output.glob(f"{start}*/about.json")):
        name = path.parent.name.removeprefix(start)
        # of "glyphs", not "analysis-glyphs-large-capacity", which is of another file
        if name in analyses.names() or ":" in name:
            try:
                about = json.loads(path.read_text(encoding="utf-8"))
                with (path.parent / "table.csv").open(newline="", encoding="utf-8") as file:
                    columns, *rows = csv.reader(file)
                table = plain_table(about["title"], about["caption"], columns, rows)
                findings.append(Finding(path.parent, table, about["command"], about["light"]))
            except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
                warnings.warn(f"skipped in the report: {path.parent} cannot be read: {error!r}", stacklevel=2)
    return findings


def write_markdown(folder: Path, table: Table, provenance: Mapping[str, str]) -> None:
    """Writes table.md: a table, and what it takes to make it again."""
    made = "".join(f"- {name}: {value}\n" for name, value in provenance.items())
    text = f"# {table.title}\n\n{table.markdown()}\n## How it was made\n\n{made}"
    (folder / "table.md").write_text(text, encoding="utf-8")


def write_finding(folder: Path, table: Table, provenance: Mapping[str, str], figure: Figure) -> None:
    """Writes table.md, figure.png and about.json, which `read_findings` reads with table.csv."""
    write_markdown(folder, table, provenance)
    save(figure, folder / "figure")
    about = {"title": table.title, "caption": table.caption, "command": provenance["command"], "light": svg(figure)}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def gallery_rows(gallery: Mapping[str, Recall]) -> list[dict[str, Any]]:
    """Patterns, queries and answers, each row one picture in its own pixels; the read steps unfold below it."""
    first = next(iter(gallery.values()))
    patterns = f"patterns 1 to {len(first.patterns)}"
    stored = strip(first.patterns, f"What was stored: {patterns}")
    queries = strip(first.queries, f"The queries: {patterns}, corrupted")
    rows: list[dict[str, Any]] = [
        {"label": "pattern", "picture": stored, "steps": []},
        {"label": "query", "picture": queries, "steps": []},
    ]
    for label, recall in gallery.items():
        answer = strip(recall.trajectory[-1], f"What {label} answered: {patterns}")
        steps = [] if recall.energies is None else [("pattern and its energy", stored, 0), ("query", queries, 1)]
        if len(recall.trajectory) > 1 or steps:
            for step in shown_steps(len(recall.trajectory)):
                name = f"after read step {step + 1}"
                steps.append((name, strip(recall.trajectory[step], f"{label} {name}: {patterns}"), 2 + step))
        walk = [
            {"name": name, "picture": image, "notes": [] if recall.energies is None else [short(recall.energies[row])]}
            for name, image, row in steps
        ]
        rows.append({"label": label, "picture": answer, "steps": walk})
    return rows


def short(values: np.ndarray) -> list[str]:
    """Numbers to four significant digits."""
    return [f"{value:.4g}" for value in values]


def save_strips(gallery: Mapping[str, Recall], folder: Path) -> None:
    """Pictures of what was recalled, and of the read trajectories of memories with several read steps."""
    save(recall_gallery(gallery), folder / "recall_gallery")
    taken: set[str] = set()
    for rank, (label, recall) in enumerate(gallery.items()):
        if len(recall.trajectory) > 1:
            name = f"read_path_{slug(label)[:80]}"  # names of files are short
            name = f"{name}-{rank}" if name in taken else name  # "a b" and "a-b"
            taken.add(name)
            save(read_path(recall), folder / name)


def strip(patterns: np.ndarray, alt: str) -> dict[str, Any]:
    """Patterns (items, *shape) side by side, shown at a whole multiple of their size on any screen."""
    pixels = np.round(255 * mosaic(patterns[None])).astype(np.uint8)
    width = pixels.shape[1]
    wide, narrow = (max(1, round(cell * len(patterns) / width)) * width for cell in (96, 64))
    return picture(Image.fromarray(pixels), wide, narrow, alt)


def picture(image: Image.Image, wide: int, narrow: int, alt: str) -> dict[str, Any]:
    """An image as `macros.html` shows it, with its width in pixels on a wide and on a narrow screen."""
    data = io.BytesIO()
    image.save(data, format="PNG", optimize=True)
    shown = {"source": data_uri(data.getvalue(), "png"), "width": image.width, "height": image.height}
    return shown | {"wide": wide, "narrow": narrow, "alt": alt}


def data_uri(content: bytes, kind: str) -> str:
    """An image inside a page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
