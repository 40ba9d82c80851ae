"""Training: resuming is not noticed, NaN stops it and loses nothing, checkpoints hold plain values only."""

import itertools
from pathlib import Path

import pytest
import torch
import yaml

from lightning_ebm.config import ConfigError, read, resolve
from lightning_ebm.experiments.measure import measure
from lightning_ebm.training import trainer as training
from lightning_ebm.training.checkpoints import load, read_checkpoint
from lightning_ebm.training.module import MetaTraining, NonFiniteLossError
from lightning_ebm.training.train import restore
from tests.training import tiny
from tests.training.tiny import assert_same_state, before_each_update, interrupt_at, metrics, trained
from tests.training.tiny import last as final


def config(folder, *overrides):
    return tiny.config(folder, "training.max_steps=6", "training.validate_every=2", *overrides)


@pytest.mark.parametrize(("workers", "average"), [(2, 0.0), (0, 0.5)])
@pytest.mark.parametrize(
    "update", [pytest.param(2, marks=pytest.mark.slow), 5]
)  # right after a checkpoint, and between two
def test_resuming_changes_nothing(tmp_path, monkeypatch, update, workers, average):
    curriculum = ["episodes.train_patterns_per_episode=[2, 9]", "episodes.curriculum=3"]
    whole = trained(config(tmp_path / "whole", *curriculum, f"training.ema_decay={average}"))
    calls = interrupt_at(monkeypatch, update)
    overrides = [*curriculum, f"episodes.workers={workers}", f"training.ema_decay={average}"]
    with pytest.raises(RuntimeError, match="power cut"):
        trained(config(tmp_path / "cut", *overrides))
    cut = trained(config(tmp_path / "cut", *overrides))
    assert calls == [*range(update + 1), *range(update - update % 2, 6)]  # it went on from the last validation
    assert len(list(yaml.safe_load_all((cut.folder / "provenance.yaml").read_text()))) == 2  # one for each start
    one, other = final(whole.folder), final(cut.folder)
    assert one["global_step"] == 6 and one["EpisodeDataModule"] == {"position": 12}
    assert_same_state(one, other)


def test_the_average_is_what_is_saved_and_left(tmp_path, monkeypatch):
    weights = []
    original = MetaTraining.on_train_batch_end

    def keep(module, *arguments):
        original(module, *arguments)
        weights.append([p.detach().clone() for p in module.memory.parameters()])

    monkeypatch.setattr(MetaTraining, "on_train_batch_end", keep)
    run = trained(config(tmp_path, "training.ema_decay=0.5"))
    average = weights[0]  # the first is taken as it is
    for later in weights[1:]:
        average = [0.5 * old + 0.5 * new for old, new in zip(average, later, strict=True)]
    saved = final(run.folder)
    names = [f"memory.{name}" for name, _ in run.memory.named_parameters()]
    for name, expected, last in zip(names, average, weights[-1], strict=True):
        torch.testing.assert_close(saved["state_dict"][name], expected, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(saved["current_model_state"][name], last, rtol=0, atol=0)


def test_the_average_begins_anew_where_rates_are_set(tmp_path):
    """The gradient term is added before the third update, at its initial rate; until then its rate is zero."""
    words = ("training.ema_decay=0.99", "training.gradient_term_from=2", "memory.writing.gradient_term=true")
    run = training.build(config(tmp_path, *words, "memory.writing.gradient_rate=0.01", "training.learning_rate=1e-4"))
    training.train(run)
    saved = final(run.folder)["state_dict"]["memory.writing.learned_rates"]
    assert saved[:, :, 2].exp().flatten().tolist() == pytest.approx([0.01] * saved[:, :, 2].numel(), rel=0.01)


def test_each_update_sees_new_episodes_and_a_finished_run_is_not_repeated(tmp_path, monkeypatch):
    seen = before_each_update(monkeypatch, lambda _, batch: batch.patterns.numpy().tobytes())
    run = training.build(config(tmp_path))
    best = training.train(run)
    assert len(seen) == len(set(seen)) == 6
    again = training.build(config(tmp_path))
    assert training.train(again) == best
    assert len(seen) == 6
    for one, other in zip(run.memory.parameters(), again.memory.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run = training.build(config(tmp_path))
    original, calls = type(run.memory).meta_loss, itertools.count(1)

    def loss(*arguments, **options):
        return original(*arguments, **options) * (float("nan") if next(calls) == 4 else 1)

    monkeypatch.setattr(type(run.memory), "meta_loss", loss)
    with pytest.raises(NonFiniteLossError, match=r"nan at update 3.*training\.learning_rate.*training\.clip"):
        training.train(run)
    kept = final(run.folder)
    assert kept["global_step"] == 2
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


@pytest.mark.parametrize("kind", ["Causal", "DoublePrecision", "Indexed"])
def test_a_memory_of_ones_own_is_after_training_what_it_was_built_as(tmp_path, kind):
    run = training.build(config(tmp_path, f"memory=tests.training.own:{kind}", "training.ema_decay=0.9"))
    built = {name: (one.dtype, one.clone()) for name, one in run.memory.state_dict().items()}
    training.train(run)
    trained = run.memory.state_dict()
    assert {name: one.dtype for name, one in trained.items()} == {name: dtype for name, (dtype, _) in built.items()}
    for name, buffer in run.memory.named_buffers():
        assert torch.equal(buffer, built[name][1])
    answer = measure(run.memory, run.data.test_dataloader(), run.data.source.spec)
    restored = measure(restore(run.config).memory, run.data.test_dataloader(), run.data.source.spec)
    assert answer.error == restored.error


def test_the_best_checkpoint_is_that_of_least_validation_error(tmp_path):
    run = training.build(config(tmp_path, "training.learning_rate=0.05", "training.max_steps=12"))
    best = training.train(run)
    errors = {step: float(error) for (step, key), error in metrics(run.folder).items() if key == "val/error"}
    assert len(errors) == 6
    step = torch.load(best, weights_only=True)["global_step"]
    assert errors[step - 1] == min(errors.values())


def test_the_run_folder_says_everything(tmp_path):
    run = trained(config(tmp_path, "training.log_images=true"))
    assert resolve(read(run.folder / "config.yaml")) == run.config
    record = (run.folder / "provenance.yaml").read_text()
    for key in ("command", "commit", "torch", "device", "date"):
        assert f"{key}: " in record
    assert len(list((run.folder / "pictures").glob("*.png"))) == 3
    assert training.training_record(run)[0] == 6
    assert training.training_record(run)[1] > 0


def test_seeds_decide_parameters_and_nothing_else_does(tmp_path):
    def parameters(*overrides):
        return [p.detach().clone() for p in training.build(config(tmp_path, *overrides)).memory.parameters()]

    for one, other in zip(parameters(), parameters("episodes.seed=5", "training.learning_rate=1"), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert any((one != other).any() for one, other in zip(parameters(), parameters("seed=1"), strict=True))


def test_an_existing_run_is_not_continued_when_told_not_to(tmp_path):
    trained(config(tmp_path))
    with pytest.raises(ConfigError, match="resume=never"):
        trained(config(tmp_path, "resume=never"))


def test_damaged_missing_and_foreign_checkpoints_are_named(tmp_path):
    run = training.build(config(tmp_path))
    with pytest.raises(ConfigError, match=r"no checkpoint .*best\.ckpt: train this configuration first"):
        load(run.memory, run.folder / "checkpoints" / "best.ckpt")
    best = training.train(run)
    other = training.build(config(tmp_path, "memory.energy.hidden=9"))
    with pytest.raises(ConfigError, match=r"checkpoint .*best\.ckpt belongs to another memory"):
        load(other.memory, best)
    last = best.with_name("last.ckpt")
    for path in (best, last, last.with_name("last.previous.ckpt")):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"cannot read the checkpoint .*best\.ckpt"):
        load(run.memory, best)
    with pytest.raises(ConfigError, match=r"cannot read the checkpoint .*last\.ckpt"):
        training.train(run)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(ConfigError, match=r"cannot read the checkpoint .*evil\.ckpt"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("words", "looks"),
    [
        ((), False),
        (("training.pretrain_steps=2",), True),
        ((tiny.DECODED, "data=glyphs", "training.mask=true"), True),  # whose detector is not asked
        (("memory=tests.training.own:Partial",), True),
    ],
)
def test_processes_look_for_parameters_without_a_gradient_where_there_may_be_some(tmp_path, words, looks):
    """Otherwise the second update fails."""
    run = training.build(config(tmp_path, "trainer.devices=2", *words))
    assert training.make_trainer(run).strategy._ddp_kwargs["find_unused_parameters"] is looks
