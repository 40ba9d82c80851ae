"""Brings into the site what lies outside of docs/: README, results, contributing, changelog, and files they link to.

Links are written as they hold in the repository. On the site, docs/ and the repository's root are one folder.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
"""Page in the repository -> page of the site."""
PAGES |= {path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix() for path in ROOT.glob("results/**/*.md")}
LINK = re.compile(r"""(\]\(|src=")(?![a-z]+:|#)([^)#"\s]+)""")
"""What begins a link or an image, in Markdown or HTML, and the relative path it leads to."""
NOTEBOOK = "tutorial.ipynb"


def site_path(path: str) -> str:
    """Where a file of the repository is on the site."""
    return "notebook.md" if path == f"docs/{NOTEBOOK}" else PAGES.get(path, path.removeprefix("docs/"))


def links(path: str) -> dict[str, str]:
    """Each relative link of a page -> the file or folder in the repository that it leads to."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return {link: posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) for _, link in LINK.findall(text)}


def on_files(files: Files, config: Any) -> Files:
    """Adds pages from outside, and the files that any page links to; the notebook's page and pictures."""
    source = {file.src_uri: f"docs/{file.src_uri}" for file in files if file.src_uri.endswith(".md")}
    for path, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    for path in [*source.values(), *PAGES]:
        for target in links(path).values():
            found = site_path(target)
            if (ROOT / target).is_file() and not files.get_file_from_path(found):
                files.append(File.generated(config, found, abs_src_path=str(ROOT / target)))
    text, pictures = notebook(ROOT / "docs" / NOTEBOOK)
    files.append(File.generated(config, "notebook.md", content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Leads relative links to where their files are on the site."""
    if page.file.src_uri == "notebook.md":  # its link to the notebook is a download
        return markdown
    inside = {site: path for path, site in PAGES.items()}
    path = inside.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        if not (ROOT / target).exists():
            return match[0]
        return match[1] + posixpath.relpath(site_path(target), posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(moved, markdown)


def notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook with its outputs as Markdown, and its pictures by name."""
    parts, pictures = [], {}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            shown = output.get("data", {})
            if "image/png" in shown:
                name = f"notebook-{number}.png"
                pictures[name] = base64.b64decode(shown["image/png"])
                parts.append(f"![What the code above shows]({name})")
            elif text := "".join(output.get("text", shown.get("text/plain", ()))).rstrip():
                parts.append(f'```text title="Output"\n{text}\n```')
    download = f"This page is the notebook [{path.name}]({path.name}), with its outputs."
    return "\n\n".join([parts[0], download, *parts[1:]]) + "\n", pictures
