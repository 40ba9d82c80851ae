"""A budget of seconds: training ends when they are spent, and its schedule goes by the share of them."""

import itertools
import re

import pytest
import torch

from lightning_ebm.config import ConfigError, resolve
from lightning_ebm.experiments.experiment import Experiment, run_experiment
from lightning_ebm.schema import TrainingConfig
from lightning_ebm.training import module as training
from lightning_ebm.training.trainer import build, train, training_record, updates_left
from tests.training.tiny import DECODED, config, cut_at, last, on_glyphs, trained

SCHEDULE = (
    DECODED, "training.pretrain_steps=8", "training.pretrain_learning_rate=0.008", "training.learning_rate=0.004",
    "training.warmup_steps=0",
)  # fmt: skip


@pytest.fixture
def each_update_takes_a_second(monkeypatch):
    """A clock that goes on by one second whenever it is looked at: once before and once after an update."""
    clock = itertools.count()
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(clock)))


@pytest.fixture
def seen(monkeypatch):
    """Of each update: its learning rate, and whether it minimised the meta-loss."""
    updates = []
    original = training.MetaTraining.training_step
    pretrain = training.MetaTraining.pretrain_loss

    def step(self, batch, batch_index):
        calls = []
        self.pretrain_loss = lambda *episodes: calls.append(1) or pretrain(self, *episodes)
        loss = original(self, batch, batch_index)
        updates.append((self.optimizers().param_groups[0]["lr"], not calls))
        return loss

    monkeypatch.setattr(training.MetaTraining, "training_step", step)
    return updates


def test_the_schedule_goes_by_the_share_of_seconds_that_is_spent(tmp_path, each_update_takes_a_second, seen):
    # five seconds for 20 updates: each counts for four of them. The rate is set when the seconds of the update before
    # are not known yet, so it lags behind by one.
    words = ("training.max_steps=20", "training.max_seconds=5", "training.cooldown_fraction=0.5")
    run = trained(on_glyphs(tmp_path, *SCHEDULE, *words))
    assert training_record(run) == (5, 5.0)
    assert [meta for _, meta in seen] == [False, False, True, True, True]
    # positions 0, 1 (no second known), 8 (the meta-loss begins, and the rate is set anew), 8, 12: from 0.008 to 0.004
    # at 8, falling from 10 on
    assert [rate for rate, _ in seen] == pytest.approx([0.008, 0.0075, 0.004, 0.004, 0.004 * 8 / 10])


def test_updates_end_it_where_they_are_done_first(tmp_path, each_update_takes_a_second, seen):
    words = ("training.max_steps=10", "training.max_seconds=1000", "training.cooldown_fraction=0.5")
    run = trained(on_glyphs(tmp_path, *SCHEDULE, *words))
    assert training_record(run) == (10, 10.0)
    assert [meta for _, meta in seen] == [False] * 8 + [True] * 2
    falling = [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]
    rates = [0.008 - 0.0005 * update for update in range(8)] + [0.004, 0.004]
    assert [rate for rate, _ in seen] == pytest.approx([a * b for a, b in zip(rates, falling, strict=True)])


def test_the_last_parameters_are_validated_and_kept_and_training_is_over(tmp_path, each_update_takes_a_second):
    words = ("training.max_steps=100", "training.max_seconds=3", "training.validate_every=50")
    run = build(on_glyphs(tmp_path, *words))
    assert updates_left(run) == 100
    train(run)
    assert updates_left(run) == 0
    best = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == last(run.folder)["global_step"] == 3
    trained(on_glyphs(tmp_path, *words))  # as a comparison that goes on would
    assert last(run.folder)["global_step"] == 3


def test_a_run_that_was_stopped_has_only_the_rest_of_its_seconds(tmp_path, each_update_takes_a_second, capsys):
    words = ("training.max_steps=20", "training.max_seconds=5", "training.validate_every=1")
    run = build(on_glyphs(tmp_path, *SCHEDULE, *words))
    cut_at(3, run.config)
    assert last(run.folder)["meta_loss_since"] == 2
    train(run)
    assert training_record(run) == (5, 5.0)
    assert last(run.folder)["meta_loss_since"] == 2
    assert re.search(r"debug: 5 updates, \S+ for the last 2 of them", capsys.readouterr().out)


def test_an_experiment_that_has_spent_its_seconds_is_measured(tmp_path, each_update_takes_a_second):
    words = ("training.max_steps=100", "training.max_seconds=2", "episodes.test=2", "compare.gallery=0")
    one = Experiment("tiny", "tiny", "", config(tmp_path, *words))
    said = []
    run_experiment(one, said.append)
    run_experiment(one, said.append)
    assert [line.partition(": ")[2].split(",")[0] for line in said] == ["meta-training", "testing on 2 episodes"]
    trained = [result for result in one.results() if result.memory == "ebmm"]
    assert {(result.updates, result.train_seconds) for result in trained} == {(2, 2.0)}


def test_a_negative_budget_is_refused():
    assert TrainingConfig().max_seconds == 0
    with pytest.raises(ConfigError, match=r"training\.max_seconds must be at least 0"):
        resolve({"training": {"max_seconds": -1.0}})
