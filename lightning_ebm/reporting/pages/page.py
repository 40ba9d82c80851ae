"""The fixed parts of the report: frame and script, all inline, so that the page needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from string import Template

from lightning_ebm.reporting.pages.page_style import STYLE

SCRIPT = """
// Tables sort by the clicked column, first ascending, then descending; rows without a value stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const compare = head.classList.contains("word")
      ? (a, b) => a.localeCompare(b, "en", { numeric: true })
      : (a, b) => Number(a) - Number(b);
    const rows = [...table.tBodies[0].rows].sort((above, below) => {
      const [a, b] = [above, below].map((row) => row.cells[column].dataset.value);
      if (a === "" || b === "") return (a === "") - (b === "");
      return ascending ? compare(a, b) : compare(b, a);
    });
    table.tBodies[0].append(...rows);
  }));
}
// Figures open large in a dialog, which Escape, its button, or a click beside it closes.
const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll("button.zoom")) {
  button.addEventListener("click", () => {
    dialog.querySelector("div").replaceChildren(...[...button.children].map((image) => image.cloneNode()));
    dialog.showModal();
  });
}
// A link to a run unfolds its configuration.
function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", unfold);
unfold();
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
"""

# The policy lets a browser load nothing but what is in the file; the empty icon keeps it from asking for one.
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<p class="kicker">$kicker</p>
<h1>$title</h1>
$summary
<nav aria-label="Sections">$navigation</nav>
</header>
<main>
$sections</main>
<dialog aria-label="Enlarged figure"><form method="dialog"><button>Close</button></form><div></div></dialog>
<script>$script</script>
</body>
</html>
""")


def assemble(title: str, kicker: str, lead: Sequence[str], sections: Mapping[str, str], others: str = "") -> str:
    """A whole page.

    Args:
        title: its heading.
        kicker: stands above it.
        lead: paragraphs below it, as text.
        sections: heading -> HTML.
        others: where the page is that this one is listed on; empty if there is none.
    """
    body, navigation = "", f'<a href="{escape(others)}">All reports</a> ' if others else ""
    for rank, (heading, html) in enumerate(sections.items(), start=1):
        anchor = f"section-{rank}"
        navigation += f'<a href="#{anchor}">{escape(heading)}</a> '
        body += f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{escape(heading)}</h2>\n{html}</section>\n'
    return PAGE.substitute(
        title=escape(title),
        kicker=escape(kicker),
        summary="\n".join(f'<p class="lead">{escape(paragraph)}</p>' for paragraph in lead),
        navigation=navigation,
        sections=body,
        style=STYLE,
        script=SCRIPT,
    )


def made_by(command: str) -> str:
    """The command behind a number, for a caption."""
    return f'<span class="made">Made by <code>{escape(command)}</code>.</span>'


HOW_TO_READ = {
    "Episode": (
        "One trial. The memory starts empty and some patterns are written into it; each is then distorted "
        "into a query, and reading has to turn every query back into its pattern."
    ),
    "Error on corrupted values, on all values": (
        "How far the answers are from the patterns, counted on the values that the distortion put in or "
        "on all of them, averaged over the patterns of an episode. What a memory spoils outside of the "
        "distorted part shows only in the second."
    ),
    "Band, in brackets": (
        "From the 5th to the 95th percentile of the test episodes: how much episodes differ, not how sure "
        "the mean is. The bars beside the numbers show it on a scale that starts at 0."
    ),
    "Query itself": "A control that answers with the query, unchanged: the error of doing nothing.",
    "Nothing written": (
        "A control that reads although nothing has been written: what can be guessed from the query and "
        "from what training taught about patterns in general. Only what lies below it is memory."
    ),
    "Mask known, unknown": ("Whether the memory was told which values the distortion put in, or had to find out."),
    "Floats": (
        "Numbers of 32 bits in the written state, through which alone an episode reaches reading. The "
        "strict count, given where it differs from the literature's, adds all else that reading needs for "
        "each episode."
    ),
    "Bits per pattern": (
        "Bits of the written state, as it was kept between writing and reading, divided by the number of stored "
        "patterns."
    ),
    "Recalled exactly": (
        "Share of patterns without a wrong value; of images in grey or colour, without a visible error."
    ),
    "PSNR, SSIM": "Peak signal-to-noise ratio of the answers, and their structural similarity to the patterns.",
    "Write, read": "Median milliseconds to write one episode, and to read all of its queries.",
    "Runs": "Identity of the runs that a row is from, the end of their folders' names; of several seeds, all of them.",
    "Parameters": ("Numbers that meta-training found and that all episodes share. They are not part of the state."),
}
