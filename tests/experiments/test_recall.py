"""A user's own images in a pretrained memory: what is shown and counted is what was recalled."""

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from lightning_ebm import pretrained
from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError
from lightning_ebm.data.episodes import DataError
from lightning_ebm.experiments.recall import DRAWINGS, PHOTOGRAPHS, default_memory, recall
from tests.experiments.fakes import NASTY
from tests.reporting.test_report import Page
from tests.tables import rows_of
from tests.test_pretrained import tiny

NAME = "glyphs-4096"  # its data need no files


def draw(path, kind):
    image = Image.new("RGB", (200, 300), "white")
    pen = ImageDraw.Draw(image)
    shapes = {"ring": pen.ellipse, "box": pen.rectangle, "tilt": pen.line}
    shapes[kind]((50, 100, 150, 200), **({"fill": "black"} if kind == "tilt" else {"outline": "black"}), width=14)
    image.save(path)
    return path


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    names = {"ring": "ring.png", "box": "box.jpg", "tilt": "a <b> & c.png"}
    return [draw(folder / name, kind) for kind, name in names.items()]


@pytest.fixture(scope="module")
def reported(drawings, tmp_path_factory):
    """The folder that the verb writes."""
    folder = tmp_path_factory.mktemp("recall")
    files = [str(path) for path in drawings]
    assert main(["recall", "--memory", NAME, *files, "distortion.size=10", f"output={folder}"]) == 0
    return only(folder, NAME)


def only(folder, name):
    """The one report of a memory."""
    (found,) = folder.glob(f"recall-{name}-*")
    return found


def strips(page):
    """Tiles of each picture of the page that is a walk: (images, 2 + steps, 32, 32)."""
    found = []
    for image in page.all("img"):
        if "was stored" in str(image["alt"]):
            data = base64.b64decode(str(image["src"]).partition(",")[2])
            pixels = np.array(Image.open(io.BytesIO(data)))[:, :, 0]
            found.append([pixels[:, place : place + 32] for place in range(0, pixels.shape[1], 34)])
    return np.array(found)


def test_the_numbers_are_those_of_the_pictures(reported):
    page = Page((reported / "report.html").read_text(encoding="utf-8"))
    shown = strips(page)
    assert shown.shape == (3, 2 + 5, 32, 32)
    pattern, query, answer = shown[:, 0] > 127, shown[:, 1] > 127, shown[:, -1] > 127
    table = rows_of(reported / "table.csv")
    assert [row["image"] for row in table] == ["1. ring.png", "2. box.jpg", "3. a <b> & c.png"]
    for place, row in enumerate(table):
        assert float(row["error of the query"]) == (pattern[place] != query[place]).sum()
        assert float(row["error on all values"]) == (pattern[place] != answer[place]).sum()
        assert float(row["error on corrupted values"]) <= float(row["error on all values"])
        assert float(row["energy of the pattern"]) < float(row["of the query"])  # it is remembered
        assert 0.03 < pattern[place].mean() < 0.3  # ink, on paper
        damaged = np.argwhere(pattern[place] != query[place])
        assert (np.ptp(damaged, axis=0) < 10).all() and len(damaged) > 20  # a block of 10x10
    assert (pattern != answer).sum() < (pattern != query).sum() / 2  # it recalls


def test_the_page_is_whole_and_needs_nothing_from_outside(reported):
    html = (reported / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[\w+/=]+|\n// [^\n]*", "", html))
    assert "<b>" not in html and page.texts["h1"] == f"What {NAME} recalls of 3 images"
    assert len(page.all("img")) == 2 * 3 and "as given, 200x300 pixels" in page.texts["span"]
    assert "together with 13 patterns of glyphs (size 32, hands 8, augment False)" in page.texts["p"]
    assert page.tables[0][0][0][1] == "image" and len(page.tables[0]) == 1 + 3
    for text in page.texts["i"], html:
        assert all(f"read {step}" in text for step in range(1, 6))
    assert {path.name for path in reported.iterdir()} == {"report.html", "table.csv", "recall.png"}


def test_steps_of_the_table_are_those_of_the_memory(drawings):
    """The verb's numbers against the memory itself, written and read here."""
    found = recall(pretrained.read(NAME), drawings, ["seed=3"])
    alone = recall(pretrained.read(NAME), drawings, ["seed=3", "company="])
    memory = pretrained.load(NAME)
    patterns, queries = (torch.from_numpy(alone.steps[row])[None] for row in (0, 1))
    with torch.no_grad():
        state = memory.write(patterns)
        trajectory = memory.read(state, queries)
        energy = memory.energy(state, trajectory[-1])
    np.testing.assert_allclose(alone.steps[2:], trajectory[:, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(alone.energies[-1], energy[0].numpy(), rtol=1e-3)
    assert "together with" in found.answer.caption and "together with" not in alone.answer.caption
    assert not np.array_equal(found.steps[2:], alone.steps[2:])


def test_settings_do_what_they_say(drawings):
    saved = pretrained.read(NAME)
    one, again = (recall(saved, drawings, ["seed=1"]).steps for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[1], recall(saved, drawings, ["seed=2"]).steps[1])
    inverted = recall(saved, drawings, ["seed=1", "invert=true"]).steps
    np.testing.assert_array_equal(inverted[0], 1 - one[0])
    told = recall(saved, drawings, ["seed=1", "mask=known"])
    kept = (told.steps[-1] == told.steps[1]).mean((1, 2, 3))
    assert (kept > 1 - 16 * 16 / 1024 - 1e-6).all() and "mask known" in told.answer.caption


def test_mistakes_are_one_line(tmp_path, drawings, refused):
    file, text, vectors = str(drawings[0]), tmp_path / "text.png", tmp_path / "tiny.safetensors"
    text.write_text("no image")
    vectors.write_bytes(tiny().content())
    cases = {
        (): "recall needs at least one image file",
        ("--memory", NAME): "recall needs at least one image file",
        ("--memory", "glyph", file): "there is no pretrained memory 'glyph'",
        ("--memory", NAME, "nowhere.png"): "nowhere.png cannot be read (No such file",
        ("--memory", NAME, str(tmp_path)): "cannot be read (Is a directory)",
        ("--memory", NAME, file, str(text)): "text.png cannot be decoded",
        ("--memory", NAME, file, "distortion.size=40"): "distortion.size must lie between 1 and",
        ("--memory", NAME, file, "mask=no"): "mask must be one of known, unknown, got 'no'",
        ("--memory", NAME, file, "seed=-1"): "seed must be at least 0",
        ("--memory", NAME, file, "sed=1"): "unknown key 'sed'. Did you mean 'seed'?",
        ("--memory", NAME, file, "company=bits"): "company must have patterns like those of",
        ("--memory", NAME, file, "company={name: omniglot, root: /nowhere}"): "company: /nowhere",
        ("--memory", str(vectors), file): "tiny cannot store images",
    }
    for words, message in cases.items():
        assert message in refused("recall", *words, f"output={tmp_path}"), words


def test_without_a_name_drawings_are_recalled_from_half_of_them(drawings, tmp_path):
    files = [str(path) for path in drawings]
    assert main(["recall", *files, "distortion={name: half, side: top}", f"output={tmp_path}"]) == 0
    table = rows_of(only(tmp_path, DRAWINGS) / "table.csv")
    assert len(table) == 3
    for row in table:
        assert float(row["error on all values"]) < 0.2 * float(row["error of the query"])


def test_the_memory_that_is_taken_without_a_name(drawings, tmp_path):
    photographs = pytest.importorskip("skimage.data")
    views = [tmp_path / f"{name}.png" for name in ("astronaut", "camera", "coffee", "coins")]
    for view in views:
        Image.fromarray(getattr(photographs, view.stem)()).save(view)
    inverse = tmp_path / "inverse.png"
    ImageOps.invert(Image.open(drawings[0])).save(inverse)
    assert default_memory(drawings) == default_memory([inverse]) == DRAWINGS
    for view in views:
        assert default_memory([view]) == default_memory([*drawings, view]) == PHOTOGRAPHS
    assert {DRAWINGS, PHOTOGRAPHS} <= set(pretrained.names())


def test_other_images_do_not_replace_a_report(drawings, tmp_path):
    for file in (drawings[0], drawings[1], drawings[0]):
        assert main(["recall", "--memory", NAME, str(file), f"output={tmp_path}"]) == 0
    assert len([*tmp_path.glob(f"recall-{NAME}-*/report.html")]) == 2


def test_no_images_and_no_name(drawings):
    saved = pretrained.read(NAME)
    with pytest.raises(ConfigError, match="recall needs at least one image file"):
        recall(saved, [])
    with pytest.raises(DataError, match="cannot be read"):
        recall(saved, [drawings[0].with_name(NASTY.replace("/", ""))])
    with pytest.raises(ValueError, match="cannot be read"):
        recall(dataclasses.replace(saved, rows=[{}]), drawings)
