"""The documentation site: the reference has every public class, and the built pages load nothing from elsewhere."""

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import lightning_ebm as lebm
from lightning_ebm.registry import analyses, datasets, distortions, energies, memories

ROOT = Path(__file__).parent.parent
MODULES = {
    module
    for page in (ROOT / "docs" / "reference").glob("*.md")
    for module in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
}


def home(thing):
    return inspect.getmodule(thing).__name__


def test_every_public_name_is_in_the_reference():
    for name in set(lebm.__all__) - {"State"}:  # a type alias, of lightning_ebm.memory
        assert home(getattr(lebm, name)) in MODULES, name


@pytest.mark.parametrize("registry", [memories, energies, datasets, distortions, analyses], ids=lambda one: one.kind)
def test_every_registered_class_is_in_the_reference(registry):
    for name in registry.names():
        assert home(registry.load(name)) in MODULES, name


def test_every_page_is_in_the_navigation():
    def pages(node):
        if isinstance(node, str):
            return {node}
        return {page for one in (node.values() if isinstance(node, dict) else node) for page in pages(one)}

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    results = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("results/*/README.md")}
    assert docs | results <= listed


class Loaded(HTMLParser):
    """What a browser loads with a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") != "canonical":
            self.found.append(given["href"])


@pytest.mark.slow
def test_it_builds_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocstrings", reason="needs the extra `docs`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.found
        for path in loaded.found:
            assert not re.match(r"(https?:)?//", path), (page, path)
    text = (tmp_path / "site" / "reference" / "metrics.html").read_text(encoding="utf-8")
    assert "Mean error of a pattern" in text
    assert "wrong pixels" in (tmp_path / "site" / "notebook.html").read_text(encoding="utf-8")
