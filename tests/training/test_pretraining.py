"""The first updates minimise the objective of single patterns; then the meta-loss takes over, with or without it."""

import pytest
import torch

from baselines.coders import CodeSettings
from lightning_ebm.config import ConfigError
from lightning_ebm.memory import AssociativeMemory, PatternSpec
from lightning_ebm.registry import Choice, memories
from lightning_ebm.schema import TrainingConfig
from lightning_ebm.training.module import MetaTraining
from lightning_ebm.training.trainer import build
from tests import contract
from tests.ebmm.energies import SMALL
from tests.training.tiny import DECODED, assert_same_state, cut_at, last, on_glyphs, trained

SPEC = PatternSpec((6,), binary=True)


def run(folder, *words):
    return trained(on_glyphs(folder, *words))


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
    run(tmp_path, DECODED, "training.max_steps=4", "training.pretrain_steps=2", "training.auxiliary_weight=0.5")
    assert [loss for loss, _, _ in seen[:2]] == pytest.approx([auxiliary for _, auxiliary, _ in seen[:2]], rel=1e-5)
    expected = [meta + 0.5 * auxiliary for _, auxiliary, meta in seen[2:]]
    assert [loss for loss, _, _ in seen[2:]] == pytest.approx(expected, rel=1e-5)


def test_writing_learns_only_afterwards(tmp_path):
    words = (DECODED, "training.max_steps=3", "training.weight_decay=0")
    fresh = build(on_glyphs(tmp_path, *words)).memory.writing.learned_rates
    coded, learned = (
        run(tmp_path, *words, f"training.pretrain_steps={count}").memory.writing.learned_rates for count in (3, 0)
    )
    assert torch.equal(coded, fresh)
    assert not torch.equal(learned, fresh)


@pytest.mark.parametrize("at", [1, 2])
def test_a_run_interrupted_in_either_part_goes_on_as_if_it_had_not_been(tmp_path, at):
    words = (DECODED, "training.max_steps=4", "training.pretrain_steps=2", "training.validate_every=1")
    whole = run(tmp_path / "whole", *words)
    cut_at(at, on_glyphs(tmp_path / "broken", *words))
    resumed = run(tmp_path / "broken", *words)
    assert_same_state(last(resumed.folder), last(whole.folder), finished=True)


def test_a_memory_of_ones_own_may_have_none(tmp_path):
    with pytest.raises(NotImplementedError, match="no objective of single patterns"):
        AssociativeMemory.auxiliary_loss(torch.nn.Identity(), *torch.zeros(3, 1))
    with pytest.raises(
        ConfigError, match=r"training\.pretrain_steps and training\.auxiliary_weight must be 0 for this memory: Recon"
    ):
        run(tmp_path, "training.pretrain_steps=1")


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize(
    "name", ["decoded_mixture", "measured_mixture", "reconstruction_restored", "resnet_fc_restored"]
)
def test_single_patterns_are_learned_in_mixed_precision(name, real):
    """As trainer.precision=bf16-mixed has it: products are bfloat16, parameters and patterns float32."""
    shape, kind, settings = SMALL[name]
    energy, patterns = contract.build(kind, shape, real=real, **settings), torch.rand(4, *shape).round()
    mask = torch.rand_like(patterns) < 0.3
    with torch.autocast("cpu", torch.bfloat16):
        loss = energy.auxiliary_loss(patterns, torch.where(mask, 1 - patterns, patterns), mask).mean()
    loss.backward()
    gradients = [one.grad for one in energy.restoration.parameters()] if "restored" in name else [energy.typical.grad]
    assert loss.isfinite() and any(one is not None and one.isfinite().all() for one in gradients)


@pytest.mark.parametrize(
    ("first", "rate", "expected"),
    [
        # four updates of the first loss, its rate falling to the other's; both warm up for two; the last two cool down
        (0.008, 0.004, [0.004, 0.007, 0.006, 0.005, 0.002, 0.004, 0.004, 0.002]),
        (0.0, 0.004, [0.002, 0.004, 0.004, 0.004, 0.002, 0.004, 0.004, 0.002]),
        (0.001, 0.004, [0.0005, 0.00175, 0.0025, 0.00325, 0.002, 0.004, 0.004, 0.002]),
        (0.008, 0.0, [0.004, 0.006, 0.004, 0.002, 0, 0, 0, 0]),
        (0.0, 0.0, [0.0] * 8),
    ],
)
def test_learning_rates(first, rate, expected):
    schedule = {"max_steps": 8, "pretrain_steps": 4, "warmup_steps": 2, "cooldown_fraction": 0.25, "weight_decay": 0}
    config = TrainingConfig(pretrain_learning_rate=first, learning_rate=rate, **schedule)
    module = MetaTraining(memories.build(Choice("no_memory", CodeSettings()), SPEC), SPEC, config)
    made = module.configure_optimizers()
    optimizer, scheduler, rates = made["optimizer"], made["lr_scheduler"]["scheduler"], []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected)
