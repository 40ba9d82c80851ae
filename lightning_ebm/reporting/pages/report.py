"""The report of a comparison: one HTML page that needs no network; figures and a CSV file beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from itertools import count
from pathlib import Path

from matplotlib.figure import Figure

from lightning_ebm.experiments.grid import slug
from lightning_ebm.reporting.figures.against_items import error_against_items
from lightning_ebm.reporting.figures.against_size import error_against_size, has_size_sweep
from lightning_ebm.reporting.figures.curves import learning_curves, write_curves
from lightning_ebm.reporting.figures.strips import read_path, recall_gallery
from lightning_ebm.reporting.figures.style import save, svg
from lightning_ebm.reporting.pages import page
from lightning_ebm.reporting.pages.findings import Finding
from lightning_ebm.reporting.pages.html_gallery import data_uri, gallery_rows
from lightning_ebm.reporting.pages.html_tables import items_table, main_table, plain_table
from lightning_ebm.reporting.pages.summary import summary
from lightning_ebm.reporting.record import Comparison, Gallery, write_csv
from lightning_ebm.reporting.tables import Measure, markdown_table

NARROW = 540  # points; a figure below that does not get the full width of the page


def write_report(comparison: Comparison, folder: Path, findings: Sequence[Finding] = (), others: str = "") -> Path:
    """Writes report.html and, beside it, results.csv, table.md, config.yaml and the figures as PNG and SVG.

    Args:
        comparison: what to report; it has at least one result.
        folder: where to; it is made if it is not there, and files of these names are replaced.
        findings: analyses of the same memories, each of which becomes a section.
        others: where the page is that lists the reports of all variations; empty if there is none.

    Returns:
        The path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(comparison.results, folder / "results.csv")
    (folder / "table.md").write_text(_record(comparison), encoding="utf-8")
    (folder / "config.yaml").write_text(comparison.config, encoding="utf-8")
    made, figure_ranks = page.made_by(comparison.command), count(1)
    sections = {"Results": _tables(comparison, made), "Figures": _figures(comparison, folder, made, figure_ranks)}
    if comparison.gallery is not None:
        _save_strips(comparison.gallery, folder)
        sections["Recalled patterns"] = _gallery(comparison.gallery, made)
    sections |= analyses_sections(findings, figure_ranks)
    if comparison.failed:
        sections["Not finished"] = _failed(comparison.failed)
    sections["How to read this"] = _definitions()
    sections["How it was made"] = _origin(comparison)
    path = folder / "report.html"
    date = comparison.provenance.get("date", "")
    kicker = "A comparison of associative memories" + (f", {date}" if date else "")
    html = page.assemble(comparison.title, kicker, summary(comparison), sections, others)
    path.write_text(html, encoding="utf-8")
    return path


def analyses_sections(findings: Sequence[Finding], ranks: Iterator[int]) -> dict[str, str]:
    """A section with figure and table for each analysis, by its title."""
    sections = {}
    for finding in findings:
        made, anchor = page.made_by(finding.command), slug(finding.title)
        html = _figure(next(ranks), escape(finding.caption), finding.light, finding.dark, made)
        caption = f"The numbers of the figure. Also in {escape(finding.folder.name)}/table.csv. {made}"
        table = plain_table(finding.columns, finding.rows)
        sections[finding.title] = html + scrolling(f"{anchor}-table", caption, table, "small")
    return sections


def _record(comparison: Comparison) -> str:
    """The table as Markdown, with all that its numbers depend on."""
    made = "".join(f"- {name}: {value}\n" for name, value in comparison.provenance.items())
    return f"# {comparison.title}\n\n{markdown_table(comparison)}\n## How it was made\n\n{made}"


def _tables(comparison: Comparison, made: str) -> str:
    """All numbers; before them the paper's table 1, if several numbers of patterns were tried."""
    tables = [main_table(comparison)]
    if len({result.items for result in comparison.results}) > 1:
        masks = sorted({result.mask_known for result in comparison.results})
        measures: list[Measure] = ["error_corrupted"]
        if comparison.published and comparison.published.axis == "items":
            measures.append("error")
        tables = [items_table(comparison, mask, measure) for measure in measures for mask in masks] + tables
    return "".join(
        scrolling(f"table-{rank}", f"<b>Table {rank}.</b> {caption} {made}", table)
        for rank, (caption, table) in enumerate(tables, start=1)
    )


def _figures(comparison: Comparison, folder: Path, made: str, ranks: Iterator[int]) -> str:
    """The figures that have something to show; they are written to the folder too."""
    several_counts = len({result.items for result in comparison.results}) > 1
    wanted: dict[str, tuple[str, Callable[[bool], Figure]]] = {}
    if several_counts:
        caption = _against("the number of stored patterns. Lines are means, bands")
        wanted["error_against_items"] = caption, lambda dark: error_against_items(comparison, dark)
    if not several_counts or has_size_sweep(comparison):
        caption = _against("the size of the state. Points are means, bars")
        wanted["error_against_size"] = caption, lambda dark: error_against_size(comparison, dark)
    if comparison.published:
        draw = error_against_size if comparison.published.axis == "floats" else error_against_items
        caption = (
            "Error on all values, which is what the published lines (thin, dashed) count. These are from"
            f" {escape(comparison.published.source)}; whether the mask was known is not stated."
        )
        wanted["error_against_published"] = caption, lambda dark: draw(comparison, dark, "error")
    if any(curve.points for curve in comparison.curves):
        caption = "Error on validation episodes while training."
        wanted["learning_curves"] = caption, lambda dark: learning_curves(comparison.curves, comparison.unit, dark)
        write_curves(comparison.curves, folder / "learning_curves.csv")
    html = ""
    for name, (caption, drawn) in wanted.items():
        html += _figure(next(ranks), caption, save(drawn(False), folder / name), svg(drawn(True)), made)
    return html


def _against(what: str) -> str:
    return f"Error on corrupted values against {what} reach from the 5th to the 95th percentile of test episodes."


def _figure(rank: int, caption: str, light: str, dark: str, made: str) -> str:
    """A figure that opens large. No inline SVGs: these share ids, and a hidden one would break the other."""
    found = re.search(r'<svg[^>]* width="([\d.]+)pt"', light)
    images, kind = "", "plot narrow" if found and float(found[1]) < NARROW else "plot"
    for theme, figure in (("light", light), ("dark", dark)):
        source = data_uri(figure.encode(), "svg+xml")
        images += f'<img class="{theme}" src="{source}" alt="{caption} The tables give the same numbers.">'
    return (
        f'<figure class="{kind}"><figcaption><b>Figure {rank}.</b> {caption}'
        f" A click enlarges. {made}</figcaption>\n"
        f'<button type="button" class="zoom" aria-label="Enlarge figure {rank}">{images}</button></figure>\n'
    )


def _gallery(gallery: Gallery, made: str) -> str:
    """One episode, recalled by all memories."""
    caption = (
        "One test episode, or its first patterns: what was stored, what was asked, and what each memory answered."
        " All memories got the same queries. Numbers below the pictures of a memory that has an energy are energies."
    )
    return scrolling("gallery", f"{caption} {made}", gallery_rows(gallery), "gallery")


def _save_strips(gallery: Gallery, folder: Path) -> None:
    """What was recalled, and the way of each memory that reads in several steps, as figures beside the page."""
    save(recall_gallery(gallery), folder / "recall_gallery")
    for recall in gallery.recalls:
        if len(recall.trajectory) > 1:
            figure = read_path(gallery.patterns, gallery.queries, recall.trajectory, energies=recall.energies)
            save(figure, folder / f"read_path_{slug(recall.label)}")


def scrolling(anchor: str, caption: str, html: str, kind: str = "") -> str:
    """Something wide, under its caption; it scrolls in itself, by keyboard too, so that the page does not."""
    return (
        f'<figure><figcaption id="{anchor}">{caption}</figcaption>\n'
        f'<div class="scroll {kind}" role="region" aria-labelledby="{anchor}" tabindex="0">{html}</div></figure>\n'
    )


def _failed(failed: dict[str, str]) -> str:
    """Rows that are missing in the tables, and why."""
    rows = "".join(f"<dt>{escape(label)}</dt><dd>{escape(error)}</dd>\n" for label, error in failed.items())
    return f"<dl>{rows}</dl>\n"


def _definitions() -> str:
    return "<dl>" + "".join(f"<dt>{term}</dt><dd>{text}</dd>\n" for term, text in page.HOW_TO_READ.items()) + "</dl>\n"


def _origin(comparison: Comparison) -> str:
    """Command, configuration and provenance: what it takes to make the page again."""
    configurations = ""
    for name, config in (comparison.runs or {"": comparison.config}).items():
        target, of = (f' id="run-{escape(name)}"', f" of {escape(name)}") if name else ("", "")
        configurations += (
            f"<details{target}><summary>configuration{of}</summary><pre>{escape(config)}</pre></details>\n"
        )
    return (
        f"<pre>{escape(comparison.command)}</pre>\n{facts(comparison.provenance)}{configurations}"
        "<p>Beside this page lie its numbers, results.csv, and its figures as PNG and SVG.</p>\n"
    )


def facts(named: Mapping[str, str]) -> str:
    """Names and what is true of them, as a table; nothing for none."""
    rows = ""
    for name, value in named.items():
        rows += f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n'
    return f'<div class="scroll facts"><table><tbody>\n{rows}</tbody></table></div>\n' if rows else ""
