"""A memory is started by an objective of its own, then searched, then meta-trained; and says if it does not start."""

import warnings

import pytest
import torch
import yaml

from baselines.coders import CodeSettings
from lightning_ebm import pretrained
from lightning_ebm.config import ConfigError
from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.rate_search import STEPS, WRITE_RATES, step_unit
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import Choice, memories
from lightning_ebm.schema import TrainingConfig
from lightning_ebm.training import module as module_of_training
from lightning_ebm.training.diagnosis import diagnose, has_started
from lightning_ebm.training.module import MetaTraining
from lightning_ebm.training.trainer import build
from tests.marks import fast
from tests.training.tiny import assert_same_state, before_each_update, config, cut_at, last, metrics, trained

STARTED = (
    "training.max_steps=6", "training.pretrain_steps=2", "training.pretrain_objective=keys",
    "training.gradient_term_from=4",
    "training.inner_rate_factor=5", "training.validate_every=1", "training.weight_decay=0", "episodes.val=2",
    "memory.writing={gradient_term: true, gradient_rate: 0.01, per_step: true, steps: 2}", "trainer.threads=1",
)  # fmt: skip

RECORDED = (10.194994, 8.507181, 8.599526, 10.194994, 8.527884, 8.535259)


def run(folder, *words):
    return trained(config(folder, *words))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run through all phases, the raw write rates and first step size before each update, and the unit of steps."""
    units = []

    def learned(module, _):
        writing, reading = module.memory.writing, module.memory.reading
        return writing.learned_rates.detach().clone(), reading.schedule()[0][0].item(), writing.gradient_term

    def unit(*arguments):
        units.append(step_unit(*arguments))
        return units[-1]

    with pytest.MonkeyPatch.context() as patch:
        seen = before_each_update(patch, learned)
        patch.setattr(module_of_training, "step_unit", unit)
        made = run(tmp_path_factory.mktemp("whole"), *STARTED)
    return made, seen, units


def test_phases(whole):
    made, seen, (unit,) = whole
    raw, step_sizes, terms = zip(*seen, strict=True)
    rates = [one.exp() for one in raw]
    assert torch.equal(raw[0], raw[1])  # the first objective leaves them alone
    assert torch.allclose(rates[2][:, :, 0], rates[2][0, 0, 0])
    assert rates[2][0, 0, 0].item() == pytest.approx(min(WRITE_RATES, key=lambda rate: abs(rate - rates[2][0, 0, 0])))
    assert min(abs(step_sizes[2] / (unit.item() * step) - 1) for step in STEPS) < 1e-5
    assert not torch.equal(raw[3], raw[2])  # and then they are learned, those of each step by itself
    assert raw[4][0, 0, 0] != raw[4][1, 0, 0]  # the first step of Adam has one length for all
    assert terms == (False,) * 4 + (True,) * 2
    assert all((rate[:, :, 2] == 0).all() for rate in rates[:4])
    assert rates[4][:, :, 2].tolist() == [[pytest.approx(0.01)]] * 2
    assert not torch.equal(raw[5][:, :, 2], raw[4][:, :, 2])
    logged = {key for _, key in metrics(made.folder)}
    assert {"val/write_cosine", "val/write_top1", "val/error_prior", "val/held"} <= logged


@pytest.mark.parametrize("at", fast([2, 5], [1, 2, 3, 4, 5]))
def test_a_run_interrupted_in_any_phase_goes_on_as_if_it_had_not_been(whole, tmp_path, at):
    cut_at(at, config(tmp_path, *STARTED))
    assert_same_state(last(run(tmp_path, *STARTED).folder), last(whole[0].folder), finished=True)


FOUND_LATER = (
    *STARTED[:1], "training.pretrain_steps=5", "training.pretrain_until=0.5", "training.warmup_steps=2",
    "training.learning_rate=0.01", "training.pretrain_learning_rate=0.02", "training.cooldown_fraction=0",
    *STARTED[2:],
)  # fmt: skip


@pytest.fixture
def found_from_third_validation(monkeypatch):
    """The own pattern is found for 40, 45, 50, 55 … % of the queries in successive validations."""
    original = MetaTraining.validation_step

    def step(self, batch, batch_index):
        share = torch.tensor(0.35 + 0.05 * self.global_step)
        monkeypatch.setattr(module_of_training, "diagnose", lambda *all: {**diagnose(*all), "write_top1": share})
        return original(self, batch, batch_index)

    monkeypatch.setattr(MetaTraining, "validation_step", step)


def test_pretraining_ends_when_patterns_are_found(tmp_path, monkeypatch, found_from_third_validation):
    def phase(module, _):
        optimizer, meta = module.optimizers(), module.global_step >= module.meta_loss_since
        return meta, optimizer.param_groups[0]["lr"], len(optimizer.optimizer.state)

    seen = before_each_update(monkeypatch, phase)
    run(tmp_path / "whole", *FOUND_LATER)
    metas, rates, states = zip(*seen, strict=True)
    assert metas == (False, False, False, True, True, True)  # 40, 45 and 50 % were found
    assert rates == pytest.approx([0.01, 0.018, 0.016, 0.005, 0.01, 0.01])  # both losses are warmed up over two updates
    assert states[2] and not states[3]  # and the second begins with a fresh optimiser
    cut_at(3, config(tmp_path / "cut", *FOUND_LATER))
    assert last(build(config(tmp_path / "cut", *FOUND_LATER)).folder)["meta_loss_since"] == 3
    again = run(tmp_path / "cut", *FOUND_LATER)
    assert_same_state(last(again.folder), last(tmp_path / "whole" / again.folder.name), finished=True)


def test_pretraining_that_did_not_find_enough_says_so(tmp_path):
    words = ("training.pretrain_until=1", "training.validate_every=1", "training.max_steps=4", "episodes.val=4")
    with pytest.warns(UserWarning, match=r"pretraining ends with \d+% of the own patterns found, .*pretrain_until=1"):
        run(tmp_path, *STARTED, *words)


def test_rates_learn_at_a_multiple(tmp_path):
    memory = build(config(tmp_path)).memory
    settings = TrainingConfig(learning_rate=0.002, inner_rate_factor=5, warmup_steps=0)
    optimizer = MetaTraining(memory, PatternSpec((12,), binary=True), settings).configure_optimizers()["optimizer"]
    rate_of = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    inner = {*memory.writing.parameters(), *memory.reading.parameters()}
    assert rate_of.keys() == set(memory.parameters())
    assert all(rate == pytest.approx(0.01 if p in inner else 0.002) for p, rate in rate_of.items())


@pytest.mark.parametrize(
    ("key", "value"), [("pretrain_objective", "keys"), ("inner_rate_factor", 5.0), ("gradient_term_from", 1)]
)
def test_settings_that_a_memory_cannot_follow(tmp_path, key, value):
    spec = PatternSpec((6,), binary=True)
    without = memories.build(Choice("no_memory", CodeSettings()), spec)
    with pytest.raises(ConfigError, match=rf"training\.{key} must be .* for a memory that is not an EBMM"):
        MetaTraining(without, spec, TrainingConfig(**{key: value}))


def test_settings_that_an_energy_cannot_follow(tmp_path):
    with pytest.raises(ConfigError, match=r"training\.gradient_term_from needs memory\.writing\.gradient_term=true"):
        run(tmp_path, "training.gradient_term_from=1")
    mixture = ("memory.energy=mixture", "training.pretrain_steps=1", "training.pretrain_objective=keys")
    with pytest.raises(ConfigError, match=r"training\.pretrain_objective=keys: Mixture .* choose .* alignment"):
        run(tmp_path, *mixture)
    with pytest.raises(ConfigError, match=r"training\.pretrain_until needs .*of keys, recall, alignment"):
        run(tmp_path, "training.pretrain_until=0.5", "training.pretrain_steps=2")


class Overlap(torch.nn.Module):
    """E = −Σ_s (w_s · (2x − 1))² / 2 for hand-set rows: its slope leads to the rows' mixture, by closed form."""

    memory_layers = ("memory",)

    def __init__(self):
        super().__init__()
        self.memory = torch.nn.Linear(8, 2, bias=False)
        torch.nn.init.zeros_(self.memory.weight)

    def forward(self, x):
        return -self.memory(2 * x - 1).square().sum(1) / 2


def test_a_memory_that_holds_its_patterns_is_seen_to():
    """Two orthogonal patterns as the two rows: the change at query q is Σ_s (w_s · q) 2 w_s."""
    memory = EBMM(Overlap(), EBMMConfig(writing=WritingConfig(steps=1), reading=ReadingConfig(steps=1)))
    signs = torch.tensor([[1.0, 1, 1, 1, -1, -1, -1, -1], [1, -1, 1, -1, 1, -1, 1, -1]])
    patterns = ((1 + signs) / 2)[None]
    flipped = signs.clone()
    flipped[:, 0] *= -1
    queries = ((1 + flipped) / 2)[None]
    spec = PatternSpec((8,), binary=True)
    everywhere = torch.ones_like(patterns, dtype=torch.bool)
    (name,) = memory.initial_state(1)
    found = diagnose(memory, spec, {name: signs[None]}, patterns, queries, None, everywhere)
    # pattern 0's query overlaps with it by 6, with the other by -2
    change = 6 * signs[0] - 2 * signs[1]
    own = (signs - signs.mean(0))[0]
    cosine = (change @ own / change.norm() / own.norm()).item()
    assert found["write_cosine"].item() == pytest.approx(cosine, rel=1e-5)
    assert found["write_top1"] == 1
    assert found["held"] == 1
    assert found["write_rate"].item() == pytest.approx(0.3)  # the default
    assert found["step_size"].item() == pytest.approx(0.1)
    assert found["error_prior"] == 1  # the prior is flat: the query's one wrong bit stays
    unwritten = diagnose(memory, spec, memory.initial_state(1), patterns, queries, None, everywhere)
    assert unwritten["write_cosine"] == 0
    assert unwritten["write_top1"] == 0.5  # chance
    with_a_wrong_bit = diagnose(memory, spec, {name: flipped[None]}, patterns, queries, None, everywhere)
    assert with_a_wrong_bit["held"] == 7 / 8


class Copy(torch.nn.Module):
    """E = −w |2x − 1|²: writing raises w for any patterns, and so adds a multiple of the query to its own move."""

    memory_layers = ("memory",)

    def __init__(self):
        super().__init__()
        self.memory = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.memory.weight)

    def forward(self, x):
        return -self.memory((2 * x - 1).square().sum(1, keepdim=True)).squeeze(1)


def test_a_change_that_copies_the_query_is_no_memory():
    memory = EBMM(Copy(), EBMMConfig(writing=WritingConfig(steps=1), reading=ReadingConfig(steps=1)))
    patterns = torch.tensor([[[1.0, 1, 0, 0, 1, 0, 1, 0], [0.0, 1, 1, 0, 0, 1, 1, 0], [0.0, 0, 1, 1, 1, 1, 0, 0]]])
    corrupted = torch.zeros_like(patterns, dtype=torch.bool)
    corrupted[..., :2] = True
    queries = torch.where(corrupted, 1 - patterns, patterns)
    spec, state = PatternSpec((8,), binary=True), memory.write(patterns)
    assert diagnose(memory, spec, state, patterns, queries, None, ~corrupted)["write_top1"] == 1
    found = diagnose(memory, spec, state, patterns, queries, None, corrupted)
    assert found["write_top1"] == 0
    assert found["write_cosine"] < 0


@pytest.mark.parametrize(
    ("values", "started"),
    [((20.0, 32.0, 0.06, 16), True), ((32.0, 32.0, 0.06, 16), False), ((32.0, 32.0, 0.9, 16), True)],
)
def test_what_counts_as_started(values, started):
    assert has_started(*values) is started


def test_a_run_that_does_not_start_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module_of_training, "PATIENCE", 2)
    words = (
        "training.max_steps=4", "training.validate_every=1", "training.learning_rate=0",
        "memory.writing.write_rate=1e-9",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="after 2 updates of the meta-loss .* not started.*own_energy") as said:
        run(tmp_path / "stalled", *words)
    assert sum("has not started" in str(one.message) for one in said) == 1
    monkeypatch.setattr(module_of_training, "has_started", lambda *values: True)
    with warnings.catch_warnings(record=True) as said:
        run(tmp_path / "started", *words)
    assert not any("has not started" in str(one.message) for one in said)


def test_pretraining_does_not_count_as_a_start_that_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(module_of_training, "PATIENCE", 2)
    monkeypatch.setattr(module_of_training, "has_started", lambda *values: False)
    words = ("training.pretrain_steps=3", "training.pretrain_objective=keys", "training.validate_every=1")
    with warnings.catch_warnings(record=True) as said:
        run(tmp_path / "early", *words, "training.max_steps=4")
    assert not any("has not started" in str(one.message) for one in said)
    with pytest.warns(UserWarning, match="after 2 updates of the meta-loss"):
        run(tmp_path / "late", *words, "training.max_steps=5")


def test_by_default_nothing_is_different(tmp_path):
    """Losses of three updates as recorded before there were such objectives (to 2e-5: rates were no logarithms)."""
    seen = []
    original = MetaTraining.training_step

    def step(self, batch, batch_index):
        loss = original(self, batch, batch_index)
        seen.append(loss.item())
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetaTraining, "training_step", step)
        run(tmp_path, "training.max_steps=3", "training.warmup_steps=0", "recipe=paper")
        run(tmp_path, "training.max_steps=3", "training.warmup_steps=0", "memory.writing.per_step=true")
    assert seen == pytest.approx(RECORDED, rel=1e-5)


def test_a_training_may_start_from_another_ones_parameters_and_read_longer(tmp_path):
    small = (*STARTED, "training.max_steps=2")
    first = run(tmp_path / "first", *small)
    words = (
        *small, f"training.start_from={first.folder / 'checkpoints' / 'best.ckpt'}", "training.pretrain_steps=0",
        "training.learning_rate=0", "memory.reading.steps=7", "training.gradient_term_from=0",
    )  # fmt: skip
    longer = run(tmp_path / "longer", *words).memory.state_dict()
    for name, old in first.memory.state_dict().items():
        new = longer[name]
        if name in ("reading.step_decay", "reading.momentum_decay"):
            assert torch.sigmoid(new[len(old) :]).tolist() == pytest.approx([0.9] * (6 - len(old)))
            new = new[: len(old)]
        assert torch.equal(new, old), name
    with pytest.raises(ConfigError, match="belongs to another memory"):
        run(tmp_path / "other", *words, "memory.energy.hidden=9")


def test_a_training_may_go_on_with_the_gradient_term(tmp_path):
    words = (
        *STARTED, "training.pretrain_steps=0", "training.gradient_term_from=0", "training.max_steps=1",
        "training.learning_rate=0",
    )  # fmt: skip
    without = run(tmp_path, *words, "memory.writing.gradient_term=false", "memory.writing.write_rate=0.3")
    source = f"training.start_from={without.folder / 'checkpoints' / 'best.ckpt'}"
    more = run(tmp_path, *words, source, "memory.writing.gradient_rate=0.07").memory.writing.rates()
    assert torch.equal(more[:, :, :2], without.memory.writing.rates())
    assert more[:, :, 2].flatten().tolist() == pytest.approx([0.07] * 2)


@pytest.mark.parametrize(("per_step", "added"), [("true", 0.8), ("false", 0.3)], ids=["own rates", "shared rates"])
def test_a_training_may_go_on_with_more_write_steps(per_step, added, tmp_path):
    words = (
        *STARTED, "training.pretrain_steps=0", "training.gradient_term_from=0", "training.learning_rate=0",
        f"memory.writing.per_step={per_step}",
    )  # fmt: skip
    first = run(tmp_path, *words, "training.max_steps=1", "memory.writing.write_rate=0.3")
    source = f"training.start_from={first.folder / 'checkpoints' / 'best.ckpt'}"
    further = (*words, source, "training.max_steps=0", "memory.writing.write_rate=0.8")
    rates = run(tmp_path, *further, "memory.writing.steps=4").memory.writing.rates()
    assert torch.equal(rates[:2], first.memory.writing.rates())
    assert rates[2:, :, 0].flatten().tolist() == pytest.approx([added] * 2)
    if per_step == "true":
        with pytest.raises(ConfigError, match="belongs to another memory"):
            run(tmp_path, *further, "memory.writing.steps=1")


def test_a_training_may_start_from_a_pretrained_memory(tmp_path):
    found = pretrained.read("bits-8256")
    words = (
        "data={name: bits, size: 128}", f"memory={yaml.safe_dump(found.memory, default_flow_style=True, width=10**6)}",
        "training.pretrain_steps=0", "training.learning_rate=0", "training.max_steps=1", "training.weight_decay=0",
        "episodes={patterns_per_episode: 2, batch: 1, val: 1}", "trainer.threads=1",
    )  # fmt: skip
    for more in ("training.max_steps=1", "training.max_steps=0"):
        memory = run(tmp_path / more, *words, more, "training.start_from=bits-8256").memory
        for name, value in memory.state_dict().items():
            assert torch.equal(value, found.parameters[name]), name
    fresh = run(tmp_path, *words, "training.max_steps=0").memory.state_dict()
    assert not torch.equal(fresh["energy_net.memory.weight"], found.parameters["energy_net.memory.weight"])
    for name, said in {
        "bits-8255": r"training\.start_from: there is no pretrained memory 'bits-8255'.*'bits-8256'.* …\.ckpt",
        "none.safetensors": "training.start_from: .*none.safetensors cannot be read",
        "none.ckpt": "there is no checkpoint none.ckpt",
        "glyphs-4096": "the pretrained memory glyphs-4096 belongs to another memory",
    }.items():
        with pytest.raises(ConfigError, match=said):
            run(tmp_path / "wrong", *words, f"training.start_from={name}")
