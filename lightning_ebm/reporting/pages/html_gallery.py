"""The report's gallery of recalled patterns, as HTML: strips in their own pixels, with energies below them."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from lightning_ebm.reporting.figures.pictures import mosaic, shown_steps
from lightning_ebm.reporting.record import Gallery, Recall

THUMBNAIL = 128  # pixels of the longer side of an image as it was given


def gallery_rows(gallery: Gallery) -> str:
    """Patterns, queries and answers, each row one picture in its own pixels; the read steps unfold."""
    patterns = f"patterns 1 to {len(gallery.patterns)}"
    rows = _row("pattern", strip(gallery.patterns, f"What was stored: {patterns}"))
    rows += _row("query", strip(gallery.queries, f"What was asked: {patterns}, distorted"))
    for recall in gallery.recalls:
        html = strip(recall.trajectory[-1], f"What {recall.label} answered: {patterns}")
        if len(recall.trajectory) > 1 or recall.energies is not None:
            html += f"<details><summary>step by step</summary><ol>{_steps(gallery, recall)}</ol></details>"
        rows += _row(recall.label, html)
    return rows


def _steps(gallery: Gallery, recall: Recall) -> str:
    """What reading went through; with energies, pattern and query before it, as in figure 2 of the EBMM paper."""
    patterns, html = f"patterns 1 to {len(gallery.patterns)}", ""
    energies = recall.energies
    if energies is not None:
        html += _step("pattern and its energy", strip(gallery.patterns, f"Stored: {patterns}"), energies[0])
        html += _step("query", strip(gallery.queries, f"Asked: {patterns}, distorted"), energies[1])
    for step in shown_steps(len(recall.trajectory)):
        picture = strip(recall.trajectory[step], f"{recall.label} after read step {step + 1}: {patterns}")
        html += _step(f"after read step {step + 1}", picture, None if energies is None else energies[2 + step])
    return html


def walk_row(label: str, original: Image.Image, steps: np.ndarray, energies: np.ndarray | None) -> str:
    """One image of a user's own: as it was given, and below, pattern, query and all read steps side by side.

    Args:
        label: what it is called.
        original: the image.
        steps: pattern, query and each read step, (2 + steps, *shape), values in [0, 1].
        energies: of each of these, (2 + steps,); None without an energy.
    """
    small = original.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    small.save(data, format="PNG", optimize=True)
    size = f'width="{small.width}" height="{small.height}" style="--wide:{small.width}px;--narrow:{small.width}px"'
    given = f'<img src="{data_uri(data.getvalue(), "png")}" {size} alt="{escape(label)}, as it was given">'
    names = ["pattern", "query", *(f"read {step}" for step in range(1, len(steps) - 1))]
    notes = ["".join(f"<i>{name}</i>" for name in names)]
    if energies is not None:
        notes.append("".join(f"<i>{energy:.4g}</i>" for energy in energies))
    walk = strip(steps, f"{label}: what was stored, what was asked, and each read step")
    html = f"<li><span>as given, {original.width}x{original.height} pixels</span>{given}</li>"
    html += "<li><span>stored, damaged, recalled</span>" + walk + "".join(f"<div>{note}</div>" for note in notes)
    return _row(label, f"<ol>{html}</li></ol>")


def _step(name: str, picture: str, energies: np.ndarray | None) -> str:
    below = "" if energies is None else "".join(f"<i>{energy:.4g}</i>" for energy in energies)
    return f"<li><span>{name}</span>{picture}" + (f"<div>{below}</div></li>" if below else "</li>")


def _row(label: str, html: str) -> str:
    return f'<div class="row"><div>{escape(label)}</div><div>{html}</div></div>\n'


def strip(patterns: np.ndarray, alt: str) -> str:
    """Patterns (items, *shape) side by side, shown at a whole multiple of their size on any screen."""
    pixels = np.round(255 * mosaic(patterns[None])).astype(np.uint8)
    height, width, _ = pixels.shape
    wide, narrow = (max(1, round(cell * len(patterns) / width)) * width for cell in (96, 64))
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG", optimize=True)
    size = f'width="{width}" height="{height}" style="--wide:{wide}px;--narrow:{narrow}px"'
    return f'<img src="{data_uri(data.getvalue(), "png")}" {size} alt="{escape(alt)}">'


def data_uri(content: bytes, kind: str) -> str:
    """An image inside a page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
