"""What the README shows works: its Python block runs, its commands name real verbs and files."""

import re
from pathlib import Path

import torch

from lightning_ebm.cli import VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_notebook_lines_run_as_they_stand():
    (code,) = blocks("python")
    assert sum(bool(line.strip()) for line in code.splitlines() if "import" not in line) <= 6
    names: dict = {}
    torch.manual_seed(0)
    exec(code, names)
    assert sum(tensor[0].numel() for tensor in names["state"].values()) == 8256
    assert names["recalled"].shape == names["patterns"].shape
    assert names["energies"].shape == (2, 16)


def test_commands_name_verbs_and_files_that_exist():
    commands = re.findall(r"lightning-ebm +(\w+) +(\S+\.yaml)", README)
    assert len(commands) >= 5
    for verb, config in commands:
        assert verb in VERBS
        assert (ROOT / config).is_file()


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+) ", "\n".join(blocks("bash"))):
        assert f"\n{target}:" in makefile


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
