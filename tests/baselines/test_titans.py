"""Titans against the delta rule, a second implementation of its recurrence, and finite differences."""

import pytest
import torch
from torch.nn import functional as F

from baselines.coders import CodersConfig
from baselines.titans import Titans, TitansConfig
from tests.baselines.test_memory_network import bits
from tests.contract import IMAGES, MemoryContract, build, check_meta_gradient


class TestBits(MemoryContract):
    kind = Titans
    config = TitansConfig(key=16, hidden=12, layers=2, coders=CodersConfig(hidden=16))


class TestLinearInChunks(TestBits):
    incremental = False
    config = TitansConfig(key=16, hidden=0, chunk=3, passes=2, coders=CodersConfig(hidden=16))

    def test_untrained_it_recalls_few_patterns(self, memory, episode):
        patterns, queries, _ = episode
        errors = (memory.read(memory.write(patterns), queries)[-1].round() != patterns).float().mean()
        assert errors < 0.5 * (queries != patterns).float().mean()


class TestImages(TestBits):
    spec = IMAGES
    config = TitansConfig(key=12, hidden=10, value=8, width=14, coders=CodersConfig(channels=[], hidden=16))


def small(**settings):
    torch.manual_seed(0)
    memory = build(Titans, (6,), coders=CodersConfig(hidden=3), **settings).double()
    with torch.no_grad():  # gates that differ between patterns
        for name, parameter in memory.named_parameters():
            if "_gate" in name:
                parameter += 0.5 * torch.randn_like(parameter)
    return memory


def pairs(memory, patterns):
    codes = memory.coders.encode(patterns)
    keys = memory.to_key(codes)
    return codes, keys / keys.norm(dim=-1, keepdim=True), memory.to_value(codes)


def test_a_linear_net_without_momentum_and_forgetting_is_the_delta_rule():
    memory, patterns = build(Titans, (6,), hidden=0, key=5, momentum=0, decay=0).double(), bits(2, 4, 6)[0].double()
    _, keys, values = pairs(memory, patterns)
    weights = memory.initial["layer0"].expand(2, -1, -1)
    for key, value in zip(keys.unbind(1), values.unbind(1), strict=True):
        weights = weights + torch.einsum("bv,bk->bvk", value - torch.einsum("bvk,bk->bv", weights, key), key)
    written = memory.write(patterns)
    assert list(written) == ["layer0"]
    torch.testing.assert_close(written["layer0"], weights, rtol=1e-10, atol=1e-10)
    recalled = torch.einsum("bvk,bk->bv", written["layer0"], keys[:, -1])  # the last pair is written exactly
    torch.testing.assert_close(recalled, values[:, -1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 2])
def test_writing_is_the_recurrence_of_the_paper(chunk):
    """Of a net with two hidden layers, written anew with gradients by autograd, one episode and pattern at a time."""
    memory = small(key=5, hidden=4, layers=2, chunk=chunk, activation="silu")
    patterns = bits(2, 5, 6)[0].double()
    codes, keys, values = (x.detach() for x in pairs(memory, patterns))

    def error(weights, key, value):
        first = F.silu(weights["layer0"] @ key + weights["bias0"])
        second = first + F.silu(weights["layer1"] @ first + weights["bias1"])
        return 0.5 * (weights["layer2"] @ second - value).square().sum()

    rates = dict(zip(memory.initial, memory.rates.tolist(), strict=True))
    for episode in range(2):
        weights = {name: x.detach().clone() for name, x in memory.initial.items()}
        surprise = {name: torch.zeros_like(x) for name, x in weights.items()}
        for t in range(5):
            if t % chunk == 0:
                start, size = {name: x.clone().requires_grad_() for name, x in weights.items()}, min(chunk, 5 - t)
            scale = 2 * memory.step_gate(codes[episode, t]).sigmoid().item() / min(size, (1 + (size / 4) ** 0.5) ** 2)
            eta, alpha = (
                gate(codes[episode, t]).sigmoid().item() for gate in (memory.momentum_gate, memory.decay_gate)
            )
            slopes = torch.autograd.grad(error(start, keys[episode, t], values[episode, t]), list(start.values()))
            for name, slope in zip(start, slopes, strict=True):
                surprise[name] = eta * surprise[name] - scale * rates[name] * slope
                weights[name] = (1 - alpha) * weights[name] + surprise[name]
        written = memory.write(patterns)
        for name, x in weights.items():
            torch.testing.assert_close(written[name][episode], x, rtol=1e-9, atol=1e-9, msg=name)
        pushed = torch.cat([surprise[name].flatten() for name in memory.initial])
        torch.testing.assert_close(written["surprise"][episode], pushed, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("settings", [{"hidden": 0, "momentum": 0.0}, {"hidden": 4, "layers": 2, "chunk": 2}])
def test_the_meta_gradient_is_that_of_finite_differences(settings):
    memory = small(key=5, hops=2, **settings)
    patterns, queries, _ = (x.double() for x in bits(2, 3, 6))
    check_meta_gradient(memory, (patterns, queries), step=1e-5, atol=1e-7)
