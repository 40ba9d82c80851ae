"""Differentiable plasticity against a loop over neurons, and against the run of its own paper."""

import numpy as np
import pytest
import torch

from baselines.plasticity import Plasticity, PlasticityConfig
from lightning_ebm.memory import PatternSpec
from tests.baselines.test_memory_network import bits, train
from tests.contract import MemoryContract


class Trained(MemoryContract):
    def test_an_intact_query_is_not_recalled_worse_than_a_corrupted_one(self, memory, episode):
        """An untrained net recalls nothing; so it first learns these patterns, distorted otherwise."""
        patterns = episode[0]

        def distorted(_step):
            return patterns, torch.where(torch.rand_like(patterns) < 0.25, torch.rand_like(patterns), patterns)

        train(memory, distorted, steps=100)
        super().test_an_intact_query_is_not_recalled_worse_than_a_corrupted_one(memory, episode)


class TestBits(Trained):
    spec = PatternSpec((24,), binary=True)

    def build(self):
        return Plasticity.from_config(PlasticityConfig(), self.spec)


class TestImages(Trained):
    spec = PatternSpec((1, 5, 5), binary=False)

    def build(self):
        return Plasticity.from_config(PlasticityConfig(rule="oja", cycles=2), self.spec)


@pytest.mark.parametrize("rule", ["decay", "oja"])
def test_writing_is_the_published_recurrence(rule):
    """One episode and one connection at a time, in NumPy."""
    torch.manual_seed(0)
    memory = Plasticity((3,), PlasticityConfig(rule=rule, cycles=2, on=2, off=1, gain=0.7, eta=0.25)).double()
    with torch.no_grad():
        for parameter in (memory.weight, memory.plasticity):
            parameter.normal_()
    patterns = bits(2, 3, 3)[0].double()
    weight, alpha = memory.weight.detach().numpy(), memory.plasticity.detach().numpy()
    state = memory.write(patterns)
    for episode in range(2):
        traces, y = np.zeros((4, 4)), np.zeros(4)
        for x in 2 * [*patterns[episode].numpy()]:
            for step in range(3):
                before, y = y, np.tanh((weight + alpha * traces).T @ y + (step < 2) * 0.7 * np.append(2 * x - 1, 0))
                y[3] = 1.0
                for i in range(4):
                    for j in range(4):
                        pre = before[i] - y[j] * traces[i, j] if rule == "oja" else before[i] - traces[i, j] / y[j]
                        traces[i, j] += 0.25 * y[j] * pre
        np.testing.assert_allclose(state["traces"][episode].detach(), traces, atol=1e-10)
        np.testing.assert_allclose(state["activity"][episode].detach(), y, atol=1e-10)


def test_two_patterns_of_50_bits_are_learned_within_2000_episodes():
    """Under 10 % wrong bits, as in the paper's comparison with recurrent nets; here 20 updates on batches of 100."""
    torch.manual_seed(0)
    memory = Plasticity((50,))
    optimiser = torch.optim.Adam(memory.parameters(), lr=0.03)
    for step in range(20):
        optimiser.zero_grad()
        memory.meta_loss(*bits(100, 2, 50, step)[:2]).backward()
        optimiser.step()
    patterns, queries, _ = bits(200, 2, 50, 1000)
    with torch.no_grad():
        answer = memory.read(memory.write(patterns), queries)[-1].round()
    assert (answer != patterns).float().mean() < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cycles": 0}, "cycles must be at least 1, got 0"),
        ({"on": 0}, "on must be at least 1, got 0"),
        ({"off": -1}, "off must be at least 0, got -1"),
        ({"read_steps": 0}, "read_steps must be at least 1, got 0"),
        ({"rule": "hebb"}, "rule must be one of decay, oja, got 'hebb'"),
        ({"gain": 0.0}, "gain must be above 0 and finite, got 0"),
        ({"eta": 1.0}, "eta must lie between 0 and 1, got 1"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Plasticity((8,), PlasticityConfig(**settings))
