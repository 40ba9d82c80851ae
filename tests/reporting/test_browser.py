"""The report's pages in a browser. To look at them: pytest tests/reporting/test_browser.py --basetemp=FOLDER"""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from lightning_ebm.reporting.figures.errors import error_lines
from lightning_ebm.reporting.figures.style import svg
from lightning_ebm.reporting.published import published
from lightning_ebm.reporting.report import Finding, write_index, write_report
from lightning_ebm.reporting.table import plain_table
from tests.experiments import fakes
from tests.reporting.browser import Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs the commands chromium and chromedriver, on Debian: apt-get install chromium chromium-driver",
    ),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),  # a memory diverged
]
VALUES = "return [...document.querySelectorAll('table')[arguments[0]].tBodies[0].rows].map(r => r.cells[{}].{})"


def full(results, name):
    """A comparison with everything that a report can show."""
    made = fakes.comparison([dataclasses.replace(r, cell="ebmm-0123abcd ebmm-4567cdef") for r in results])
    gallery = fakes.gallery(1, items=4)
    energies = np.random.default_rng(0).normal(size=(2 + len(gallery["EBMM"].trajectory), 4)) * 1000
    gallery["EBMM"] = gallery["EBMM"]._replace(energies=energies)
    curves = {"EBMM": [(100, 1.0, 30.0), (200, 2.0, 10.0), (300, 3.0, 4.0)]}
    return dataclasses.replace(
        made, title="Associative memories on fakes", gallery=gallery, curves=curves, published=published(name),
        runs={"ebmm-0123abcd": "name: ebmm\n" * 40}, failed={"Storkey": "ran out of memory"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages by name: with sizes, with numbers of patterns, and the index of the two."""
    folder = tmp_path_factory.mktemp("pages")
    lines = {"EBMM": [(16.0, 1.0, 0.5, 2.0), (32.0, 2.0, 1.0, 4.0)]}
    rows = [["EBMM", "16", "1"], ["MANN", "32", "12.5"], ["EBMM", "32", ""]]
    columns = ["memory", "patterns", "error"]
    table = plain_table("More patterns", "Error.", columns, rows)
    finding = Finding(folder, table, "lightning-ebm analyse", svg(error_lines(lines, "patterns", "wrong bits")))
    sizes, counts = full(fakes.sizes(), "figure3-omniglot"), full(fakes.counts(), "table1")
    counts = dataclasses.replace(counts, curves={}, gallery={})
    made = {
        "sizes": write_report(sizes, folder / "sizes", [finding]),
        "counts": write_report(counts, folder / "counts-more", others="../index.html"),
    }
    return made | {"index": write_index({"sizes": sizes, "counts & more": counts}, ["<lost>"], folder, [finding])}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(params=["sizes", "counts", "index"])
def page(request, pages, browser):
    """Each page, at 1200 pixels on white; a script error or request of any test on it fails that test."""
    for kind in ("browser", "performance"):
        browser.log(kind)
    browser.look()
    browser.open(pages[request.param])
    yield request.param
    assert browser.log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert urls and all(url.startswith(("file:", "data:")) for url in urls)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_image_loads_in_the_theme_that_is_asked_for(page, browser, pages, theme):
    browser.look(theme=theme)
    images = browser.run(
        "return Promise.all([...document.images].map(async (i) => { await i.decode();"
        " return [i.className, i.naturalWidth, i.checkVisibility() || !!i.closest('details:not([open])')] }))"
    )
    assert images and all(width > 0 for _, width, _ in images)
    seen = {kind: visible for kind, _, visible in images if kind}
    assert seen == {"light": theme == "light", "dark": theme == "dark"}
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 23, 27)"}[theme]
    browser.screenshot(pages[page].parent / f"{page}-{theme}.png")


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_does_not_scroll_sideways(page, browser, pages, width):
    browser.look(width=width)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    browser.screenshot(pages[page].parent / f"{page}-{width}.png")


def test_tables_sort_by_mouse_and_by_keyboard(page, browser):
    tables = browser.run("return [...document.querySelectorAll('table.sortable')].map(t => t.rows[0].cells.length)")
    all_tables = browser.run("return [...document.querySelectorAll('table')].map(t => t.className)")
    places = [place for place, kind in enumerate(all_tables) if kind == "sortable"]
    assert tables
    for table, columns in zip(places, tables, strict=True):
        for column in range(columns):
            focus = (
                "const head = document.querySelectorAll('table')[arguments[0]].rows[0].cells[arguments[1]];"
                "document.querySelectorAll('[data-now]').forEach(b => b.removeAttribute('data-now'));"
                "const button = head.querySelector('button'); button.dataset.now = 1; button.focus();"
                "return head.classList.contains('word')"
            )
            is_word = browser.run(focus, table, column)
            read = VALUES.format(column, "dataset.value")
            direction = "return document.querySelector('[data-now]').parentElement.ariaSort"
            before = browser.run(read, table)
            browser.press("Enter") if column % 2 else browser.click("[data-now]")
            assert browser.becomes(direction, "ascending")
            ascending = browser.run(read, table)
            browser.press("Space")
            assert browser.becomes(direction, "descending")
            descending = browser.run(read, table)
            assert sorted(before) == sorted(ascending) == sorted(descending)
            for values, step in ((ascending, 1), (descending, -1)):
                known = [value for value in values if value != ""]
                assert values[len(known) :] == [""] * (len(values) - len(known))  # none, or not finite: last
                if not is_word:
                    numbers = [float(value) for value in known][::step]
                    assert numbers == sorted(numbers)
            if is_word and column == 0:
                first = [value for value in ascending if value in ("EBMM", "MANN", "query itself")]
                assert first == sorted(first)


@pytest.mark.parametrize("opener", ["Enter", "Space", "mouse"])
def test_figures_enlarge_and_close(page, browser, opener):
    figures = browser.run("return document.querySelectorAll('button.zoom').length")
    assert figures
    is_open = "return document.querySelector('dialog').open"
    for rank in range(figures):
        browser.run(
            "document.querySelectorAll('#now').forEach(b => b.removeAttribute('id'));"
            "const b = document.querySelectorAll('button.zoom')[arguments[0]]; b.id = 'now'; b.focus()",
            rank,
        )
        width = browser.run("return document.querySelector('#now img.light').clientWidth")
        browser.click("#now") if opener == "mouse" else browser.press(opener)
        assert browser.becomes(is_open)
        widths = "return [...document.querySelectorAll('dialog img')].map(i => [i.className, i.clientWidth])"
        shown = dict(browser.run(widths))
        assert shown["light"] > width > 0 and shown["dark"] == 0
        browser.click("dialog form button") if opener == "mouse" else browser.press("Escape")
        assert browser.becomes(is_open, False)
        assert browser.becomes("return document.activeElement.id", "now")  # where the reader was


def test_runs_lead_to_their_configuration(browser, pages):
    browser.look()
    browser.open(pages["sizes"])
    browser.click("td.word a")
    assert browser.becomes("return document.getElementById('run-ebmm-0123abcd').open")
    browser.open(pages["index"])
    browser.click("dt a")
    assert browser.becomes("return document.title", "Associative memories on fakes")
    browser.open(pages["counts"])
    browser.click("nav a")
    assert browser.becomes("return document.title.includes('3 variations')")


@pytest.mark.parametrize("page", ["sizes", "counts", "index"])
def test_it_prints_without_scrolling_boxes_and_light(page, browser, pages):
    browser.look(width=703, theme="dark", media="print")  # of A4, less the margins
    browser.open(pages[page])
    assert browser.run("return document.documentElement.scrollWidth") <= 703
    boxes = "return [...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e).overflowY)"
    assert set(browser.run(boxes)) == {"visible"}
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("return document.querySelector('img.light').checkVisibility()")
