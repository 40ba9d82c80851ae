"""Checkpoints: whole at every moment, hashed, and never trusted when damaged."""

import errno
import hashlib
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_ebm.config import ConfigError
from lightning_ebm.training.checkpoints import (
    DurableCheckpoints,
    RandomStates,
    newest,
    read_checkpoint,
    saved_parameters,
)


class PowerCut(BaseException):
    """Nothing of ours catches it, as nothing catches a SIGKILL."""


def content(value=1):
    """The least that a checkpoint holds."""
    return {"state_dict": {"value": torch.tensor(float(value))}, "global_step": value, "training_seconds": 1.0}


def save(folder, value):
    DurableCheckpoints().save_checkpoint(content(value), folder / "last.ckpt")


def fail_at(monkeypatch, count, error):
    """Lets the count-th step to the disk fail, and all after it; returns the steps that were begun."""
    begun = []

    def counted(original, counts=True):
        def step(*arguments, **options):
            if counts:
                begun.append(original)
            if len(begun) >= count:
                raise error
            return original(*arguments, **options)

        return step

    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(os, "replace", counted(os.replace))
    if isinstance(error, PowerCut):
        monkeypatch.setattr(Path, "unlink", counted(Path.unlink, counts=False))
    return begun


@pytest.mark.parametrize("saved_before", [1, 3])
def test_a_whole_checkpoint_is_left_wherever_saving_is_cut(tmp_path, saved_before):
    cut = 0
    while True:
        cut += 1
        folder = tmp_path / str(cut)
        for value in range(saved_before):
            save(folder, value)
        with pytest.MonkeyPatch.context() as patch:
            begun = fail_at(patch, cut, PowerCut())
            try:
                save(folder, 7)
            except PowerCut:
                pass
            else:
                break
        assert newest(folder / "last.ckpt")[1]["global_step"] in (saved_before - 1, 7)
        save(folder, 8)  # and what the cut left behind does not disturb the next
        assert newest(folder / "last.ckpt")[1]["global_step"] == 8
        (folder / "last.ckpt").write_bytes(b"damaged")
        with pytest.warns(UserWarning, match=r"last\.ckpt: its SHA.*; the one before it, last\.previous\.ckpt"):
            assert newest(folder / "last.ckpt")[1]["global_step"] in (saved_before - 1, 7)
    assert cut > len(begun) >= 8  # every step was cut once


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_an_error_while_saving_leaves_all_as_it_was(tmp_path, monkeypatch, code):
    save(tmp_path, 0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for count in (1, 2, 3):
        with monkeypatch.context() as patch:
            fail_at(patch, count, OSError(code, os.strerror(code)))
            with pytest.raises(OSError, match=os.strerror(code)):
                save(tmp_path, 1)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_hashes_are_those_of_sha256sum(tmp_path):
    for value in (1, 2, 3):
        save(tmp_path, value)
    lines = (tmp_path / "last.sha256").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["last.ckpt", "last.previous.ckpt"]
    for line in lines:
        expected, name = line.split()
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "last.previous.ckpt", "last.sha256"]
    DurableCheckpoints().remove_checkpoint(tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_one_changed_bit_is_seen(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    data = bytearray((tmp_path / "last.ckpt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "last.ckpt").write_bytes(data)
    with pytest.raises(ConfigError, match=r"cannot read .*last\.ckpt: its SHA-256 is not in last\.sha256"):
        read_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match=r"take checkpoint=.*last\.previous\.ckpt"):  # but not silently
        saved_parameters(tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match=r"last\.ckpt: its SHA"):
        path, saved = newest(tmp_path / "last.ckpt")
    assert (path.name, saved["global_step"]) == ("last.previous.ckpt", 1)
    save(tmp_path, 3)  # the damaged one does not take the place of the one before it
    assert read_checkpoint(tmp_path / "last.previous.ckpt")["global_step"] == 1
    (tmp_path / "last.ckpt").write_bytes(b"")
    (tmp_path / "last.previous.ckpt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"cannot read the checkpoint .*last\.ckpt"):
        newest(tmp_path / "last.ckpt")


def test_one_from_elsewhere_has_no_hash_and_is_read(tmp_path):
    torch.save(content(), tmp_path / "last.ckpt")
    assert newest(tmp_path / "last.ckpt")[1]["global_step"] == 1
    assert newest(tmp_path / "none") is None


def test_random_states_come_back_through_a_checkpoint(tmp_path):
    states = RandomStates()
    draw = lambda: (random.random(), np.random.standard_normal(), torch.rand(()).item())  # noqa: E731
    draw()
    DurableCheckpoints().save_checkpoint(content() | states.state_dict(), tmp_path / "last.ckpt")
    expected = [draw(), draw()]
    states.load_state_dict(read_checkpoint(tmp_path / "last.ckpt"))
    states.on_train_start(type("Trainer", (), {"global_rank": 1}), None)  # a process that was not there: left alone
    assert draw() != expected[0]
    states.on_train_start(type("Trainer", (), {"global_rank": 0}), None)
    assert [draw(), draw()] == expected
