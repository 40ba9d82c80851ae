"""The page that lists the reports of a comparison with several variations of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import count
from pathlib import Path

from lightning_ebm.reporting.pages import page
from lightning_ebm.reporting.pages.findings import Finding
from lightning_ebm.reporting.pages.report import analyses_sections
from lightning_ebm.reporting.pages.summary import summary
from lightning_ebm.reporting.record import Comparison


def write_index(
    reports: Mapping[str, tuple[Path, Comparison]],
    missing: Sequence[str],
    folder: Path,
    findings: Sequence[Finding] = (),
) -> Path:
    """Writes index.html.

    Args:
        reports: variation -> its report, in a folder below this one, and what it reports; at least one.
        missing: variations of which nothing was finished.
        folder: where to; it is there.
        findings: analyses of the same memories.

    Returns:
        The path of the page.
    """
    comparisons = [comparison for _, comparison in reports.values()]
    entries = ""
    for variation, (path, comparison) in reports.items():
        link = f'<a href="{escape(path.relative_to(folder).as_posix())}">{escape(variation)}</a>'
        failed = f" Not finished: {escape(', '.join(comparison.failed))}." if comparison.failed else ""
        found = " ".join(summary(comparison))
        entries += f"<dt>{link}</dt><dd>{escape(found)}{failed}</dd>\n"
    entries += "".join(f"<dt>{escape(name)}</dt><dd>Nothing was finished.</dd>\n" for name in missing)
    sections = {"Reports": f"<dl>{entries}</dl>\n"}
    sections |= analyses_sections(findings, count(1))
    sections["How it was made"] = (
        f"<pre>{escape(comparisons[0].command)}</pre>\n"
        "<p>Beside this page lies cells.csv, with the numbers of every run of every report.</p>\n"
    )
    title = f"Associative memories on {len(reports) + len(missing)} variations of a task"
    date = comparisons[0].provenance.get("date", "")
    html = page.assemble(title, "A comparison of associative memories" + (f", {date}" if date else ""), [], sections)
    path = folder / "index.html"
    path.write_text(html, encoding="utf-8")
    return path
