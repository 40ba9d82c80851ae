"""The mixture energy against its formulas, and what it can do before and after a short training."""

import math

import numpy as np
import pytest
import torch

from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.energies import Mixture
from tests.contract import build, train


def mixture(**writing):
    torch.manual_seed(0)
    settings = dict(steps=5, write_rate=2.0, prior_rate=0.0, rates="parameter", reduction="sum", gradient_term=False)
    config = EBMMConfig(writing=WritingConfig(**{**settings, **writing}), reading=ReadingConfig(step_size=0.5))
    return EBMM(build(Mixture, (128,)), config).double()


def bits(episodes, items, seed=0):
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(episodes, items, 128, generator=generator, dtype=torch.float64).round()
    mask = torch.rand(episodes, items, 128, generator=generator) < 0.5
    return patterns, torch.where(mask, torch.rand(patterns.shape, generator=generator).double().round(), patterns)


def wrong(answer, patterns):
    return (answer.round() != patterns).double().sum(-1).mean().item()


def test_energy_is_the_formula():
    net = build(Mixture, (6,), slots=4, beta=0.5).double()
    net.memory.bias.data = torch.randn(4, dtype=torch.float64)
    x = torch.rand(5, 6, dtype=torch.float64)
    w, b = net.memory.weight.detach().numpy(), net.memory.bias.detach().numpy()
    signs = 2 * x.numpy() - 1
    overlap = math.sqrt(6) * signs @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
    expected = -np.log(np.exp(0.5 * overlap + math.sqrt(0.5) * b).sum(1)) / 0.5
    np.testing.assert_allclose(net(x).detach().numpy(), expected, rtol=1e-6)  # β is stored as a float32 logarithm


def test_overlap_of_a_component_with_itself_is_the_number_of_bits():
    net = build(Mixture, (128,), slots=1)
    net.memory.weight.data[0] = 3 * torch.where(torch.arange(128) % 3 == 0, 1.0, -1.0)  # whatever its length
    stored = (net.memory.weight.data > 0).float()
    assert net(stored).item() == pytest.approx(-128, rel=1e-5)
    assert net(1 - stored).item() == pytest.approx(128, rel=1e-5)


def test_a_write_step_is_expectation_maximisation():
    """Rows move by what their patterns have beyond the row, biases by the patterns they count."""
    memory = mixture(steps=1, write_rate=0.75, bias_rate=-0.5)
    net = memory.energy_net
    net.memory.bias.data = 0.3 * torch.randn(64, dtype=torch.float64)
    patterns = bits(1, 9)[0]
    state = memory.write(patterns)
    x, w, b = 2 * patterns[0].numpy() - 1, net.memory.weight.detach().numpy(), net.memory.bias.detach().numpy()
    beta = net.log_beta.exp().item()
    length = np.sqrt((w**2).sum(1, keepdims=True) + 1e-6)
    logits = beta * math.sqrt(128) * x @ (w / length).T + math.sqrt(beta) * b
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    towards = share.T @ x
    tangent = towards - (towards * w).sum(1, keepdims=True) * w / length**2
    np.testing.assert_allclose(
        state["memory.weight"][0].detach(), w + 0.75 * math.sqrt(128) * tangent / length, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        state["memory.bias"][0].detach(), b - 0.5 * share.sum(0) / math.sqrt(beta), rtol=1e-9, atol=1e-12
    )


def test_recalls_sixteen_patterns_before_any_training():
    memory = mixture(bias_rate=-0.5)
    patterns, queries = bits(8, 16)
    assert wrong(queries, patterns) > 30
    assert wrong(memory.read(memory.write(patterns), queries)[-1], patterns) < 4
    assert wrong(memory.read(memory.initial_state(8), queries)[-1], patterns) > 30


def test_sixty_updates_recall_sixteen_patterns_almost_perfectly():
    """The paper's table 1 has no error at 16 patterns, after up to 2,000,000 updates."""
    memory = mixture(bias_rate=-0.5, per_step=True).float()
    train(memory, lambda update: [x.float() for x in bits(8, 16, seed=update)], steps=60, rate=0.02)
    patterns, queries = (x.float() for x in bits(40, 16, seed=999))
    assert wrong(memory.read(memory.write(patterns), queries)[-1], patterns) < 0.5
