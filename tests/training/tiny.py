"""The smallest training that tests of launching and stopping share, and what is compared of it."""

import itertools
from pathlib import Path

import pytest
import torch

from lightning_ebm.config import read, resolve
from lightning_ebm.training.module import MetaTraining
from lightning_ebm.training.trainer import build, train
from tests.tables import rows_of

DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"
TINY = (
    "data=bits", "data.size=12", "distortion=pixels", "distortion.amount=4", "training.log_images=false",
    "memory={name: ebmm, energy: {name: gated_rnn, hidden: 8, written_units: 3, hops: 2}}", "trainer.accelerator=cpu",
)  # fmt: skip
DECODED = "memory={name: ebmm, energy: {name: decoded_mixture, slots: 4, code_dim: 8, hidden: 4, detector: 2}}"
"""A memory whose single patterns can be learned first."""


def on_glyphs(folder, *words):
    """Of a small run on the glyphs of configs/debug.yaml."""
    return resolve(read(DEBUG, [f"output={folder}", "training.log_images=false", "trainer.threads=1", *words]))


def config(folder, *overrides):
    return resolve(read(DEBUG, [f"output={folder}", *TINY, *overrides]))


def trained(config):
    """The run of a configuration, once it is trained."""
    run = build(config)
    train(run)
    return run


def before_each_update(monkeypatch, look):
    """Calls `look(module, batch)` before the loss of each update; returns what it returned."""
    original, seen = MetaTraining.training_step, []

    def step(self, batch, batch_index):
        seen.append(look(self, batch))
        return original(self, batch, batch_index)

    monkeypatch.setattr(MetaTraining, "training_step", step)
    return seen


def interrupt_at(monkeypatch, update):
    """Lets training fail once, before the given update; returns the updates that are begun."""
    begun = []

    def look(module, _):
        begun.append(module.global_step)
        if module.global_step == update and begun.count(update) == 1:
            raise RuntimeError("power cut")

    before_each_update(monkeypatch, look)
    return begun


def cut_at(update, config):
    """Trains, which fails before the given update."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, update)
        with pytest.raises(RuntimeError, match="power cut"):
            trained(config)


def last(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_state(one, other, finished=False):
    """Bit for bit, all that training goes on from; but not the seconds that it took.

    A run that ended by itself saved its average as the model too; one that was stopped after its last update did not.
    """
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "EpisodeDataModule", "global_step"):
        assert_equal(one[key], other[key], key)
    for key in () if finished else ("current_model_state", "averaging_state"):
        assert_equal(one.get(key), other.get(key), key)
    assert_equal(one["callbacks"]["RandomStates"], other["callbacks"]["RandomStates"], "random states")


def assert_equal(one, other, where):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}[{index}]")
    else:
        assert one == other, where


def metrics(folder):
    """(step, column) -> text, over all starts; the later one counts. Seconds are left out."""
    rows = {}
    starts = sorted(folder.glob("metrics/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    for row in itertools.chain.from_iterable(map(rows_of, starts)):
        columns = row.keys() - {"step", "train/seconds"}
        rows |= {(int(row["step"]), key): row[key] for key in columns if row[key]}
    return rows
