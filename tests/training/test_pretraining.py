"""The first updates minimise the objective of single patterns; then the meta-loss takes over, with or without it."""

import pytest
import torch

from lightning_ebm.config import ConfigError, read, resolve
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.training.module import MetaTraining
from lightning_ebm.training.trainer import build, train
from tests.training.tiny import DEBUG, assert_same_state, last

DECODED = "memory={name: ebmm, energy: {name: decoded_mixture, slots: 4, code: 8, hidden: 4, detector: 2}}"


def run(folder, *words):
    made = build(resolve(read(DEBUG, [f"output={folder}", "training.pictures=false", "trainer.threads=1", *words])))
    train(made)
    return made


def test_the_loss_is_the_auxiliary_one_then_the_meta_loss_plus_its_share(tmp_path, monkeypatch):
    seen = []
    original = MetaTraining.training_step

    def step(self, batch, batch_index):
        patterns, queries = batch.patterns, batch.queries
        state = torch.random.get_rng_state()
        with torch.no_grad():
            parts = self.memory.auxiliary_loss(patterns, queries, batch.mask), self.memory.meta_loss(patterns, queries)
        torch.random.set_rng_state(state)
        loss = original(self, batch, batch_index)
        seen.append((loss.item(), *(part.item() for part in parts)))
        return loss

    monkeypatch.setattr(MetaTraining, "training_step", step)
    run(tmp_path, DECODED, "training.updates=4", "training.pretrain=2", "training.auxiliary=0.5")
    assert [loss for loss, _, _ in seen[:2]] == pytest.approx([auxiliary for _, auxiliary, _ in seen[:2]], rel=1e-5)
    expected = [meta + 0.5 * auxiliary for _, auxiliary, meta in seen[2:]]
    assert [loss for loss, _, _ in seen[2:]] == pytest.approx(expected, rel=1e-5)


def test_writing_learns_only_afterwards(tmp_path):
    words = (DECODED, "training.updates=3", "training.weight_decay=0")
    fresh = build(resolve(read(DEBUG, [f"output={tmp_path}", *words]))).memory.writing.raw_rates
    coded, learned = (run(tmp_path, *words, f"training.pretrain={count}").memory.writing.raw_rates for count in (3, 0))
    assert torch.equal(coded, fresh)
    assert not torch.equal(learned, fresh)


@pytest.mark.parametrize("at", [1, 2])
def test_a_run_interrupted_in_either_part_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, at):
    words = (DECODED, "training.updates=4", "training.pretrain=2", "training.validate_every=1")
    whole = run(tmp_path / "whole", *words)
    original = MetaTraining.training_step

    def fails(self, batch, batch_index):
        if self.global_step == at:
            raise OSError("power cut")
        return original(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(MetaTraining, "training_step", fails)
        with pytest.raises(OSError, match="power cut"):
            run(tmp_path / "broken", *words)
    resumed = run(tmp_path / "broken", *words)
    assert_same_state(last(resumed.folder), last(whole.folder), finished=True)


def test_a_memory_of_ones_own_may_have_none(tmp_path):
    with pytest.raises(NotImplementedError, match="no objective of single patterns"):
        AssociativeMemory.auxiliary_loss(torch.nn.Identity(), *torch.zeros(3, 1))
    with pytest.raises(ConfigError, match=r"training\.pretrain and training\.auxiliary must be 0 here: Reconstruction"):
        run(tmp_path, "training.pretrain=1")
