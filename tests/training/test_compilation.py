"""Compiled training: the gradients are eager's, resuming changes nothing, and what cannot be compiled says so."""

import pytest
import torch
import yaml
from torch._dynamo.utils import counters

from lightning_ebm.config import ConfigError
from lightning_ebm.ebmm.stepwise import Stepwise
from lightning_ebm.memory import PatternSpec, is_trainable
from lightning_ebm.registry import memories
from lightning_ebm.training import compilation
from lightning_ebm.training.compilation import CompiledLoss, compiler, is_compiled
from tests.ebmm.energies import SMALL
from tests.ebmm.test_exactness import episode, small
from tests.marks import fast, slow
from tests.training.tiny import assert_same_state, config, cut_at, last, metrics, trained

MIXTURE = (
    "memory={name: ebmm, energy: {name: mixture, slots: 4}}", "training.max_steps=4", "trainer.threads=1",
    "trainer.compile=true",
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Compiled code of these tests alone, and none of the user's."""
    folder = tmp_path_factory.getbasetemp() / "compiled"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def assert_equal_gradients(memory, eager, compiled, batch, tolerance):
    """Relative to the largest entry of each parameter's gradient."""
    names, parameters = zip(*((k, p) for k, p in memory.named_parameters() if p.requires_grad), strict=True)
    results = []
    for loss in (eager, compiled):
        torch.manual_seed(0)
        value = loss(*batch)
        results.append((value, torch.autograd.grad(value, parameters, materialize_grads=True, allow_unused=True)))
    (one, expected), (other, got) = results
    assert other.item() == pytest.approx(one.item(), rel=tolerance)
    for name, right, found in zip(names, expected, got, strict=True):
        assert (found - right).abs().max() <= tolerance * right.abs().max() + 1e-14, name


GENERATED = {"gated_rnn", "phase_mixture", "measured_mixture", "mann", "titans"}
"""Whose code is also generated, which takes a minute each. Generated code is checked in every run: `CompiledLoss`."""


def traced(function):
    """Traces and differentiates as the default backend does, and generates no code: seconds instead of minutes."""
    return torch.compile(function, fullgraph=True, dynamic=False, backend="aot_eager")


def backend(name):
    return compiler() if name in GENERATED else traced


@slow
@pytest.mark.parametrize("name", SMALL)
def test_gradients_of_every_energy_are_eagers(name):
    """With the gradient term, whose graph holds that of the energy term."""
    memory, shape, generator = small(name, gradient_term=True, per_step=True)
    batch = episode(shape, generator)
    assert_equal_gradients(memory, memory.meta_loss, Stepwise(memory, backend(name)).meta_loss, batch, 1e-9)
    if memory.energy_net.mean_pattern is not None:
        mask = torch.rand(batch[0].shape, generator=generator) < 0.5
        assert_equal_gradients(memory, memory.meta_loss, Stepwise(memory, traced).meta_loss, (*batch, mask), 1e-9)


@slow
@pytest.mark.parametrize("name", ["mixture", "gated_rnn"])
def test_gradients_in_single_precision_are_eagers(name):
    memory, shape, generator = small(name, gradient_term=False, per_step=True)
    batch = [x.float() for x in episode(shape, generator)]
    memory.float()
    assert_equal_gradients(memory, memory.meta_loss, Stepwise(memory, compiler()).meta_loss, batch, 1e-4)


@pytest.mark.parametrize("name", fast(["gated_rnn"], ["gated_rnn", "measured_mixture"]))
def test_episodes_are_filled_up_to_a_few_sizes_and_each_step_is_compiled_once_for_each(name):
    memory, shape, generator = small(name, gradient_term=True, per_step=True)
    steps = Stepwise(memory, traced, most=8)
    assert [steps.size(items) for items in range(1, 9)] == [2, 2, 4, 4, 6, 6, 8, 8]
    graphs = []
    for items in (3, 4, 3):
        patterns = torch.rand(2, items, *shape, generator=generator, dtype=torch.float64)
        queries = torch.rand(2, items, *shape, generator=generator, dtype=torch.float64)
        assert_equal_gradients(memory, memory.meta_loss, steps.meta_loss, (patterns, queries), 1e-9)
        graphs.append(counters["stats"]["unique_graphs"])
    assert len(set(graphs)) == 1


SMALLER = {
    "dynamic_kanerva": dict(slots=4), "fast_weights": dict(key=6, hidden=5, steps=2),
    "generative_pseudoinverse": dict(slots=4), "kanerva": dict(slots=4, address_dim=3), "lstm": dict(hidden=6),
    "mann": dict(slots=4, width=6, hidden=5), "memory_network": dict(slots=4), "pca": dict(components=3, slots=4),
    "plasticity": dict(neurons=13), "titans": dict(key=6, hidden=5),
    "gradmem": dict(vectors=3, hidden=4, steps=2),
}  # fmt: skip
MISCOMPILED = {"titans"}
"""By torch 2.13.0 on a CPU: the gradient of the keys is wrong, where the compiler gets it right with less fusion. What
matters is that training does not use it."""
SHAPES = dict.fromkeys(("fitted_latent", "image_codec"), (1, 4, 4))
APART = {"ebmm", "modern_hopfield"}  # tested above and below


def build_small(name):
    kind = memories.load(name)
    torch.manual_seed(0)
    return kind(PatternSpec(SHAPES.get(name, (12,)), True), kind.config(**SMALLER.get(name, {})))


TRAINABLE = [name for name in memories.names() if name not in APART and is_trainable(build_small(name))]


def test_modern_hopfield_whose_shapes_depend_on_values_runs_eagerly():
    kind, said = memories.load("modern_hopfield"), []
    memory = kind(PatternSpec((12,), True), kind.config(learned=True)).double()
    patterns, queries = torch.rand(2, 2, 3, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = CompiledLoss("meta_loss", memory.meta_loss, compiler()(memory.meta_loss), memory, int, said.append, {})
    assert_equal_gradients(memory, memory.meta_loss, loss, (patterns, queries, None), 0)
    (line,) = said
    assert line.startswith("meta_loss cannot be compiled and runs eagerly: ")
    assert "\n" not in line


@slow
@pytest.mark.parametrize("name", TRAINABLE)
def test_gradients_of_every_other_memory_are_eagers(name):
    memory = build_small(name).double()
    generator = torch.Generator().manual_seed(1)
    patterns = torch.rand(2, 3, *SHAPES.get(name, (12,)), generator=generator, dtype=torch.float64).round()
    queries = torch.where(torch.rand(patterns.shape, generator=generator) < 0.2, 1 - patterns, patterns)
    said: list[str] = []
    loss = CompiledLoss("meta_loss", memory.meta_loss, backend(name)(memory.meta_loss), memory, int, said.append, {})
    assert_equal_gradients(memory, memory.meta_loss, loss, (patterns, queries, None), 1e-9)
    assert said[0].startswith("compiled meta_loss") or name in MISCOMPILED


@pytest.mark.parametrize("error", [0.0, 1e-3, 0.02, float("nan")])
def test_a_loss_whose_compiled_gradients_are_wrong_runs_eagerly(error):
    """Also after resuming, whatever the gradients then are, and in a memory some of whose parameters have no values."""
    memory = build_small("memory_network").double()
    memory.decays = torch.nn.Parameter(torch.empty(0, dtype=torch.float64))  # as one read step has
    patterns = torch.rand(2, 3, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameter = next(memory.parameters())
    largest = torch.autograd.grad(memory.meta_loss(patterns, patterns), parameter)[0].abs().max()
    assert largest > 0
    first = parameter.flatten()[0]

    def compiled(*episodes):
        return memory.meta_loss(*episodes) + error * largest * (first - first.detach())

    said: list[str] = []
    judged: dict[tuple[int, int, bool], bool] = {}
    loss = CompiledLoss("meta_loss", memory.meta_loss, compiled, memory, int, said.append, judged)
    loss(patterns, patterns, None)
    right = error < 0.01
    assert judged == {(2, 3, False): right}
    assert ("gets its gradients wrong" in said[0]) != right
    again = CompiledLoss("meta_loss", memory.meta_loss, memory.meta_loss, memory, int, said.append, judged)
    again(patterns, patterns, None)
    assert again.works == judged
    assert ("gets its gradients wrong" in said[1]) != right


@slow
def test_resuming_a_compiled_run_changes_nothing_and_compiles_nothing_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    counters.clear()
    whole = trained(config(tmp_path / "whole", *MIXTURE))
    assert counters["inductor"]["fxgraph_cache_miss"] >= 2  # a write step and a read step
    assert "compiled meta_loss for 4 patterns in" in capsys.readouterr().out
    assert yaml.safe_load((whole.folder / "provenance.yaml").read_text())["compiled"] == "yes"
    cut_at(3, config(tmp_path / "cut", *MIXTURE))
    torch._dynamo.reset()  # as in a new process
    counters.clear()
    monkeypatch.setattr(compilation, "agree", None)  # the checkpoint says that the gradients are right
    cut = trained(config(tmp_path / "cut", *MIXTURE))
    assert counters["aot_autograd"]["autograd_cache_hit"] >= 2
    assert not counters["inductor"]["fxgraph_cache_miss"]
    assert_same_state(last(whole.folder), last(cut.folder))
    assert metrics(cut.folder) == metrics(whole.folder)


def test_what_cannot_be_compiled_says_so_and_runs_eagerly(tmp_path, monkeypatch, capsys):
    def refused(function):
        def compiled(*arguments):
            raise RuntimeError("no compiler\nwas found")

        return compiled

    monkeypatch.setattr(compilation, "compiler", lambda **_: refused)
    trained(config(tmp_path / "compiled", *MIXTURE))
    said = "meta_loss cannot be compiled and runs eagerly: RuntimeError: no compiler was found\n"
    assert said in capsys.readouterr().out
    eager = trained(config(tmp_path / "eager", *MIXTURE, "trainer.compile=false"))
    (folder,) = (tmp_path / "compiled").glob("debug-*")
    assert_same_state(last(folder), last(eager.folder))


def test_long_loops_and_varying_numbers_run_eagerly(tmp_path, capsys):
    lstm = "memory={name: lstm, hidden: 6}", "training.max_steps=1", "trainer.compile=true"
    trained(config(tmp_path, *lstm, "episodes.patterns_per_episode=17"))
    assert "runs eagerly: only loops over up to 16 patterns are compiled, and it has 17" in capsys.readouterr().out
    trained(config(tmp_path, *lstm, "episodes.train_patterns_per_episode=[2,5]"))
    assert "for a fixed number of patterns, not for [2, 5]" in capsys.readouterr().out


def test_auto_compiles_long_runs_on_a_cpu(tmp_path):
    def compiled(*words):
        return is_compiled(config(tmp_path, *words))

    assert not compiled()
    assert compiled("trainer.compile=true")
    assert compiled("trainer.compile=auto", "training.max_steps=2000")
    assert not compiled("trainer.compile=auto", "training.max_steps=1999")
    with pytest.raises(ConfigError, match=r"trainer\.compile must be one of true, false, auto"):
        compiled("trainer.compile=yes")
