"""The page of `lightning-ebm recall`: a user's images, what was stored, asked and recalled, and numbers."""

from __future__ import annotations

import csv
import sys
from html import escape
from pathlib import Path

from lightning_ebm.experiments.recall import Recalled
from lightning_ebm.experiments.reproduce import published
from lightning_ebm.pretrained import Pretrained
from lightning_ebm.reporting.figures.style import save
from lightning_ebm.reporting.pages import page
from lightning_ebm.reporting.pages.html_gallery import walk_row
from lightning_ebm.reporting.pages.html_tables import plain_table
from lightning_ebm.reporting.pages.report import facts, scrolling
from lightning_ebm.reporting.record import CONTROL
from lightning_ebm.reporting.tables import mean


def write_recall(saved: Pretrained, found: Recalled) -> Path:
    """Writes report.html, one page that needs no network, and beside it table.csv and the pictures.

    Returns:
        The path of the page, `<output>/recall-<name>/report.html`.
    """
    folder = Path(found.config.output) / f"recall-{saved.name}"
    folder.mkdir(parents=True, exist_ok=True)
    answer, made = found.answer, page.made_by(command())
    texts = [[f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in answer.rows]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([answer.columns, *texts])
    save(answer.figure(False), folder / "recall")
    images = "".join(
        walk_row(label, image, found.steps[:, place], None if found.energies is None else found.energies[:, place])
        for place, (label, image) in enumerate(found.images.items())
    )
    caption = "Each image as it was given; below, what was stored, the damaged copy, and every read step."
    if found.energies is not None:
        caption += " Numbers are energies: what is stored should lie lower than the damaged copy."
    sections = {
        "Recalled images": scrolling("images", f"{caption} {made}", images, "gallery"),
        "In numbers": scrolling("numbers", f"{escape(answer.caption)} {made}", plain_table(answer.columns, texts)),
        "How it was made": origin(saved),
    }
    path = folder / "report.html"
    html = page.assemble(answer.title, "Recall from a pretrained memory", [answer.caption, *known(saved)], sections)
    path.write_text(html, encoding="utf-8")
    return path


def known(saved: Pretrained) -> list[str]:
    """What the memory is published with, in a sentence for each test setting."""
    return [
        f"On its own test episodes, {result.items} patterns of {result.data} damaged by {result.distortion}, the memory"
        f" is published with a mean error of {mean(result):.4g} on corrupted values and {mean(result, 'error'):.4g} on"
        " all values of a pattern."
        for result in published(saved)
        if result.memory != CONTROL
    ]


def origin(saved: Pretrained) -> str:
    """The command, and what made the memory."""
    made = {str(fact): str(value) for fact, value in saved.made.items()}
    configuration = f"<details><summary>configuration</summary><pre>{escape(saved.config)}</pre></details>"
    return f"<pre>{escape(command())}</pre>\n{facts(made)}{configuration}\n"


def command() -> str:
    """The command line."""
    return " ".join(["lightning-ebm", *sys.argv[1:]])
