"""The documentation's example of an energy of one's own, as a user would run it, at a smaller size."""

import re
from pathlib import Path

import torch
import yaml

from lightning_ebm.config import merge, resolve
from lightning_ebm.training.trainer import build, train
from tests.training.tiny import metrics

PAGE = (Path(__file__).parent.parent / "docs" / "own_energy.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}[^\n]*\n(.*?)```", PAGE, re.DOTALL).group(1)


def test_a_network_in_a_file_of_ones_own_learns_to_remember(tmp_path, monkeypatch):
    (tmp_path / "my_energy.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    settings = yaml.safe_load(block("yaml"))
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
