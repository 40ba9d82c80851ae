"""The dynamic Kanerva machine against a loop with inverses, a Gaussian's density, and what projections recall."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from baselines.coders import CodersConfig
from baselines.dynamic_kanerva import DynamicKanervaConfig, DynamicKanervaMachine
from tests.baselines.test_kanerva import bits, distorted
from tests.contract import IMAGES, MemoryContract, build, wrong_bits


class TestBits(MemoryContract):
    kind = DynamicKanervaMachine
    config = DynamicKanervaConfig(slots=6, iterations=2, coders=CodersConfig(hidden=16))


class TestImages(TestBits):
    spec = IMAGES
    learns_first = 60  # untrained image coders recall nothing
    config = DynamicKanervaConfig(
        **{"slots": 5, "width": 12, "steps": 2, "objective": "elbo"}, coders=CodersConfig(channels=[4, 8], code_dim=16)
    )


@pytest.mark.parametrize("iterations", [1, 3])
def test_writing_is_the_loop_with_inverses(iterations):
    """One episode, in NumPy: weights from the memory as it then is, always written into the old one."""
    memory = build(DynamicKanervaMachine, (6,), slots=3, prior=0.5, noise=0.4, iterations=iterations).double()
    patterns = bits(2, 5, 6, dtype=torch.float64)
    state = {name: tensor[1].detach().numpy() for name, tensor in memory.write(patterns).items()}
    noise = 0.4**2 + 1e-6
    mean, precision = memory.prior_mean.detach().numpy(), np.eye(3) / (1 + 1e-6)
    for z in memory.coders.encode(patterns)[1].detach().numpy():
        trial = mean
        for _ in range(iterations):
            w = np.linalg.inv(trial @ trial.T + noise * np.eye(3)) @ trial @ z
            after = precision + np.outer(w, w) / noise
            trial = np.linalg.inv(after) @ (precision @ mean + np.outer(w, z) / noise)
        mean, precision = trial, after
    np.testing.assert_allclose(state["mean"], mean, atol=1e-6)  # log σ is kept in float32
    np.testing.assert_allclose(state["covariance"], np.linalg.inv(precision), atol=1e-6)


def test_energy_is_the_negative_log_density_of_a_code():
    """Weights integrated out, z ~ N(0, R'R + σ² I): for Gaussians the best weight gives the same but for a constant."""
    memory = build(DynamicKanervaMachine, (6,), slots=3, prior=1.0).double()
    patterns = bits(2, 5, 6, dtype=torch.float64)
    state = memory.write(patterns)
    noise = memory.log_noise.exp() ** 2 + 1e-6
    density = MultivariateNormal(
        torch.zeros(6, dtype=torch.float64), state["mean"].mT @ state["mean"] + noise * torch.eye(6)
    )
    codes = memory.coders.encode(patterns).transpose(0, 1)
    difference = memory.energy(state, patterns).mT + density.log_prob(codes)
    torch.testing.assert_close(difference, difference[:1].expand_as(difference))


def test_stored_patterns_lie_lower_than_their_distortions():
    memory, patterns = build(DynamicKanervaMachine, (128,)), bits(4, 16, 128)
    state = memory.write(patterns)
    assert (memory.energy(state, patterns) < memory.energy(state, distorted(patterns)) - 1).all()


def test_untrained_it_is_an_attractor_on_the_span_of_few_patterns():
    """Half of the bits re-drawn: 16 of 128 patterns come back; the more, the worse; the mask helps."""
    memory, patterns = build(DynamicKanervaMachine, (128,)), bits(4, 64, 128)
    mask = torch.rand(patterns.shape).argsort(-1) < 64
    queries = torch.where(mask, torch.rand(patterns.shape).round(), patterns)
    unknown, known = (
        [wrong_bits(memory, patterns[:, :n], queries[:, :n], m if m is None else m[:, :n]) for n in (16, 32, 64)]
        for m in (None, mask)
    )
    assert unknown[0] < 0.5
    assert unknown[0] < unknown[1] < unknown[2]
    assert all(a <= b for a, b in zip(known, unknown, strict=True))


def test_rows_that_were_not_written_are_silent_if_the_prior_is_small():
    """With the published prior N(0, 1) a query is projected on the random rows, too, and does not come back."""
    patterns = bits(4, 16, 128)
    queries = distorted(patterns)
    assert wrong_bits(build(DynamicKanervaMachine, (128,)), patterns, queries) < 0.1
    torch.manual_seed(0)
    assert wrong_bits(build(DynamicKanervaMachine, (128,), prior=1.0), patterns, queries) > 5
