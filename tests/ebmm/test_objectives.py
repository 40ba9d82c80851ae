"""The objectives that start a memory: their gradients, and their values for nets whose keys are known by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.energies.base import Energy
from lightning_ebm.ebmm.objectives import OBJECTIVES, alignment_loss, inputs_and_keys, key_loss, recall_loss
from lightning_ebm.ebmm.rate_search import grid_errors, set_best, step_unit
from tests.contract import slope_along
from tests.ebmm.energies import SMALL, small_energy


def small(name):
    torch.manual_seed(0)
    shape = SMALL[name][0]
    memory = EBMM(
        small_energy(name), EBMMConfig(writing=WritingConfig(steps=2, write_rate=0.1, per_step=True))
    ).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in memory.energy_net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    patterns, queries = torch.rand(2, 2, 3, *shape, generator=generator, dtype=torch.float64)
    return memory, patterns, queries, torch.rand(patterns.shape, generator=generator) < 0.5, generator


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        ("keys", "gated_rnn"),
        ("keys", "resnet_conv"),
        *(("recall", n) for n in ("gated_rnn", "resnet_fc", "resnet_conv")),
        *(("alignment", n) for n in ("gated_rnn", "resnet_fc", "mixture")),
    ],
)
def test_gradients_agree_with_finite_differences(objective, name):
    memory, *episode, generator = small(name)
    loss = OBJECTIVES[objective]
    loss(memory, *episode).backward()
    assert (memory.writing.learned_rates.grad is not None) == (objective != "keys")
    parameters = [*memory.energy_net.parameters(), *memory.writing.parameters()]
    directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    numeric = slope_along(lambda: loss(memory, *episode), parameters, directions, 1e-5)
    slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    analytic = sum((g * d).sum().item() for g, d in zip(slopes, directions, strict=True))
    assert analytic == pytest.approx(numeric, rel=1e-6)


class KnownKeys(nn.Module):
    """E = k(x) · memory(x) with k(x) = tanh(A x): the gradient in the layer's output is k(x), whatever was written."""

    memory_layers = ("memory",)

    def __init__(self, key_layer, outputs):
        super().__init__()
        self.key_layer, self.memory = key_layer, nn.Linear(key_layer.in_features, outputs)

    def key(self, x):
        return torch.tanh(self.key_layer(x))

    def forward(self, x):
        return (self.key(x) * self.memory(x)).sum(1)


def known_keys():
    """A memory that writes one step into a net of known keys, the matrix of the keys, patterns and queries."""
    torch.manual_seed(0)
    net = KnownKeys(nn.Linear(5, 4, bias=False), 4).double()
    memory = EBMM(net, EBMMConfig(writing=WritingConfig(steps=1)))
    return memory, net.key_layer.weight.detach().numpy(), *torch.rand(2, 2, 3, 5, dtype=torch.float64)


def test_a_net_with_known_keys():
    """Keys and kernel sum in closed form, in NumPy."""
    memory, a, patterns, queries = known_keys()
    found = inputs_and_keys(memory, queries)[1].detach().numpy()
    expected_losses = []
    for p, q, k in zip(patterns.numpy(), queries.numpy(), found, strict=True):
        np.testing.assert_allclose(k, np.tanh(q @ a.T), rtol=1e-12)
        mean = p.mean(0)
        for i in range(3):
            kernel = [np.tanh(a @ q[i]) @ np.tanh(a @ p[n]) for n in range(3)]
            recalled = sum(kernel[n] * (p[n] - mean) for n in range(3))
            own = p[i] - mean
            expected_losses.append(1 - recalled @ own / np.linalg.norm(recalled) / np.linalg.norm(own))
    assert key_loss(memory, patterns, queries, None).item() == pytest.approx(np.mean(expected_losses), rel=1e-12)


class DeepKeys(KnownKeys):
    """E = k(x) · memory(φ(x)) with φ(x) = tanh(B x), below the memory layer."""

    def __init__(self, key_layer, below, outputs):
        super().__init__(key_layer, outputs)
        self.below, self.memory = below, nn.Linear(below.out_features, outputs)

    def forward(self, x):
        return (self.key(x) * self.memory(torch.tanh(self.below(x)))).sum(1)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def cross_entropy(cosines, own):
    return math.log(sum(math.exp(10 * c) for c in cosines)) - 10 * cosines[own]


def missed(move, target):
    """2 - cos - cos', of which the second counts the first three values."""
    return 2 - cosine(move, target) - cosine(move[:3], target[:3])


MASK = torch.tensor([True, True, True, False, False]).expand(2, 3, 5)


def test_keys_and_values_in_closed_form():
    """What `recall` adds to `alignment`, for a net whose keys, inputs and Jacobian are known, in NumPy."""
    torch.manual_seed(0)
    layers = nn.Linear(5, 4, bias=False), nn.Linear(5, 6, bias=False)
    memory = EBMM(DeepKeys(*layers, 4).double())
    a, b = (layer.weight.detach().numpy() for layer in layers)
    patterns, queries = torch.rand(2, 2, 3, 5, dtype=torch.float64)
    expected = []
    for p, q in zip(patterns.numpy(), queries.numpy(), strict=True):
        values = np.tanh(p @ b.T) - np.tanh(p @ b.T).mean(0)
        for i in range(3):
            back = ((1 - np.tanh(b @ q[i]) ** 2)[:, None] * b).T  # the transposed Jacobian of the input at q
            found, stored = np.tanh(a @ q[i]), np.tanh(p @ a.T)
            of_keys = cross_entropy([cosine(found, key) for key in stored], i)
            expected.append(of_keys + missed(back @ values[i], (p - p.mean(0))[i]))
    found = recall_loss(memory, patterns, queries, MASK) - alignment_loss(memory, patterns, queries, MASK)
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-10)


def test_alignment_in_closed_form():
    """Of one write step into a net with known keys, in NumPy."""
    memory, a, patterns, queries = known_keys()
    w, b = (weight.detach().numpy() for weight in memory.prior().values())
    rate = memory.writing.rates()[0, 0, 0].item()
    expected = []
    for p, q in zip(patterns.numpy(), queries.numpy(), strict=True):
        k = np.tanh(p @ a.T)
        written = w - rate * (k.T @ p) / 3, b - rate * k.mean(0)
        for i in range(3):
            of_keys = (1 - np.tanh(a @ q[i]) ** 2)[:, None] * a  # the Jacobian of the keys at q
            before, after = (np.tanh(a @ q[i]) @ u + (u @ q[i] + v) @ of_keys for u, v in ((w, b), written))
            change, own = before - after, p - p.mean(0)
            contrast = cross_entropy([cosine(change[:3], one[:3]) for one in own], i)
            expected.append(contrast + missed(change, own[i]) + missed(-after, p[i] - q[i]))
    assert alignment_loss(memory, patterns, queries, MASK).item() == pytest.approx(np.mean(expected), rel=1e-10)


def test_all_memory_layers_are_seen():
    memory, patterns, *_ = small("resnet_conv")
    layers = [memory.energy_net.get_submodule(name) for name in memory.energy_net.memory_layers]
    assert len(layers) > 1
    inputs, keys = inputs_and_keys(memory, patterns)
    outputs = [layer(one.flatten(0, 1)).flatten(1) for layer, one in zip(layers, inputs, strict=True)]
    assert keys.flatten(0, 1).shape == torch.cat(outputs, 1).shape


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_episodes_count_by_themselves(objective):
    """So that chunks and devices, which share episodes out, change nothing."""
    torch.manual_seed(0)
    memory = EBMM(KnownKeys(nn.Linear(5, 4, bias=False), 4).double())
    patterns, queries = torch.rand(2, 4, 3, 5, dtype=torch.float64)
    mask = torch.rand(4, 3, 5) < 0.5
    loss = OBJECTIVES[objective]
    apart = [loss(memory, *(x[i : i + 1] for x in (patterns, queries, mask))).item() for i in range(4)]
    assert loss(memory, patterns, queries, mask).item() == pytest.approx(np.mean(apart), rel=1e-12)


def test_a_key_for_each_pattern_is_best_and_one_for_all_is_worthless():
    patterns = torch.eye(6, dtype=torch.float64)[None]  # six patterns, each with a bit of its own
    layer = nn.Linear(6, 6, bias=False).double()
    memory = EBMM(KnownKeys(layer, 6).double())
    layer.weight.data = torch.eye(6, dtype=torch.float64)
    assert key_loss(memory, patterns, patterns, None).item() == pytest.approx(0, abs=1e-12)
    layer.weight.data = torch.ones(6, 6, dtype=torch.float64)
    assert key_loss(memory, patterns, patterns, None).item() == pytest.approx(1, abs=1e-9)


def test_keys_need_a_layer_that_is_called():
    memory, *episode, _ = small("mixture")
    with pytest.raises(ValueError, match=r"Mixture reads its memory layers' weights without calling .* alignment"):
        key_loss(memory, *episode)


class CalledTwice(Energy):
    """One layer is called twice, the other is read."""

    memory_layers = ("called", "read")

    def __init__(self):
        super().__init__()
        self.called, self.read = nn.Linear(5, 5), nn.Linear(5, 5)

    def writing_energy(self, x):
        return (self.called(self.called(x)) * (x @ self.read.weight)).sum(1)


def test_a_layer_that_is_called_twice_does_not_count_for_two():
    patterns = torch.rand(1, 3, 5)
    with pytest.raises(ValueError, match=r"CalledTwice reads its memory layers' weights without calling"):
        key_loss(EBMM(CalledTwice()), patterns, patterns, None)


class OfPairs(Energy):
    """The layer sees pairs of values, all side by side."""

    memory_layers = ("memory",)

    def __init__(self):
        super().__init__()
        self.memory = nn.Linear(2, 3)

    def writing_energy(self, x):
        return self.memory(x.reshape(-1, 2)).tanh().view(len(x), -1).sum(1)


@pytest.mark.parametrize("loss", [key_loss, recall_loss])
def test_keys_need_a_layer_that_is_called_on_patterns(loss):
    patterns = torch.rand(2, 3, 4)
    with pytest.raises(ValueError, match=r"OfPairs calls a memory layer on 12 rows for 6 patterns, .* alignment"):
        loss(EBMM(OfPairs()), patterns, patterns, torch.ones(2, 3, 4).bool())


class Bias(nn.Module):
    """E = w · (2x − 1), from w = 0: one pattern p written at rate a and read with step γ moves x by 2 a γ (2p − 1)."""

    memory_layers = ("memory",)

    def __init__(self):
        super().__init__()
        self.memory = nn.Linear(4, 1, bias=False)
        nn.init.zeros_(self.memory.weight)

    def forward(self, x):
        return self.memory(2 * x - 1).squeeze(1)


@pytest.mark.parametrize("rates", ["layer", "parameter"])
@pytest.mark.parametrize("per_step", [False, True])
def test_the_search_finds_the_best_of_a_known_grid(rates, per_step):
    writing, reading = WritingConfig(steps=2, rates=rates, per_step=per_step), ReadingConfig(steps=1)
    memory = EBMM(Bias(), EBMMConfig(writing=writing, reading=reading))
    memory.writing.learned_rates.data[:, :, 1] = 0.0 if rates == "parameter" else -50.0  # no pull back to the prior
    patterns = torch.tensor([[[1.0, 0.0, 0.0, 1.0]]])
    queries = torch.full_like(patterns, 0.5)
    grid = dict(write_rates=(0.01, 0.05, 0.2), step_sizes=(0.1, 0.5, 0.6))
    errors = grid_errors(memory, patterns, queries, None, **grid)
    expected = [[4 * max(0.0, 0.5 - 2 * 2 * a * g) ** 2 for g in grid["step_sizes"]] for a in grid["write_rates"]]
    np.testing.assert_allclose(errors[0], expected, atol=1e-5)
    np.testing.assert_allclose(errors[1], 1.0, atol=1e-5)  # the prior state has no slope, so queries stay
    errors[1, 2, 2] = errors[0, 2, 2]  # the least error, but whatever was written
    errors[1, 0, 0] = 9999.0  # what was written spoils other episodes the most, but hardly helps its own
    set_best(memory, errors, 1.0, **grid)
    assert memory.writing.rates()[:, :, 0].tolist() == [[pytest.approx(0.2)]] * 2
    assert memory.reading.schedule()[0].tolist() == [pytest.approx(0.5)]
    memory.writing.set_rate(0.05)
    grid["write_rates"] = ()  # the rates as they are
    errors = grid_errors(memory, patterns, queries, None, **grid)
    np.testing.assert_allclose(errors[0], expected[1:2], atol=1e-5)
    set_best(memory, errors, 1.0, **grid)
    assert memory.writing.rates()[:, :, 0].tolist() == [[pytest.approx(0.05)]] * 2


def test_the_search_compares_with_the_state_of_another_episode():
    memory = EBMM(Bias(), EBMMConfig(writing=WritingConfig(steps=1, per_step=True), reading=ReadingConfig(steps=1)))
    patterns = torch.tensor([[[1.0, 0.0, 0.0, 1.0]], [[1.0, 0.0, 1.0, 0.0]]])  # two values differ
    queries = torch.full_like(patterns, 0.5)
    errors = grid_errors(memory, patterns, queries, None, (0.05,), (1.0,))
    towards, away = (0.5 - 2 * 0.05) ** 2, (0.5 + 2 * 0.05) ** 2
    np.testing.assert_allclose(errors[0], 4 * towards, rtol=1e-5)
    np.testing.assert_allclose(errors[1], 2 * towards + 2 * away, rtol=1e-5)


def test_the_unit_of_step_sizes_moves_queries_by_their_distance_to_the_patterns():
    net = Bias()
    net.memory.weight.data[:] = torch.tensor([[0.3, -0.1, 0.2, 0.0]])
    patterns, queries = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    slopes = 2 * net.memory.weight[0].expand_as(queries)
    moves = step_unit(EBMM(net), patterns, queries) * slopes
    torch.testing.assert_close(moves.square().mean().sqrt(), (queries - patterns).square().mean().sqrt())


def test_a_pair_that_diverges_or_is_worse_than_the_query_is_not_chosen():
    memory = EBMM(Bias())
    own = torch.tensor([[math.inf, 3.0], [math.nan, 4.0]]).nan_to_num(math.inf, math.inf)
    other = torch.tensor([[math.inf, 3.5], [9.0, 9.0]])
    for query_error, rate in ((5.0, 2.0), (3.9, 1.0), (1.0, 1.0)):  # in the last, none is better: the least error
        set_best(memory, torch.stack([own, other]), query_error, (1.0, 2.0), (0.1, 0.2))
        assert memory.writing.rates()[0, 0, 0].item() == pytest.approx(rate)
        assert memory.reading.schedule()[0][0].item() == pytest.approx(0.2)


def test_the_prior_is_scaled():
    net = KnownKeys(nn.Linear(5, 4), 4)
    weights = [parameter.clone() for parameter in net.memory.parameters()]
    for scale in (1.0, 0.5, 0.0):
        prior = EBMM(copy.deepcopy(net), EBMMConfig(prior_scale=scale)).prior()
        assert all(torch.equal(one, scale * weight) for one, weight in zip(prior.values(), weights, strict=True))


@pytest.mark.parametrize("rates", ["layer", "parameter"])
def test_a_gradient_term_that_is_held_back_is_none_and_comes_in_at_its_rate(rates):
    def built(gradient_term):
        torch.manual_seed(0)
        config = WritingConfig(steps=2, gradient_term=gradient_term, gradient_rate=0.02, rates=rates)
        return EBMM(small_energy("gated_rnn"), EBMMConfig(writing=config))

    patterns = torch.rand(2, 3, 6)
    with torch.no_grad():
        expected = built(False).write(patterns)
        memory, whole = built(True), built(True).write(patterns)
        memory.writing.hold_back_gradient_term()
        other = built(True)
        other.load_state_dict(memory.state_dict())  # a checkpoint of that time, in a memory that has the term
        for made in (memory, other):
            for name, weight in made.write(patterns).items():
                torch.testing.assert_close(weight, expected[name], rtol=1e-6, atol=1e-7)
        memory.writing.add_gradient_term()
        for name, weight in memory.write(patterns).items():
            torch.testing.assert_close(weight, whole[name], rtol=0, atol=0)
            assert not torch.allclose(weight, expected[name], rtol=1e-4)
