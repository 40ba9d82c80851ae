"""The documentation's examples of a memory and an energy of one's own, as a user would run them."""

import csv
import re
import sys
from pathlib import Path

import torch
import yaml

from lightning_ebm.cli import main
from lightning_ebm.config import merge, resolve
from lightning_ebm.training.trainer import build, train
from tests.training.tiny import metrics

ROOT = Path(__file__).parent.parent


def block(page, language):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.search(rf"```{language}[^\n]*\n(.*?)```", text, re.DOTALL).group(1)


def test_a_memory_in_a_file_of_ones_own_enters_the_grid(tmp_path, monkeypatch):
    """From a folder outside of the package; in processes of their own: tests/test_working_folder.py."""
    code = block("own_memory", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    (tmp_path / "matrix_memory.py").write_text(code)
    grid = yaml.safe_load(block("own_memory", "yaml"))
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


def test_a_network_in_a_file_of_ones_own_learns_to_remember(tmp_path, monkeypatch):
    (tmp_path / "my_energy.py").write_text(block("own_energy", "python"))
    monkeypatch.syspath_prepend(tmp_path)
    settings = yaml.safe_load(block("own_energy", "yaml"))
    small = {
        "output": str(tmp_path),
        "episodes": {"patterns_per_episode": 4, "batch": 4, "val": 8},
        "memory": {"writing": {"steps": 2}, "reading": {"steps": 3}},
        "training": {
            "max_steps": 180,
            "pretrain_steps": 120,
            "gradient_term_from": 175,
            "warmup_steps": 10,
            "validate_every": 60,
        },
    }
    run = build(resolve(merge(settings, small)))
    assert sum(tensor[0].numel() for tensor in run.memory.initial_state(1).values()) == 65 * 48
    train(run)
    seen = metrics(run.folder)
    assert float(seen[119, "val/write_top1"]) > 0.5  # by chance 0.25
    assert float(seen[179, "val/error"]) < 0.8 * float(seen[179, "val/error_prior"])
    assert torch.isfinite(run.memory.writing.learned_rates).all()
