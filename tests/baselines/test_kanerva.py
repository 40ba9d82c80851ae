"""The Kanerva machine, and what it shares with the dynamic one: the bound is a bound, the objective a choice."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from baselines.coders import CodersConfig
from baselines.dynamic_kanerva import DynamicKanervaMachine
from baselines.gaussian_memory import divergence
from baselines.kanerva import KanervaConfig, KanervaMachine
from tests.contract import IMAGES, MemoryContract, build, train

MACHINES = [KanervaMachine, DynamicKanervaMachine]


class TestBits(MemoryContract):
    learns_first = 60  # random addresses recall badly from any query
    kind = KanervaMachine
    config = KanervaConfig(slots=6, address_dim=12, noise=0.1, coders=CodersConfig(hidden=16))


class TestImages(TestBits):
    spec = IMAGES
    learns_first = 100  # a random encoder need not put a corrupted query farther away
    config = KanervaConfig(
        **{"slots": 5, "width": 12, "address_dim": 6, "steps": 2, "objective": "elbo"},
        coders=CodersConfig(channels=[4, 8], code_dim=16, hidden=8),
    )


def distorted(patterns):
    return torch.where(torch.rand_like(patterns) < 0.25, torch.rand_like(patterns).round(), patterns)


def bits(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).round().to(dtype)


@pytest.mark.parametrize("machine", MACHINES)
def test_reading_needs_the_mean_alone(machine):
    memory, patterns = build(machine, (12,), slots=5), bits(2, 4, 12)
    state = memory.write(patterns)
    torch.testing.assert_close(
        memory.read({**state, "covariance": state["covariance"] * float("nan")}, patterns), memory.read(state, patterns)
    )


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("objective", ["reconstruction", "elbo", "conditional"])
def test_equal_patterns_and_many_more_than_rows_do_no_harm(machine, objective):
    """In float32, in values and gradients, with next to no noise."""
    memory = build(machine, (12,), slots=4, noise=1e-6, prior=1.0, objective=objective)
    for patterns in (torch.ones(2, 6, 12), torch.zeros(2, 6, 12), bits(2, 60, 12)):
        memory.zero_grad()
        loss = memory.meta_loss(patterns, patterns)
        loss.backward()
        assert loss.isfinite()
        assert all(parameter.grad.isfinite().all() for parameter in memory.parameters())
        assert torch.linalg.eigvalsh(memory.write(patterns)["covariance"].double()).min() > -1e-6


def test_addresses_are_made_from_codes_by_the_learned_net():
    memory = build(KanervaMachine, (6,), slots=3, address_dim=4, coders=CodersConfig(hidden=5)).double()
    patterns = bits(2, 3, 6, dtype=torch.float64)
    codes = memory.coders.encode(patterns)
    latent = codes @ memory.to_latent.weight.T + memory.to_latent.bias
    f, hidden = memory.features, torch.tanh(memory.features.inner(latent))
    features = latent @ f.straight.weight.T + f.straight.bias + hidden @ f.outer.weight.T
    weights = features @ memory.addresses
    torch.testing.assert_close(memory.weights(memory.addressing(memory.prior_mean)(codes)), weights)
    # and by them the posterior in its information form
    noise, prior = memory.log_noise.exp() ** 2 + 1e-6, (1 + 1e-6) * torch.eye(3, dtype=torch.float64)
    precision = prior.inverse() + weights.mT @ weights / noise
    mean = precision.inverse() @ (prior.inverse() @ memory.prior_mean + weights.mT @ codes / noise)
    state = memory.write(patterns)
    torch.testing.assert_close(state["mean"], mean, rtol=0, atol=1e-10)
    torch.testing.assert_close(state["covariance"], precision.inverse(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("binary", [True, False])
def test_terms_of_the_bound_are_those_of_torch_distributions(machine, binary):
    memory = build(machine, (6,), slots=3, objective="elbo", real=not binary, coders=CodersConfig(hidden=4)).double()
    patterns = bits(2, 4, 6, dtype=torch.float64) if binary else torch.rand(2, 4, 6, dtype=torch.float64)
    bound, codes, state = memory.bound(patterns), memory.coders.encode(patterns), memory.write(patterns)
    centres = memory.addressing(state["mean"])(codes)
    posterior = Normal(centres, memory.log_deviation.exp().expand_as(centres))
    prior = Normal(torch.zeros_like(centres), torch.ones_like(centres))
    torch.testing.assert_close(bound.latent, kl_divergence(posterior, prior).sum(-1))
    initial = memory.initial_state(2)
    expected = divergence(state["mean"], state["covariance"], initial["mean"], initial["covariance"])
    torch.testing.assert_close(bound.memory, expected)
    logits = memory.coders.logits(codes)
    likelihood = Bernoulli(logits=logits) if binary else Normal(logits.sigmoid(), memory.log_pixel_deviation.exp())
    torch.testing.assert_close(bound.autoencoder, likelihood.log_prob(patterns).sum(-1))
    expected = (bound.likelihood - bound.latent).mean(1) - bound.memory / 4
    torch.testing.assert_close(bound.full, expected)


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("bit", [0.0, 1.0])
def test_the_bound_lies_below_the_exact_likelihood(written, bit):
    """One bit, one row, one column: ln p(x) is an integral over the weight and, given it, the code.

    The code M w is N(R0 w, v w²) if there is a memory to be drawn, and R0 w if there is none.
    """
    memory = build(
        DynamicKanervaMachine, (1,), slots=1, prior=1.0, noise=0.5, objective="elbo", written=written
    ).double()
    with torch.no_grad():
        memory.prior_mean.fill_(0.8)
        line = torch.linspace(-7, 7, 401, dtype=torch.float64)
        density = torch.exp(-line.square() / 2) / math.sqrt(2 * math.pi) * (line[1] - line[0])
        w, e = line[:, None], line[None, :]
        codes = 0.8 * w + (w.abs() * math.sqrt(1 + 1e-6) * e if written else 0 * e)
        chance = memory.coders.logits(codes.reshape(1, -1, 1)).sigmoid().view(401, 401)
        exact = (density[:, None] * density * (chance if bit else 1 - chance)).sum().log().item()
        bounds = memory.bound(torch.full((20000, 1, 1), bit, dtype=torch.float64)).full
    error = 3 * bounds.std().item() / math.sqrt(20000)
    assert exact - 3 < bounds.mean() - error
    assert bounds.mean() + error < exact


@pytest.mark.parametrize("machine", MACHINES)
def test_training_raises_the_bound(machine):
    """Above that of the best guess of bits one by one, for episodes of four patterns that repeat."""
    basis = bits(4, 20, seed=9)
    memory = build(machine, (20,), slots=6, objective="elbo", prior=1.0, noise=0.3, coders=CodersConfig(hidden=32))

    def episodes(_step=0):
        patterns = basis[torch.randint(4, (4, 6))]
        return patterns, patterns

    train(memory, episodes, steps=100, rate=0.02)
    share = basis.mean(0)
    guess = Bernoulli(share).log_prob(basis).sum(-1).mean()
    assert memory.bound(episodes()[0]).full.mean() > guess


def test_given_the_memory_it_beats_every_model_without_one():
    """Of 64 random bits no model without memory has a log-likelihood above -64 ln 2; nor has the full bound."""
    memory = build(
        DynamicKanervaMachine,
        (64,),
        slots=4,
        prior=1.0,
        noise=0.3,
        objective="conditional",
        coders=CodersConfig(hidden=16),
    )
    train(memory, lambda _step: (torch.rand(8, 4, 64).round(),) * 2, steps=40, rate=0.02)
    bound = memory.bound(torch.rand(50, 4, 64).round())
    assert bound.conditional.mean() > -0.5 * 64 * math.log(2)
    assert bound.full.mean() < -64 * math.log(2)


@pytest.mark.parametrize("machine", MACHINES)
def test_without_writing_it_is_a_variational_autoencoder(machine):
    memory, patterns = build(machine, (12,), slots=5, objective="elbo", written=False), bits(2, 4, 12)
    torch.testing.assert_close(memory.write(patterns), memory.initial_state(2))
    bound = memory.bound(patterns)
    assert (bound.memory == 0).all()
    torch.testing.assert_close(bound.full, bound.conditional)
    memory.meta_loss(patterns, patterns).backward()
    assert all(p.grad is not None for p in memory.parameters() if p.requires_grad)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_bound_needs_its_objective(machine):
    with pytest.raises(ValueError, match="objective=elbo"):
        build(machine, (12,)).bound(bits(2, 4, 12))
