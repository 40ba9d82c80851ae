"""Compiled training: the gradients are eager's, resuming changes nothing, and what cannot be compiled says so."""

import pytest
import torch
from torch._dynamo.utils import counters

from lightning_ebm.config import ConfigError
from lightning_ebm.ebmm.stepwise import Stepwise
from lightning_ebm.training import compilation
from lightning_ebm.training import trainer as training
from lightning_ebm.training.compilation import CompiledLoss, Compiler, is_compiled
from tests.ebmm.energies import SMALL
from tests.ebmm.test_exactness import episode, small
from tests.training.test_training import interrupt_at
from tests.training.tiny import assert_same_state, config, last, metrics

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


FAST = {("mixture", False), ("reconstruction_vector", True)}
CASES = [
    pytest.param(name, term, marks=() if (name, term) in FAST else pytest.mark.slow)
    for name in SMALL
    for term in (False, True)
]


@pytest.mark.parametrize(("name", "gradient_term"), CASES)
def test_gradients_of_every_energy_are_eagers(name, gradient_term):
    memory, shape, generator = small(name, gradient_term=gradient_term, per_step=True)
    patterns, queries = episode(shape, generator)
    mask = torch.rand(patterns.shape, generator=generator) < 0.5
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        memory.to(dtype)
        compiled = Stepwise(memory, Compiler()).meta_loss
        batch = patterns.to(dtype), queries.to(dtype)
        assert_equal_gradients(memory, memory.meta_loss, compiled, batch, tolerance)
    if memory.energy_net.mean_pattern is not None:
        assert_equal_gradients(memory, memory.meta_loss, compiled, (*batch, mask), tolerance)
