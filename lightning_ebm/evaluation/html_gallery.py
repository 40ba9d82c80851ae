"""The report's gallery of recalled patterns, as HTML: strips in their own pixels, with energies below them."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from lightning_ebm.evaluation.pictures import mosaic, shown_steps
from lightning_ebm.evaluation.results import Gallery, Recall


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
