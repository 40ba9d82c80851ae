"""What every registered memory has written is read by another process, which builds the memory anew."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import memories

ROOT = Path(__file__).parents[2]
SPEC = PatternSpec((1, 16, 16), binary=True)


def fresh(name):
    torch.manual_seed(0)
    return memories.build(name, SPEC)


@torch.no_grad()
def main(folder):
    """The other process."""
    saved = torch.load(f"{folder}/states.pt", weights_only=True)
    answers = {name: fresh(name).read(state, saved["queries"]) for name, state in saved["states"].items()}
    torch.save(answers, f"{folder}/answers.pt")


@torch.no_grad()
def test_states_are_read_by_another_process(tmp_path):
    patterns, queries = torch.rand(2, 2, 3, *SPEC.shape).round()
    states = {name: fresh(name).write(patterns) for name in memories.names()}
    torch.save({"states": states, "queries": queries}, tmp_path / "states.pt")
    # A command line that ran in this process keeps its children from finding modules in their folder.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", __name__, str(tmp_path)], check=True, timeout=300, env=environment)
    answers = torch.load(tmp_path / "answers.pt", weights_only=True)
    assert answers.keys() == states.keys()
    for name, state in states.items():
        torch.testing.assert_close(answers[name], fresh(name).read(state, queries), rtol=1e-5, atol=1e-5, msg=name)


if __name__ == "__main__":
    main(sys.argv[1])
