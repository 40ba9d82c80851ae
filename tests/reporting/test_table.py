import contextlib
import html
import io
import os
import re
import shutil
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from rich.console import Console

from lightning_ebm.reporting import table as tables
from lightning_ebm.reporting.comparison_tables import items_table, main_table, terminal_tables
from lightning_ebm.reporting.figures import errors, style
from lightning_ebm.reporting.table import Cell, Column, Row, Table, plain_table, words
from lightning_ebm.reporting.terminal import print_in_any_encoding, terminal
from tests.experiments import fakes
from tests.reporting.test_report import Page

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # a memory diverged

LABELS = (
    "EBMM [/no mask]", "[bold]", "[link=x]y[/link]", ":smile:", "<b>bold</b>", "a | b", "$x_1$", "100 %", "back\\slash",
    "*stars*", "~~struck~~", "# head", "&amp;", "{brace}", "^", '"quoted"', "_hidden", "ångström 記憶", "`code`",
)  # fmt: skip


def printed(table: Table, width: int = 200, **settings) -> str:
    """What a terminal of that width shows."""
    console = Console(width=width, file=io.StringIO(), force_terminal=False, color_system=None, **settings)
    console.print(table)
    return console.file.getvalue()


def labelled() -> Table:
    rows = [Row([words(label), Cell("1.0", 1.0, best=rank == 0)]) for rank, label in enumerate(LABELS)]
    return Table("title [/red] $t$", "caption [bold] <i> | %", [Column("memory", "left"), Column("error")], rows)


def test_labels_are_text_in_a_terminal():
    shown = printed(labelled())
    assert all(label in shown for label in LABELS) and "title [/red] $t$" in shown and "caption [bold] <i>" in shown
    console = terminal(file=io.StringIO())
    console.print(LABELS[0], ":smile:", "[bold]")  # lines about a row
    assert console.file.getvalue() == f"{LABELS[0]} :smile: [bold]\n"


def test_control_codes_are_shown_and_not_obeyed():
    shown = printed(plain_table("\x1b]0;title\x07", "", ["memory"], [["\x1b[31mred\r\x08\u202eright to left"]]))
    assert "?[31mred" in shown and not set(shown) & set("\x1b\x07\r\x08\u202e")


def test_labels_are_text_in_html():
    page = Page(str(labelled().html()))
    assert [row[0] for row in page.tables[0][1:]] == [(label, label) for label in LABELS]
    assert {tag for tag, _ in page.elements} == {"table", "thead", "tbody", "tr", "th", "td", "button"}


def test_labels_are_text_in_markdown():
    lines_of = labelled().markdown().splitlines()
    for label, line in zip(LABELS, lines_of[4:], strict=True):
        cells = re.split(r"(?<!\\)\|", line.strip("|"))
        assert len(cells) == 2  # no bar of a label is a border
        assert not re.search(r"(?<!\\)[*_`\[\]$~]", cells[0]) and "<" not in cells[0]
        plain = re.sub(r"\\(.)", r"\1", cells[0]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        assert plain.strip() == label
    assert "**1.0**" in lines_of[4]


LATEX = {
    "50 % & $x_1^2$ #{a}~\\b\n<c>": "50 \\% \\& \\$x\\_1\\textasciicircum{}2\\$ \\#\\{a\\}\\textasciitilde{}"
    "\\textbackslash{}b \\textless{}c\\textgreater{}",
    "[2pt] a": "{[}2pt{]} a",  # behind \\, a bracket would be a length
    "1 ± 2 | — ∞": "1 $\\pm$ 2 \\textbar{} --- $\\infty$",
}


def test_labels_are_text_in_latex():
    for text, expected in LATEX.items():
        assert tables.escaped_latex(text) == expected
    text = labelled().latex()
    for opening, closing in ("{}", "[]"):
        bare = re.sub(r"\\.", "", text)
        assert bare.count(opening) == bare.count(closing)
    assert "\\textbf{1.0}" in text and text.count("\\\\\n") == 1 + len(LABELS)
    assert text.count("&") - text.count("\\&") == 1 + len(LABELS)  # columns


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs the command pdflatex")
def test_latex_compiles(tmp_path):
    packages = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,textcomp}\\begin{document}"
    text = labelled().latex().replace("ångström 記憶", "")
    (tmp_path / "a.tex").write_text(f"{packages}\n{text}\\end{{document}}\n", encoding="utf-8")
    subprocess.run(["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_labels_are_text_in_figures():
    results = [fakes.result(label, f"m{rank}", 1.0 + rank) for rank, label in enumerate(LABELS)]
    results = [*results, fakes.result("a | b, x", "m", 2.0, items=32)]
    made = fakes.comparison(results)
    for figure in (
        errors.error_against_size(made),
        errors.error_against_items(made),
        errors.error_lines({label: [(1.0, 1.0, 0.0, 2.0)] for label in LABELS}, "$x$", "$u$"),
        errors.error_bars({label: [("$k$", 1.0, 0.0, 2.0)] for label in LABELS}, "$u$"),
    ):
        drawn = figure.findobj(matplotlib.text.Text)
        assert set(LABELS) <= {text.get_text() for text in drawn}
        assert not any(text.get_parse_math() for text in drawn if text.get_text())
        shown = html.unescape("".join(re.findall(r">([^<]*)<", style.svg(figure))))
        assert all(label in shown for label in LABELS)


NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|not finite|∞")


def all_tables() -> dict[str, Table]:
    """Every kind of table that is printed, with every kind of number."""
    big = [
        fakes.result("Big", "big", 123456.789, 9_876_543_210, floats_strict=9_876_543_211, write_ms=1e6, read_ms=1e-5)
    ]
    sizes, counts = fakes.comparison([*fakes.sizes(), *big]), fakes.comparison(fakes.counts())
    seeds = fakes.comparison([fakes.result("EBMM", "ebmm", 2.0, seeds=4), *fakes.controls()])
    rows = [["a long name of a memory, with a variation", 1.5, 12345678, "3.25"], ["b", float("nan"), -7, ""]]
    made = {
        "sizes": main_table(sizes, brief=True),
        "all": main_table(fakes.comparison(fakes.counts()[3:15])),
        "seeds": main_table(seeds, brief=True),
        "items": items_table(counts, True),
        "analysis": plain_table("t", "c", ["memory", "x", "count", "text"], rows),
    }
    return made | {f"terminal {rank}": table for rank, table in enumerate(terminal_tables(counts))}


@pytest.mark.parametrize("name", all_tables())
def test_no_number_is_ever_cut(name):
    table = all_tables()[name]
    expected = sorted(
        number for row in table.rows for cell in row.cells[1:] for number in NUMBER.findall(f"{cell.text} {cell.note}")
    )
    bare = Table("", "", [Column(re.sub(r"\d", "#", c.head), c.align) for c in table.columns], table.rows)
    labels = [re.compile(re.escape(row.cells[0].text)) for row in table.rows]
    for width in (*range(20, 100), *range(100, 201, 10)):
        shown = printed(bare, width)
        assert max(map(tables.cell_len, shown.splitlines())) <= width
        found = sorted(NUMBER.findall(re.sub(r"not\s+finite", "not finite", shown)))
        missing = list(expected)
        for number in found:
            with contextlib.suppress(ValueError):
                missing.remove(number)
        assert missing == [], (width, missing, shown)
    assert all(label.search(shown) for label in labels)  # the widest one folds none


def test_a_file_gets_whole_lines_whatever_its_width():
    console = terminal(file=io.StringIO())
    console.print(main_table(fakes.comparison(fakes.counts())))
    line = next(line for line in console.file.getvalue().splitlines() if line.startswith("EBMM "))
    assert len(line) > 150 and line.split()[:5] == ["EBMM", "16", "unknown", "1.00", "1.50"]
    console.print("word " * 100)
    assert console.file.getvalue().splitlines()[-1].count("word") == 100


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_an_encoding_that_lacks_a_character_stops_nothing(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    print_in_any_encoding()
    console = terminal()
    console.print(plain_table("±—“記”", "∞…", ["memory"], [["± — 記憶"]]))
    stream.flush()
    shown = stream.buffer.getvalue().decode(encoding)
    assert {"ascii": "+- - ??", "latin-1": "± - ??", "cp1252": "± — ??", "utf-8": "± — 記憶"}[encoding] in shown


def test_figures_need_no_backend():
    code = (
        "import os, sys; from lightning_ebm.reporting.figures.errors import error_lines;"
        "from lightning_ebm.reporting.figures.style import svg;"
        "assert '<svg' in svg(error_lines({'a': [(1, 1, 0, 2)]}, 'x', 'u'));"
        "assert 'matplotlib.pyplot' not in sys.modules and os.environ['MPLBACKEND'] == 'broken'"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "MPLBACKEND": "broken"}, check=True)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "—"), (0.01234, "0.0123"), (1.2, "1.20"), (12.34, "12.3"), (123456, "123,456"), (np.inf, "not finite")],
)
def test_three_digits(value, shown):
    assert tables.three_digits(value) == shown


def test_decimals_are_those_of_the_largest():
    assert tables.decimals([2.0, 48.0, np.inf, np.nan]) == 2
    assert tables.decimals([0.004, 0.006]) == 6 and tables.decimals([0.0]) == 2 and tables.decimals([]) == 2


def test_text_of_numbers_sorts_as_numbers():
    table = plain_table("", "", ["memory", "n", "error", "word"], [["7", "262144", "0.123456", "x"], ["b", 2, "", "1"]])
    assert [column.align for column in table.columns] == ["left", "right", "right", "left"]
    assert [cell.text for cell in table.rows[0].cells] == ["7", "262144", "0.1235", "x"]
    assert [cell.key for cell in table.rows[1].cells] == ["b", "2.0", "", "1"]
    assert plain_table("", "", ["memory"], []).markdown() == "| memory |\n| --- |\n"
