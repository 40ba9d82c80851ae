import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lightning_ebm.reporting.report import save_strips, write_report
from tests.experiments import fakes
from tests.tables import rows_of

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # a memory diverged
FIGURES = ("error_against_size", "recall_gallery", "read_path_ebmm", "read_path_script-alert-1-script-co")
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Checks the nesting while reading; collects rows, images, ids and the text by element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.tables: list[list[list[tuple[str | None, str]]]] = []
        self.feed(html)
        self.close()
        assert self.stack == [], f"left open: {self.stack}"

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute twice in {tag}"
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append((attributes.get("data-value"), ""))

    def handle_endtag(self, tag):
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.stack:
            self.texts[self.stack[-1]] = self.texts.get(self.stack[-1], "") + data
        if "td" in self.stack or "th" in self.stack:
            value, text = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = (value, text + data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def report(folder, results, pictures=None) -> tuple[Page, str]:
    path = write_report(fakes.comparison(results, pictures), folder)
    html = path.read_text(encoding="utf-8")
    return Page(html), html


@pytest.fixture(scope="module")
def one_setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "made" / "here"
    return (*report(folder, fakes.sizes(), fakes.gallery(1)), folder)


@pytest.fixture(scope="module")
def several_settings(tmp_path_factory):
    return report(tmp_path_factory.mktemp("report"), fakes.counts(), fakes.gallery(3))


def test_the_folder_holds_page_numbers_and_figures(one_setting):
    *_, folder = one_setting
    files = {"report.html", "results.csv", "table.md", "config.yaml"}
    files |= {f"{name}.png" for name in FIGURES}
    assert {path.name for path in folder.iterdir()} == files
    assert all(path.stat().st_size > 20 for path in folder.iterdir())
    assert len(rows_of(folder / "results.csv")) == len(fakes.sizes())


def test_the_page_needs_nothing_from_outside(one_setting, several_settings):
    for page, html, *_ in (one_setting, several_settings):
        assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[\w+/=]+|\n// [^\n]*", "", html))
        for attributes in [*page.all("img"), *page.all("link")]:
            source = attributes.get("src") or attributes.get("href")
            assert source is not None and source.startswith("data:")
        assert all(not attributes.get("src") for attributes in page.all("script"))
        assert all(str(attributes["href"]).startswith("#") for attributes in page.all("a"))
        policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'")


def test_text_from_data_is_never_markup(one_setting):
    page, html, _ = one_setting
    assert len(page.all("script")) == 1 and html.count("<script>") == 1
    assert page.texts["h1"] == f"Fakes {fakes.NASTY}"
    assert fakes.NASTY in page.texts["pre"] and f"value {fakes.NASTY}" in page.texts["td"]
    assert any(fakes.NASTY in str(image["alt"]) for image in page.all("img"))
    assert "wrong <bits> of 128" in page.texts["figcaption"]


def test_ids_are_unique_and_every_reference_has_its_target(one_setting, several_settings):
    for page, *_ in (one_setting, several_settings):
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        wanted = [str(a["href"])[1:] for a in page.all("a")]
        wanted += [str(a["aria-labelledby"]) for _, a in page.elements if "aria-labelledby" in a]
        assert set(wanted) <= set(ids)


def test_the_table_holds_the_numbers(one_setting):
    page, *_ = one_setting
    results = fakes.sizes()
    head, *rows = page.tables[0]
    assert len(rows) == len(results) and {len(row) for row in rows} == {len(head)}
    names = [text.replace("\n", " ") for _, text in head]
    for row, result in zip(rows, results, strict=True):
        cells = dict(zip(names, row, strict=True))
        assert cells["memory"] == (result.label, result.label)
        value, text = cells["error on corrupted values"]
        if result.label == "Diverged":
            assert (value, text) == ("", "not finite")
            continue
        low, high = np.percentile(result.error_corrupted, [5, 95])
        assert float(value) == pytest.approx(np.mean(result.error_corrupted), rel=1e-12)
        assert re.fullmatch(rf"{np.mean(result.error_corrupted):.2f}\s*\[{low:.2f}, {high:.2f}\]", text)
        assert float(cells["error on all values"][0]) == pytest.approx(np.mean(result.error), rel=1e-12)
        if result.memory == "control":
            assert cells["floats"] == ("", "—") and cells["bits per pattern"] == ("", "—")
        else:
            assert cells["floats"][0] == str(result.floats)
            assert float(cells["bits per pattern"][0]) == 2 * result.floats
            assert ("strict 2,064" in cells["floats"][1]) == (result.floats_strict == 2064)
        assert float(cells["write ms"][0]) == result.write_ms
        assert int(cells["parameters"][0]) == result.parameters
    best = [attributes for attributes in page.all("td") if attributes.get("class") == "best"]
    assert [float(cell["data-value"]) for cell in best] == [pytest.approx(2.0)]


def test_headings_sort_by_keyboard_too(one_setting, several_settings):
    for page, html, *_ in (one_setting, several_settings):
        tables = [table for table in page.all("table") if table.get("class") == "sortable"]
        heads = [attributes for attributes in page.all("th") if attributes.get("scope") == "col"]
        buttons = [b for b in page.all("button") if not b.get("class") and b.get("type") == "button"]
        assert len(tables) >= 1 and len(heads) == len(buttons)
        assert html.count('<th scope="col"') == len(re.findall(r'<th scope="col"[^>]*><button type="button">', html))
        assert "aria-sort" in html


def test_several_settings_have_a_table_for_each_mask_and_one_of_everything(several_settings):
    page, _ = several_settings
    unknown, known, everything = page.tables[:3]
    for table in (unknown, known):
        assert [text for _, text in table[0]] == ["memory", "16", "32", "runs"]
        ebmm = next(row for row in table if row[0][1] == "EBMM")
        assert [float(value) for value, _ in ebmm[1:3]] == [pytest.approx(1.0), pytest.approx(6.0)]
    assert len(everything) == 1 + len(fakes.counts())
    assert [text for _, text in everything[0]][1:3] == ["patterns", "mask"]
    assert len([image for image in page.all("img") if image.get("class") == "dark"]) == 1


def test_figures_come_light_and_dark_and_can_be_enlarged(one_setting):
    page, html, _ = one_setting
    figures = {str(image["class"]): str(image["src"]) for image in page.all("img") if image.get("class")}
    assert set(figures) == {"light", "dark"}
    light, dark = (base64.b64decode(figures[theme].partition(",")[2]).decode() for theme in ("light", "dark"))
    assert "#ffffff" in light and "#15171b" in dark and "font-family: system-ui" in light
    assert "<dialog" in html and 'class="zoom" aria-label="Enlarge figure 1"' in html


@pytest.mark.parametrize("channels", [1, 3])
def test_gallery_pictures_are_exact_pixels(one_setting, several_settings, channels):
    page = (one_setting if channels == 1 else several_settings)[0]
    gallery = fakes.gallery(channels)
    strips = [image for image in page.all("img") if str(image["src"]).startswith("data:image/png")]
    assert len(strips) == 2 + len(gallery) * (1 + 4)
    assert all(image["alt"] for image in page.all("img"))
    first = gallery["EBMM"]
    shown = [first.patterns, first.queries, first.trajectory[-1], *first.trajectory]
    for image, values in zip(strips, shown, strict=False):
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(str(image["src"]).partition(",")[2]))))
        assert (str(pixels.shape[1]), str(pixels.shape[0])) == (image["width"], image["height"])
        for item in range(3):
            tile = pixels[:, item * 34 : item * 34 + 32, :3]
            expected = np.broadcast_to(np.moveaxis(values[item], 0, -1), (32, 32, 3))
            np.testing.assert_array_equal(tile, np.round(255 * expected))
        for size in re.findall(r"(\d+)px", str(image["style"])):
            assert int(size) % pixels.shape[1] == 0  # whole multiples: no pixel is wider than another


def test_origin_and_definitions_are_there(one_setting):
    page, html, _ = one_setting
    for word in ("Episode", "Prior state", "Query itself", "Mask known, unknown", "Floats"):
        assert word in page.texts["dt"]
    assert "2026-01-02" in page.texts["p"] and "prefers-color-scheme: dark" in html and "@media print" in html


def test_a_report_without_gallery_or_memories(tmp_path):
    page, html = report(tmp_path, fakes.controls())
    assert "No memory was compared." in page.texts["p"] and "Recalled patterns" not in html
    assert not (tmp_path / "recall_gallery.png").exists()


def test_labels_that_are_long_or_alike_have_files_of_their_own(tmp_path):
    recall = fakes.gallery(1)["EBMM"]
    save_strips(dict.fromkeys(("a b", "A-b", "x" * 300), recall), tmp_path)
    names = {path.stem for path in tmp_path.iterdir()}
    assert names == {"recall_gallery", "read_path_a-b", "read_path_a-b-1", "read_path_" + "x" * 80}


def test_rows_lead_to_the_configuration_of_their_runs(tmp_path):
    results = [dataclasses.replace(result, cell="ebmm-0123abcd ebmm-<b>") for result in fakes.sizes()]
    runs = {"ebmm-0123abcd": "seed: 0", "ebmm-<b>": "seed: 1"}
    made = dataclasses.replace(fakes.comparison(results), runs=runs)
    page = Page(write_report(made, tmp_path).read_text(encoding="utf-8"))
    links = [str(a["href"]) for a in page.all("a") if str(a["href"]).startswith("#run-")]
    assert links == ["#run-ebmm-0123abcd", "#run-ebmm-<b>"] * (len(results) - 1)  # the query itself has none
    assert {details.get("id") for details in page.all("details")} == {link[1:] for link in links}
    assert "0123abcd" in page.texts["code"] and "seed: 1" in page.texts["pre"]
    assert page.texts["code"].count(f"lightning-ebm compare {fakes.NASTY}") == 2  # below the table and the figure
