"""Differentiable plasticity against a loop over neurons, and against the run of its own paper."""

import numpy as np
import pytest
import torch

from baselines.coders import CodersConfig
from baselines.hopfield import Hopfield
from baselines.plasticity import Plasticity, PlasticityConfig
from tests.baselines.test_memory_network import bits
from tests.contract import IMAGES, MemoryContract, build, train, wrong_bits


class TestBits(MemoryContract):
    kind = Plasticity
    learns_first = 100  # an untrained net recalls nothing
    config = PlasticityConfig(neurons=21, coders=CodersConfig(hidden=16))


class TestSymmetric(TestBits):
    config = PlasticityConfig(neurons=25, symmetric=True, alpha=0.5, coders=CodersConfig(hidden=16))


class TestImages(TestBits):
    spec = IMAGES
    config = PlasticityConfig(
        neurons=15, rule="oja", off_steps=1, gain=1.0, coders=CodersConfig(channels=[4, 8], code_dim=16)
    )


@pytest.mark.parametrize("rule", ["decay", "oja"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_writing_is_the_published_recurrence(rule, symmetric):
    """One episode and one connection at a time, in NumPy."""
    settings = {"neurons": 4, "symmetric": symmetric, "rule": rule, "off_steps": 1, "gain": 0.7, "eta": 0.25}
    memory = build(Plasticity, (3,), **settings).double()
    with torch.no_grad():
        for parameter in (memory.weight, memory.plasticity):
            parameter.normal_()
    patterns = bits(2, 3, 3)[0].double()
    codes = memory.coders.encode(patterns).detach().numpy()
    weight, alpha = memory.weight.detach().numpy(), memory.plasticity.detach().numpy()
    state = memory.write(patterns)
    for episode in range(2):
        traces, y = np.zeros((4, 4)), np.zeros(4)
        for x in codes[episode]:
            for step in range(3):
                before, y = y, np.tanh((weight + alpha * traces).T @ y + (step < 2) * 0.7 * np.append(x, 0))
                y[3] = 1.0
                for i in range(4):
                    for j in range(4):
                        loss = y[j] ** 2 if rule == "oja" else 1.0
                        traces[i, j] += 0.25 * (before[i] * y[j] - loss * traces[i, j])
                if symmetric:
                    traces = (traces + traces.T) / 2
                    np.fill_diagonal(traces, 0)
        if symmetric:
            traces = np.array([traces[i, j] for i in range(4) for j in range(i + 1, 4)])
        np.testing.assert_allclose(state["traces"][episode].detach(), traces, atol=1e-10)
        np.testing.assert_allclose(state["activity"][episode].detach(), y, atol=1e-10)


def test_two_patterns_of_50_bits_are_completed_after_2000_episodes():
    """Patterns as in the paper, section 4.1: as many ones as zeros, half of the bits erased in the query."""

    def erased(episodes, seed):
        generator = torch.Generator().manual_seed(seed)
        ranks = torch.rand(2, episodes, 2, 50, generator=generator).argsort(-1)
        patterns, mask = (ranks[0] < 25).float(), ranks[1] < 25
        return patterns, torch.where(mask, 0.5, patterns)

    memory = build(Plasticity, (50,), neurons=51, on_steps=3, off_steps=1, read_steps=3, coders=CodersConfig(hidden=8))
    train(memory, lambda step: erased(25, step), steps=80, rate=0.01)
    patterns, queries = erased(200, 1000)
    with torch.no_grad():
        answer = memory.read(memory.write(patterns), queries)[-1].round()
        without = memory.read(memory.initial_state(200), queries)[-1].round()
    assert (answer != patterns).float().mean() < 0.05
    assert (without != patterns).float().mean() > 0.2


def test_traces_of_long_presentations_at_a_small_rate_are_the_weights_of_a_hopfield_net():
    memory = build(Plasticity, (12,), neurons=13, symmetric=True, on_steps=200, gain=6.0, eta=1e-7)
    patterns = bits(2, 3, 12)[0]
    traces = memory.write(patterns)["traces"] / (200 * 1e-7)
    weights = 12 * build(Hopfield, (12,), rule="hebb").write(patterns)["weights"]
    i, j = torch.triu_indices(13, 13, 1)
    # The first of a pattern's 200 steps ties the pattern before to it: three products that are off by at most 2.
    torch.testing.assert_close(traces[:, (i < 12) & (j < 12)], weights, rtol=0, atol=6 / 200)


def test_only_with_a_large_plasticity_is_there_recall_before_training():
    patterns, queries, mask = bits(10, 16, 128)
    errors = []
    for alpha in (0.0, 0.5):
        torch.manual_seed(0)
        memory = build(Plasticity, (128,), neurons=129, symmetric=True, on_steps=8, alpha=alpha, eta=0.002)
        errors.append(wrong_bits(memory, patterns, queries, mask))
    assert errors[0] > 28 and errors[1] < 4  # a query has 32 wrong bits


def test_values_known_to_be_distorted_are_not_presented():
    memory = build(Plasticity, (12,), neurons=13)
    patterns, queries, mask = bits(2, 3, 12)
    state, others = memory.write(patterns), torch.where(mask, 1 - queries, queries)
    answer = memory.read(state, queries, mask)
    torch.testing.assert_close(memory.read(state, others, mask), answer, rtol=0, atol=0)
