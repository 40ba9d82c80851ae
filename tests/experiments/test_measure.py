"""Errors and sizes against numbers known beforehand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_ebm.config import resolve
from lightning_ebm.data.episodes import Episode
from lightning_ebm.experiments import measure as evaluating
from lightning_ebm.experiments.compare import evaluate
from lightning_ebm.experiments.controls import QueryItself
from lightning_ebm.experiments.experiment import test_loader as loader
from lightning_ebm.experiments.measure import count_floats, measure
from lightning_ebm.memory import AssociativeMemory, PatternSpec
from lightning_ebm.metrics import RecallError, pattern_errors, unit
from lightning_ebm.training.trainer import build
from tests.training.tiny import config

CONFIGS = Path(__file__).parents[2] / "configs"
BITS, REAL = PatternSpec((4,), binary=True), PatternSpec((4,), binary=False)


class Mean(AssociativeMemory):
    """Answers every query with the mean of the patterns; a counter beside it is bookkeeping."""

    citation = "none"
    bookkeeping = frozenset({"count"})

    @classmethod
    def from_config(cls, config, spec):
        return cls()

    def initial_state(self, episodes):
        return {"mean": torch.zeros(episodes, 4), "count": torch.zeros(episodes, 1)}

    def write(self, patterns):
        return {"mean": patterns.mean(1), "count": torch.full((len(patterns), 1), float(patterns.shape[1]))}

    def read(self, state, queries, mask=None):
        answer = state["mean"][:, None].expand_as(queries)
        return (answer if mask is None else torch.where(mask, answer, queries))[None]


def batch():
    patterns = torch.tensor([[[0, 0, 1, 1], [0, 1, 1, 0], [0, 1, 1, 0]], [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]])
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[..., :2] = True
    patterns = patterns.float()
    return Episode(patterns, torch.where(mask, 1 - patterns, patterns), mask)


def test_wrong_bits_are_counted_per_pattern_and_averaged_per_episode():
    measured = measure(Mean(), [batch()], BITS)
    # episode 1: the mean rounds to 0110, wrong in 2, 0, 0 bits (1, 0, 0 of them under the mask); episode 2: 1111
    assert measured.error == pytest.approx([2 / 3, 4 / 3])
    assert measured.error_corrupted == pytest.approx([1 / 3, 2 / 3])
    assert (measured.floats, measured.floats_strict) == (4, 5)


def test_a_memory_is_measured_on_the_device_that_is_asked_for():
    class Travelling(Mean):
        def to(self, device):
            seen.append(("memory", device.type))
            return self

        def write(self, patterns):
            seen.append("writes")
            return super().write(patterns)

    class There:
        def to(self, device):
            seen.append(("episodes", device.type))
            return batch()

    seen = []
    measured = measure(Travelling(), [There()], BITS, device=torch.device("cuda"))
    assert seen == [("memory", "cuda"), ("episodes", "cuda"), "writes", ("memory", "cpu")]
    assert measured.error == pytest.approx([2 / 3, 4 / 3])


@pytest.mark.parametrize(
    ("accelerator", "gpu", "expected"),
    [("auto", True, "cuda"), ("gpu", True, "cuda"), ("cpu", True, "cpu"), ("auto", False, "cpu"), ("mps", True, "cpu")],
)
def test_what_is_trained_on_a_gpu_is_tested_there(monkeypatch, accelerator, gpu, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    plain = {"data": {"name": "bits", "size": 8}, "distortion": {"name": "pixels", "amount": 4}}
    plain["trainer"] = {"accelerator": accelerator}
    energy = {"name": "gated_rnn", "hidden": 8, "written_units": 3}
    run = build(resolve(plain | {"memory": {"name": "ebmm", "energy": energy}}))
    assert run.device.type == expected
    untrained = build(resolve(plain | {"memory": "hopfield"}))
    assert untrained.device.type == "cpu"


def test_a_known_mask_and_an_unwritten_state():
    known = measure(Mean(), [batch()], BITS, mask_known=True)
    assert known.error == known.error_corrupted == pytest.approx([1 / 3, 2 / 3])
    unwritten = measure(Mean(), [batch()], BITS, nothing_written=True)
    assert unwritten.error == pytest.approx([6 / 3, 8 / 3])  # all zeros: every one is wrong
    query = measure(QueryItself(), [batch()], BITS)
    assert (query.error, query.error_corrupted) == (pytest.approx([2, 2]), pytest.approx([2, 2]))
    assert (query.floats, query.bits, query.exact) == (0, 0, 0)


def test_what_was_written_is_read_again_at_another_precision(monkeypatch):
    class Counted(Mean):
        writes = 0

        def write(self, patterns):
            Counted.writes += 1
            return super().write(patterns)

    others = [measure(Mean(), [batch(), batch()], REAL, precision=precision) for precision in ("float32", "int4")]
    for kept, writes in ((2**20, 2), (60, 3)):  # the state of a batch has 40 bytes: the second finds no room
        monkeypatch.setattr(evaluating, "KEPT", kept)
        Counted.writes, written = 0, []
        again = [
            measure(Counted(), [batch(), batch()], REAL, precision=p, written=written) for p in ("float32", "int4")
        ]
        assert [one.error for one in again] == [one.error for one in others]
        assert Counted.writes == writes and again[0].write_ms > 0
    assert again[0].error != again[1].error


def test_squared_errors_are_summed_over_the_pattern():
    measured = measure(Mean(), [batch()], REAL)
    patterns = batch().patterns.numpy()
    expected = ((patterns - patterns.mean(1, keepdims=True)) ** 2).sum(2).mean(1)
    np.testing.assert_allclose(measured.error, expected, rtol=1e-6)


def test_answers_that_are_not_finite_are_refused():
    class Broken(Mean):
        def read(self, state, queries, mask=None):
            return torch.full_like(queries, float("nan"))[None]

    with pytest.raises(ValueError, match="Broken recalled values that are not finite"):
        measure(Broken(), [batch()], BITS)


def test_the_metric_is_the_mean_over_all_patterns_however_they_are_batched():
    answer, (patterns, _, mask) = torch.rand(2, 3, 4), batch()
    for corrupted in (False, True):
        whole, parts = RecallError(BITS, corrupted), RecallError(BITS, corrupted)
        whole.update(answer, patterns, mask)
        parts.update(answer[:1], patterns[:1], mask[:1])
        parts.update(answer[1:, :1], patterns[1:, :1], mask[1:, :1])
        parts.update(answer[1:, 1:], patterns[1:, 1:], mask[1:, 1:])
        wrong = ((answer.numpy() > 0.5) != (patterns.numpy() > 0.5)) & (mask.numpy() if corrupted else True)
        assert whole.compute().item() == parts.compute().item() == pytest.approx(wrong.sum() / 6)
    assert pattern_errors(answer, patterns, BITS).shape == (2, 3)


def test_units():
    assert unit(PatternSpec((128,), True)) == "wrong bits of 128"
    assert unit(PatternSpec((1, 32, 32), True)) == "wrong pixels of 1024"
    assert "squared error" in unit(PatternSpec((3, 32, 32), False))


def test_states_are_counted_in_words_of_32_bits():
    assert count_floats(Mean(), {"mean": torch.zeros(7, 3, 5), "count": torch.zeros(7, 2)}) == (15, 17)
    state = {"mean": torch.zeros(7, 5, dtype=torch.uint8), "count": torch.zeros(7, 2, dtype=torch.float64)}
    assert count_floats(Mean(), state) == (2, 6)  # 40 bits, and 128 more: 168 / 32, rounded up
    assert count_floats(Mean(), {}) == (0, 0)


def test_evaluate_takes_the_checkpoint_that_is_named(tmp_path):
    config = {"output": str(tmp_path), "checkpoint": str(tmp_path / "gone.ckpt")}
    with pytest.raises(ValueError, match=r"no checkpoint .*gone\.ckpt"):
        evaluate(CONFIGS / "debug.yaml", config)


def test_test_episodes_of_a_run_with_a_curriculum(tmp_path):
    words = ("train_patterns_per_episode=[1, 3]", "curriculum=2", "test=2")
    run = build(config(tmp_path, *(f"episodes.{word}" for word in words)))
    assert [batch.patterns.shape[:2] for batch in loader(run, 5)] == [(2, 5)]
