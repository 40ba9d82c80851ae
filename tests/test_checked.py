"""A memory of one's own that breaks the contract: refused in one line that names it, and never measured wrongly."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightning_ebm.config import ConfigError, build, resolve
from lightning_ebm.data.episodes import Distortion, Episode, EpisodeDataset, PatternSource
from lightning_ebm.ebmm import EBMM, EBMMConfig
from lightning_ebm.experiments.experiment import Experiment, run_experiments
from lightning_ebm.experiments.measure import measure, recall_first
from lightning_ebm.memory import AssociativeMemory, PatternSpec
from lightning_ebm.metrics import RecallError, pattern_errors
from lightning_ebm.registry import Choice, memories
from lightning_ebm.schema import TrainingConfig
from lightning_ebm.settings import Settings
from lightning_ebm.training.module import MetaTraining

SPEC = PatternSpec((4,), binary=True)
MIXTURE = Choice("ebmm", EBMMConfig(energy="mixture"))
PATTERNS = torch.tensor([[[0.0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]]] * 2)  # 2 episodes of 3 patterns


@dataclass(frozen=True)
class OwnConfig(Settings):
    """No settings."""


class Last(AssociativeMemory):
    """Keeps all patterns, and answers with the last one."""

    config = OwnConfig

    def __init__(self, spec=SPEC, config=OwnConfig()):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def initial_state(self, episodes):
        return {"kept": torch.zeros(episodes, 1, 4)}

    def update(self, state, patterns):
        return {"kept": patterns[:, -1:] * self.weight}

    def read(self, state, queries, mask=None):
        return state["kept"].expand_as(queries)[None]

    def energy(self, state, patterns):
        return (patterns - state["kept"]).square().sum(-1)


class Raises(Last):
    def read(self, state, queries, mask=None):
        raise KeyError("oops")


class NoGradient(Last):
    @torch.no_grad()
    def read(self, state, queries, mask=None):
        return super().read(state, queries, mask).clone()


class Drops(Last):
    """Answers at random while it is trained."""

    def read(self, state, queries, mask=None):
        return nn.functional.dropout(torch.ones_like(queries), 0.5, self.training)[None].clamp(max=1)


def cheat(self, patterns):
    patterns.zero_()
    return self.initial_state(len(patterns))


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        (
            "read",
            lambda self, state, queries, mask=None: queries,
            r"must return a trajectory of shape \(steps, 2, 3, 4\), got \(2, 3, 4\)",
        ),
        ("read", lambda self, state, queries, mask=None: queries[None, :, :1], r"must return .* got \(1, 2, 1, 4\)"),
        ("read", lambda self, state, queries, mask=None: None, r"must return .* got \('NoneType',\)"),
        ("read", lambda self, state, queries: queries[None], "too many positional arguments"),
        (
            "update",
            lambda self, state, patterns: [patterns],
            r"must return a dict of tensors of 2 episodes each, got \('list',\)",
        ),
        ("write", lambda self, patterns: {"kept": patterns[:1, -1:]}, r"must return .* got \{'kept': \(1, 1, 4\)\}"),
        ("energy", lambda self, state, patterns: patterns.sum(), r"must return energies of shape \(2, 3\), got \(\)"),
        ("write", cheat, "must not change the patterns"),
    ],
)
def test_what_a_method_may_not_return(name, method, message):
    def use(memory):
        state = memory.write(PATTERNS.clone())
        return memory.read(state, PATTERNS, None), memory.energy(state, PATTERNS)

    method.__name__ = name
    wrong = type("Wrong", (Last,), {name: method})
    use(Last())
    with pytest.raises(ValueError, match=rf"Wrong\.{name}:? {message}"):
        use(wrong())


@pytest.mark.parametrize(
    "mask",
    [torch.zeros(2, 3, 4, dtype=torch.uint8), torch.zeros(2, 1, 4, dtype=torch.bool), torch.zeros(2, 3, 4), True],
)
@pytest.mark.parametrize("name", ["modern_hopfield", "hopfield", "perfect_slots"])
def test_a_mask_is_bool_of_the_shape_of_the_queries(name, mask):
    memory = memories.build(name, SPEC)
    with pytest.raises(ValueError, match=r"mask must be torch.bool of the queries' shape, \(2, 3, 4\), got"):
        memory.read(memory.write(PATTERNS), PATTERNS, mask)


def test_patterns_are_tensors():
    with pytest.raises(ValueError, match="patterns must be a tensor, got ndarray"):
        Last().write(PATTERNS.numpy())


@pytest.mark.parametrize("name", [MIXTURE, "hopfield", "memory_network"])
def test_a_memory_of_patterns_of_a_kind_refuses_others(name):
    memory = memories.build(name, SPEC)
    with pytest.raises(ValueError, match=r"patterns must have shape \(episodes, items, 4\), got \(2, 3, 2\)"):
        memory.write(PATTERNS[..., :2])
    with pytest.raises(ValueError, match=r"queries must have shape \(episodes, items, 4\), got \(2, 3, 2\)"):
        memory.read(memory.write(PATTERNS), PATTERNS[..., :2])


def test_patterns_are_of_the_states_type():
    memory = memories.build(MIXTURE, SPEC)
    with pytest.raises(ValueError, match=r"patterns and queries must be torch.float32, as the state is, got"):
        memory.write(PATTERNS.double())


class Sum(nn.Module):
    def forward(self, x):
        return x.sum()


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.LayerNorm(4), nn.Dropout(0.1)])
def test_an_energy_without_the_layers_that_break_it(layer):
    net = nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 1), nn.Flatten(0))
    with pytest.raises(ValueError, match=f"energy: 1 is a {type(layer).__name__}"):
        EBMM(net, memory_layers=["0"])


@pytest.mark.parametrize(("last", "got"), [(nn.Identity(), r"\(3, 1\)"), (Sum(), r"\(\)")])
def test_an_energy_of_another_shape(last, got):
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1), last)
    memory = EBMM(net, memory_layers=["0"])
    with pytest.raises(ValueError, match=f"energy: it must return 3 energies of 3 patterns, got {got}"):
        memory.read(memory.initial_state(2), PATTERNS)


class Bits(PatternSource):
    """Makes what it is given in place of patterns."""

    spec = SPEC

    def __init__(self, made):
        self.made = made

    def draw(self, split, count, random, sampling=None):
        return self.made


class Erased(Distortion):
    """Erases half of each pattern in place; or makes what it is given."""

    def __init__(self, made=...):
        self.made = made

    def __call__(self, patterns, random):
        mask = np.zeros(patterns.shape, np.bool_)
        mask[:, :2] = True
        patterns[mask] = 0
        return (patterns, mask) if self.made is ... else self.made


RIGHT = PATTERNS[0].numpy()


def test_a_distortion_may_work_in_place():
    episode = EpisodeDataset(Bits(RIGHT), Erased(), 3, "test")[0]
    assert (episode.patterns[0].numpy() == RIGHT).all()
    assert (episode.queries[0].numpy() == RIGHT * [0, 0, 1, 1]).all()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (RIGHT[:1], r"Bits must make patterns of shape \(3, 4\), got \(1, 4\)"),
        (RIGHT[0], r"got \(4,\)"),
        (RIGHT[:, :1], r"got \(3, 1\)"),
        (RIGHT / 2, r"Bits must make patterns of 0 and 1"),
        (RIGHT * np.nan, r"Bits must make patterns of 0 and 1"),
    ],
)
def test_patterns_that_would_be_repeated_to_fit(made, message):
    with pytest.raises(ValueError, match=message):
        EpisodeDataset(Bits(made), Erased(), 3, "test")[0]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "Erased must return queries and their mask"),
        ((RIGHT,), "Erased must return queries and their mask"),
        ((RIGHT[0], RIGHT > 1), r"Erased must make queries of shape \(3, 4\), got \(4,\)"),
        ((RIGHT * 255, RIGHT > 1), r"Erased must make queries within \[0, 1\]"),
        ((RIGHT, RIGHT), "Erased must make a mask of bool"),
        ((RIGHT, RIGHT[:1] > 1), r"Erased must make a mask of shape \(3, 4\), got \(1, 4\)"),
    ],
)
def test_queries_and_masks_that_would_be_repeated_to_fit(made, message):
    with pytest.raises(ValueError, match=message):
        EpisodeDataset(Bits(RIGHT), Erased(made), 3, "test")[0]


def test_memories_are_measured_in_evaluation_mode():
    memory = Drops().train()
    episode = EpisodeDataset(Bits(np.ones((3, 4), np.float32)), Erased(), 3, "test")[0]
    assert memory.training and measure(memory, [episode], SPEC).error == [0.0]
    assert (recall_first(memory, episode, 3).trajectory == 1).all() and memory.training


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer_that_is_no_number_has_an_error_that_is_none(binary):
    error = RecallError(PatternSpec((4,), binary))
    error.update(torch.full_like(PATTERNS, torch.nan), PATTERNS)
    assert error.compute().isnan()


def test_errors_are_of_answers_and_masks_of_the_shape_of_the_patterns():
    with pytest.raises(ValueError, match="answer and patterns must have one shape"):
        RecallError(SPEC).update(PATTERNS[:, :1], PATTERNS)
    with pytest.raises(ValueError, match="the mask must have the patterns' shape"):
        pattern_errors(PATTERNS, PATTERNS, SPEC, PATTERNS[0] > 0)


def test_no_learning_rate_is_negative():
    module = MetaTraining(Last(), SPEC, TrainingConfig(max_steps=4, warmup_steps=0))
    optimiser = module.configure_optimizers()
    share = optimiser["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert share(2) > share(3) > 0 == share(4) == share(9)


def test_a_loss_without_a_gradient_is_told():
    module = MetaTraining(NoGradient(), SPEC, TrainingConfig())
    with pytest.raises(ValueError, match=r"^NoGradient: the loss depends on no parameter"):
        module.training_step(Episode(PATTERNS, PATTERNS, PATTERNS > 1), 0)


def test_a_memory_without_parameters_cannot_be_trained():
    with pytest.raises(ConfigError, match="has no parameters to train"):
        MetaTraining(memories.build("hopfield", SPEC), SPEC, TrainingConfig()).configure_optimizers()


def task(folder, memory, name):
    """The configuration of a memory that is measured on two small episodes, untrained."""
    return resolve(
        {
            "name": name,
            "output": str(folder),
            "data": {"name": "bits", "size": "4"},
            "distortion": {"name": "pixels", "amount": "2"},
            "episodes": {"patterns_per_episode": "2", "test": "2", "val": "2", "batch": "2"},
            "training": {"max_steps": "0"},
            "compare": {"gallery": "0"},
            "memory": memory,
        }
    )


def test_a_row_that_raises_anything_does_not_stop_the_others(tmp_path, capfd):
    rows = [
        Experiment(name, name, "", task(tmp_path, memory, name))
        for memory, name in ((f"{__name__}:Raises", "bad"), ("hopfield", "good"))
    ]
    failed = run_experiments(rows)
    assert failed == {0: "KeyError: 'oops'"} and rows[1].is_done()
    assert "Traceback" in capfd.readouterr().err


def test_a_change_of_one_s_own_class_is_told(tmp_path, monkeypatch):
    """What is done is of the old code, and is not done again."""
    monkeypatch.chdir(tmp_path)
    Path("mine_changing.py").write_text("from tests.test_checked import Last\n\n\nclass Mine(Last):\n    pass\n")
    rows = [Experiment("mine", "mine", "", task(tmp_path, "mine_changing:Mine", "mine"))]
    with warnings.catch_warnings(action="error"):
        assert run_experiments(rows) == {} == run_experiments(rows)
    Path("mine_changing.py").write_text("from tests.test_checked import Last\n\n\nclass Mine(Last):\n    a = 1\n")
    with pytest.warns(
        UserWarning, match="the code of mine_changing:Mine has changed since .*mine-[0-9a-f]{8} was begun"
    ):
        assert run_experiments(rows) == {}


@dataclass(frozen=True)
class Needed(Settings):
    keys: int


@dataclass(frozen=True)
class OddType(Settings):
    sizes: tuple = ()


class Undecorated(OwnConfig):
    keys: int = 3


def test_settings_that_cannot_be_read_are_named():
    with pytest.raises(ConfigError, match=r"^memory.keys must be given, as it has no default"):
        build(Needed, {}, "memory")
    with pytest.raises(
        ConfigError, match=r"^memory.sizes: a setting must be of type bool, int, float, str, list or dict"
    ):
        build(OddType, {"sizes": "3"}, "memory")


class WithInstance(Last):
    config = OwnConfig()


class WithUndecorated(Last):
    config = Undecorated


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("WithInstance", "needs a class attribute `config` that is a dataclass"),
        ("WithUndecorated", "Undecorated has keys"),
    ],
)
def test_a_config_that_is_no_dataclass_of_its_own(name, message):
    with pytest.raises(TypeError, match=message):
        memories.load(f"{__name__}:{name}")
