"""The phase mixture against its formulas; it holds more patterns than it has rows."""

import math

import numpy as np
import pytest
import torch

from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.energies import PhaseMixture
from tests.contract import build, train
from tests.ebmm.test_mixture import bits, wrong


def phase_mixture(slots=63, **writing):
    torch.manual_seed(0)
    settings = dict(steps=15, write_rate=0.5, prior_rate=0.0, bias_rate=-0.5, rates="parameter", reduction="sum")
    writing = WritingConfig(**{**settings, **writing})
    reading = ReadingConfig(steps=2, step_size=0.5, momentum=0.1)
    return EBMM(build(PhaseMixture, (128,), slots=slots), EBMMConfig(writing=writing, reading=reading)).double()


def test_energy_is_the_formula():
    net = build(PhaseMixture, (6,), slots=3, beta=0.5).double()
    net.memory.bias.data = torch.randn(6, dtype=torch.float64)
    x = torch.rand(5, 6, dtype=torch.float64)
    w, b = net.memory.weight.detach().numpy(), net.memory.bias.detach().numpy()
    components = np.concatenate([np.cos(w), np.sin(w)])
    overlap = math.sqrt(6) * (2 * x.numpy() - 1) @ (components / np.linalg.norm(components, axis=1, keepdims=True)).T
    expected = -np.log(np.exp(0.5 * overlap + math.sqrt(0.5) * b).sum(1)) / 0.5
    np.testing.assert_allclose(net(x).detach().numpy(), expected, rtol=1e-6)  # β is stored as a float32 logarithm


def test_a_row_holds_any_two_patterns():
    """The phase of (±1, ±1), one bit of each pattern, recalls both from queries with a quarter of their bits wrong."""
    memory = phase_mixture(slots=1)
    patterns, queries = bits(1, 2)
    first, second = 2 * patterns[0] - 1
    memory.energy_net.memory.weight.data[0] = torch.atan2(second, first)
    assert memory.energy(memory.initial_state(1), patterns)[0].tolist() == pytest.approx([-128, -128], rel=1e-3)
    memory.energy_net.log_beta.data.fill_(math.log(0.5))
    assert wrong(queries, patterns) > 25
    assert wrong(memory.read(memory.initial_state(1), queries)[-1], patterns) == 0


def test_recalls_more_patterns_than_it_has_rows_after_thirty_updates():
    """The paper's net errs by 4.2 bits at 96 patterns, after up to 2,000,000 updates (table 1)."""
    memory = phase_mixture(per_step=True).float()
    train(memory, lambda update: [x.float() for x in bits(4, 96, seed=update)], steps=30, rate=0.02)
    patterns, queries = (x.float() for x in bits(20, 96, seed=999))
    assert wrong(memory.read(memory.write(patterns), queries)[-1], patterns) < 2
