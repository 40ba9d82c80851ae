"""Fast weights against the delta rule, least squares, and finite differences of the meta-loss."""

import pytest
import torch

from baselines.coders import CodersConfig
from baselines.fast_weights import FastWeights, FastWeightsConfig
from tests.baselines.test_memory_network import bits
from tests.contract import IMAGES, MemoryContract, build, check_meta_gradient, train


class TestBits(MemoryContract):
    kind = FastWeights
    config = FastWeightsConfig(key=16, coders=CodersConfig(hidden=16))
    incremental = False

    def test_untrained_it_recalls_few_patterns(self, memory, episode):
        patterns, queries, _ = episode
        errors = (memory.read(memory.write(patterns), queries)[-1].round() != patterns).float().mean()
        assert errors < 0.5 * (queries != patterns).float().mean()


class TestSoftmax(MemoryContract):
    kind = FastWeights
    incremental = False
    config = FastWeightsConfig(
        key=24, hidden=8, activation="softmax", rate=0.25, hops=2, coders=CodersConfig(hidden=16)
    )


class TestImages(TestSoftmax):
    spec = IMAGES
    learns_first = 60  # untrained image coders recall nothing
    config = FastWeightsConfig(
        **{"key": 12, "hidden": 10, "activation": "gelu", "steps": 2, "hops": 2, "width": 14},
        coders=CodersConfig(channels=[4, 8], code_dim=16),
    )


def small(**settings):
    torch.manual_seed(0)
    return build(FastWeights, (6,), coders=CodersConfig(hidden=3), **settings).double()


def test_a_linear_net_is_written_by_the_delta_rule():
    memory, patterns = small(key=5, hidden=0, steps=3, rate=0.4), bits(2, 3, 6)[0].double()
    with torch.no_grad():
        memory.momentum.copy_(torch.tensor([0.3, -0.2]))
        memory.decay.copy_(torch.tensor([0.1, 0.0, 0.2]))
    codes = memory.coders.encode(patterns)
    keys = memory.to_key(codes)
    keys, values = keys / keys.norm(dim=-1, keepdim=True), memory.to_value(codes)
    weights, push = memory.initial["layer0"].expand(2, -1, -1), 0.0
    for momentum, decay in ((0.0, 0.1), (0.3, 0.0), (-0.2, 0.2)):
        push = momentum * push + 0.4 / (1 + 0.6**0.5) ** 2 * (values - keys @ weights.mT).mT @ keys
        weights = (1 - decay) * weights + push
    torch.testing.assert_close(memory.write(patterns)["layer0"], weights, rtol=1e-6, atol=1e-6)


def test_many_steps_on_fewer_patterns_than_key_values_recall_their_values_exactly():
    memory, patterns = small(key=6, hidden=0, steps=400, rate=0.5), bits(2, 3, 6, seed=4)[0].double()
    state, codes = memory.write(patterns), memory.coders.encode(patterns)
    torch.testing.assert_close(memory.key(codes) @ state["layer0"].mT, memory.to_value(codes), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("hidden", "activation"), [(0, "gelu"), (4, "gelu"), (4, "softmax")])
def test_the_meta_gradient_is_that_of_finite_differences(hidden, activation):
    """It passes through the gradients of the writing, hence is of second order."""
    memory = small(key=5, hidden=hidden, activation=activation, steps=2, hops=2)
    patterns, queries, _ = (x.double() for x in bits(2, 3, 6))
    check_meta_gradient(memory, (patterns, queries), step=1e-5, atol=1e-7)


@pytest.mark.parametrize(("items", "share"), [(16, 1.0), (32, 0.9)])
def test_at_the_defaults_training_reduces_the_loss_of_new_episodes(items, share):
    """With half as many patterns as bits, and as many. With a few, the start is good and training adds noise."""
    memory = build(FastWeights, (32,))
    with torch.no_grad():
        before = memory.meta_loss(*bits(16, items, 32, 1000)[:2])
    train(memory, lambda seed: bits(8, items, 32, seed)[:2])
    with torch.no_grad():
        assert memory.meta_loss(*bits(16, items, 32, 1000)[:2]) < share * before


def test_writing_is_stable_for_any_number_of_patterns():
    """The error of what is written falls with the first step, however many patterns share a key's 16 values."""
    for items in (2, 16, 64, 256):
        memory = build(FastWeights, (16,), key=16, hidden=0, steps=1).double()
        patterns = bits(2, items, 16)[0].double()
        codes = memory.coders.encode(patterns)
        keys, values = memory.key(codes), memory.to_value(codes)
        before, after = (
            (keys @ state["layer0"].mT - values).square().sum()
            for state in (memory.initial_state(2), memory.write(patterns))
        )
        assert after < before, items


def test_a_fit_that_diverges_stays_finite():
    """Rates a hundred times the largest stable one, ten steps: unbounded, weights would overflow."""
    memory = build(FastWeights, (32,), key=32, hidden=8, steps=10, rate=1e6)
    state = memory.write(torch.rand(2, 20, 32).round())
    assert max(x.abs().max() for x in state.values()) == 1e4
    assert memory.read(state, torch.rand(2, 20, 32).round()).isfinite().all()


def test_more_steps_recall_more_and_better_than_the_outer_product():
    """Untrained, on random pairs: the delta rule against the Hebbian matrix of the same size."""
    patterns, _, _ = bits(20, 24, 32, seed=7)
    errors = []
    with torch.no_grad():
        for steps in (1, 4, 16, 64):
            torch.manual_seed(0)
            memory = build(FastWeights, (32,), key=32, hidden=0, steps=steps)
            state, codes = memory.write(patterns), memory.coders.encode(patterns)
            keys, values = memory.key(codes), memory.to_value(codes)
            errors.append((keys @ state["layer0"].mT - values).square().mean().item())
        hebb = values.mT @ keys
        scale = ((keys @ hebb.mT) * values).sum() / (keys @ hebb.mT).square().sum()  # the best one
        outer = (scale * keys @ hebb.mT - values).square().mean().item()
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * outer
