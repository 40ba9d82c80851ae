"""Hostile checkpoints: refused in one line that names the file; no code of theirs runs, no memory is filled."""

import warnings
from pathlib import Path

import pytest
import torch

from lightning_ebm.config import ConfigError
from lightning_ebm.training.checkpoints import load, newest
from tests.attacks.make import FOLDER, attacks

FILES = sorted(FOLDER.glob("*.pt"))


def test_the_files_are_those_of_the_script_and_small():
    assert [file.name for file in FILES] == sorted(attacks())
    assert max(file.stat().st_size for file in FILES) < 4096


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_attack_is_one_line(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    for name, read in {
        "last.ckpt": lambda: newest(tmp_path / "last.ckpt"),
        "best.ckpt": lambda: load(torch.nn.Linear(1, 1), tmp_path / "best.ckpt"),
    }.items():
        (tmp_path / name).write_bytes(file.read_bytes())
        with pytest.raises(ConfigError) as refused, warnings.catch_warnings():
            warnings.simplefilter("error")
            read()
        assert str(refused.value).startswith(f"cannot read the checkpoint {tmp_path / name}: ")
        assert "\n" not in str(refused.value)
    assert not Path("attacked").exists()
