"""The documentation's example of a memory of one's own, as a user would run it."""

import csv
import re
import sys
from pathlib import Path

import yaml

from lightning_ebm.cli import main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "own_memory.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}[^\n]*\n(.*?)```", PAGE, re.DOTALL).group(1)


def test_a_memory_in_a_file_of_ones_own_enters_the_grid(tmp_path, monkeypatch):
    """From a folder outside of the package; in processes of their own: tests/test_working_folder.py."""
    code = block("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    (tmp_path / "matrix_memory.py").write_text(code)
    grid = yaml.safe_load(block("yaml"))
    grid["episodes"] = {"patterns_per_episode": 4, "batch": 2, "val": 2, "test": 4}
    grid["compare"] |= {"jobs": 1, "gallery": 0, "seeds": [0]}
    grid["compare"]["rows"]["EBMM"] = {"memory": {"energy": {"slots": 4}}, "training": {"max_steps": 2}}
    grid["compare"]["rows"]["Matrix memory"]["training"]["max_steps"] = 2
    grid["training"] = {"warmup_steps": 0, "validate_every": 2, "log_images": False}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["compare", "grid.yaml"]) == 0
    with (tmp_path / "runs" / "compare-grid" / "cells.csv").open() as file:
        sizes = {row["label"]: int(row["floats"]) for row in csv.DictReader(file)}
    for keys in (16, 32, 64):
        assert sizes[f"Matrix memory, {keys * 128} floats"] == keys * 128
