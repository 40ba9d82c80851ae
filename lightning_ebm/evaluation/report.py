"""The report of a comparison: one HTML page that needs no network; figures and a CSV file beside it."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lightning_ebm.evaluation import page
from lightning_ebm.evaluation.against_items import error_against_items
from lightning_ebm.evaluation.against_size import error_against_size, has_size_sweep
from lightning_ebm.evaluation.curves import learning_curves, write_curves
from lightning_ebm.evaluation.html_tables import items_table, main_table
from lightning_ebm.evaluation.pictures import mosaic, shown_steps
from lightning_ebm.evaluation.results import Comparison, Gallery, write_csv
from lightning_ebm.evaluation.strips import recall_gallery
from lightning_ebm.evaluation.style import save, svg
from lightning_ebm.evaluation.summary import summary
from lightning_ebm.evaluation.tables import markdown_table


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Writes report.html and, beside it, results.csv, table.md, config.yaml and the figures as PNG and SVG.

    Args:
        comparison: what to report; it has at least one result.
        folder: where to; it is made if it is not there, and files of these names are replaced.

    Returns:
        The path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(comparison.results, folder / "results.csv")
    (folder / "table.md").write_text(_record(comparison), encoding="utf-8")
    (folder / "config.yaml").write_text(comparison.config, encoding="utf-8")
    sections = {"Results": _tables(comparison), "Figures": _figures(comparison, folder)}
    if comparison.gallery is not None:
        save(recall_gallery(comparison.gallery), folder / "recall_gallery")
        sections["Recalled patterns"] = _gallery(comparison.gallery)
    if comparison.failed:
        sections["Not finished"] = _failed(comparison.failed)
    sections["How to read this"] = _definitions()
    sections["How it was made"] = _origin(comparison)
    path = folder / "report.html"
    path.write_text(_page(comparison, sections), encoding="utf-8")
    return path


def _record(comparison: Comparison) -> str:
    """The table as Markdown, with all that its numbers depend on."""
    made = "".join(f"- {name}: {value}\n" for name, value in comparison.provenance.items())
    return f"# {comparison.title}\n\n{markdown_table(comparison)}\n## How it was made\n\n{made}"


def _page(comparison: Comparison, sections: dict[str, str]) -> str:
    """The whole page, from its sections: heading -> HTML."""
    body, navigation = "", ""
    for heading, html in sections.items():
        anchor = heading.lower().replace(" ", "-")
        navigation += f'<a href="#{anchor}">{heading}</a> '
        body += f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{heading}</h2>\n{html}</section>\n'
    date = comparison.provenance.get("date", "")
    return page.PAGE.substitute(
        title=escape(comparison.title),
        kicker=escape("A comparison of associative memories" + (f", {date}" if date else "")),
        summary="\n".join(f'<p class="lead">{escape(paragraph)}</p>' for paragraph in summary(comparison)),
        navigation=navigation,
        sections=body,
        style=page.STYLE,
        script=page.SCRIPT,
    )


def _tables(comparison: Comparison) -> str:
    """All numbers; before them the paper's table 1, if several numbers of patterns were tried."""
    tables = [main_table(comparison)]
    if len({result.items for result in comparison.results}) > 1:
        masks = sorted({result.mask_known for result in comparison.results})
        tables = [items_table(comparison, mask_known) for mask_known in masks] + tables
    return "".join(
        _scrolling(f"table-{rank}", f"<b>Table {rank}.</b> {caption}", table)
        for rank, (caption, table) in enumerate(tables, start=1)
    )


def _figures(comparison: Comparison, folder: Path) -> str:
    """The figures that have something to show; they are written to the folder too."""
    several_counts = len({result.items for result in comparison.results}) > 1
    html, rank = "", 0
    if several_counts:
        rank += 1
        figures = [error_against_items(comparison, dark) for dark in (False, True)]
        save(figures[0], folder / "error_against_items")
        html += _figure(rank, _against("the number of stored patterns. Lines are means, bands"), *figures)
    if not several_counts or has_size_sweep(comparison):
        rank += 1
        figures = [error_against_size(comparison, dark) for dark in (False, True)]
        save(figures[0], folder / "error_against_size")
        html += _figure(rank, _against("the size of the state. Points are means, bars"), *figures)
    if any(curve.points for curve in comparison.curves):
        rank += 1
        figures = [learning_curves(comparison.curves, comparison.unit, dark) for dark in (False, True)]
        save(figures[0], folder / "learning_curves")
        write_curves(comparison.curves, folder / "learning_curves.csv")
        html += _figure(rank, "Error on validation episodes while training.", *figures)
    return html


def _against(what: str) -> str:
    return f"Error on corrupted values against {what} reach from the 5th to the 95th percentile of test episodes."


def _figure(rank: int, caption: str, light: Figure, dark: Figure) -> str:
    """A figure that opens large. No inline SVGs: these share ids, and a hidden one would break the other."""
    images = ""
    for theme, figure in (("light", light), ("dark", dark)):
        source = _data(svg(figure).encode(), "svg+xml")
        images += f'<img class="{theme}" src="{source}" alt="{caption} The tables give the same numbers.">'
    narrow = " narrow" if light.get_figwidth() < 8 else ""
    return (
        f'<figure class="plot{narrow}"><figcaption><b>Figure {rank}.</b> {caption} A click enlarges.</figcaption>\n'
        f'<button type="button" class="zoom" aria-label="Enlarge figure {rank}">{images}</button></figure>\n'
    )


def _gallery(gallery: Gallery) -> str:
    """Patterns, queries and answers, each row one picture in its own pixels; the read steps unfold."""
    patterns = f"patterns 1 to {len(gallery.patterns)}"
    rows = _gallery_row("pattern", _strip(gallery.patterns, f"What was stored: {patterns}"))
    rows += _gallery_row("query", _strip(gallery.queries, f"What was asked: {patterns}, distorted"))
    for recall in gallery.recalls:
        html = _strip(recall.trajectory[-1], f"What {recall.label} answered: {patterns}")
        if len(recall.trajectory) > 1:
            steps = ""
            for step in shown_steps(len(recall.trajectory)):
                picture = _strip(recall.trajectory[step], f"{recall.label} after read step {step + 1}: {patterns}")
                steps += f"<li><span>after read step {step + 1}</span>{picture}</li>"
            html += f"<details><summary>step by step</summary><ol>{steps}</ol></details>"
        rows += _gallery_row(recall.label, html)
    caption = (
        "One test episode, or its first patterns: what was stored, what was asked, and what each memory answered."
        " All memories got the same queries."
    )
    return _scrolling("gallery", caption, rows, "gallery")


def _gallery_row(label: str, html: str) -> str:
    return f'<div class="row"><div>{escape(label)}</div><div>{html}</div></div>\n'


def _strip(patterns: np.ndarray, alt: str) -> str:
    """Patterns (items, *shape) side by side, shown at a whole multiple of their size on any screen."""
    pixels = np.round(255 * mosaic(patterns[None])).astype(np.uint8)
    height, width, _ = pixels.shape
    wide, narrow = (max(1, round(cell * len(patterns) / width)) * width for cell in (96, 64))
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG", optimize=True)
    size = f'width="{width}" height="{height}" style="--wide:{wide}px;--narrow:{narrow}px"'
    return f'<img src="{_data(data.getvalue(), "png")}" {size} alt="{escape(alt)}">'


def _scrolling(anchor: str, caption: str, html: str, kind: str = "") -> str:
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
    facts = ""
    for name, value in comparison.provenance.items():
        facts += f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n'
    table = f'<div class="scroll facts"><table><tbody>\n{facts}</tbody></table></div>\n' if facts else ""
    return (
        f"<pre>{escape(comparison.command)}</pre>\n{table}"
        f"<details><summary>configuration</summary><pre>{escape(comparison.config)}</pre></details>\n"
        "<p>Beside this page lie its numbers, results.csv, and its figures as PNG and SVG.</p>\n"
    )


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
