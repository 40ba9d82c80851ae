"""EBMM keeps the contract with every energy; sizes, rates, steps and the clip are what the paper says."""

import math
from abc import ABC

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import grad

from lightning_ebm.ebmm import EBMM, EBMMConfig, Reading, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.energies import (
    DecodedMixture,
    GatedRNN,
    MeasuredMixture,
    Mixture,
    PhaseMixture,
    Reconstruction,
    ResNetConv,
    ResNetFC,
)
from lightning_ebm.experiments.measure import count_floats
from lightning_ebm.layers import cosines
from lightning_ebm.memory import PatternSpec
from tests.contract import MemoryContract, build
from tests.ebmm.energies import MEASURED, SMALL, small_energy


class TestEnergies(MemoryContract):
    incremental = False

    @pytest.fixture(autouse=True, params=SMALL)
    def energy(self, request):
        self.name = request.param
        self.spec = PatternSpec(SMALL[self.name][0], binary=False)

    def build(self):
        writing = WritingConfig(steps=3, write_rate=0.01, gradient_rate=1e-3, gradient_term=True)
        rules = EBMMConfig(writing=writing, reading=ReadingConfig(steps=3, step_size=0.01))
        return EBMM(small_energy(self.name), rules)


CODES = (35, 71, 143, 251)  # of 2,304, 4,608, 9,216 and 16,128 floats in 64 rows


@pytest.mark.parametrize(
    ("energy", "shape", "settings", "floats"),
    [
        (GatedRNN, (128,), {}, 8256),
        *((ResNetFC, (1, 32, 32), {"written_units": d}, 257 * d) for d in (12, 64)),
        *((ResNetConv, (3, 32, 32), {"written_units": d}, 1154 * d) for d in (2, 14)),
        (ResNetConv, (3, 64, 64), dict(channels=[64, 128], inner=128, width=256, strides=[2, 2]), 2306 * 8),
        (Reconstruction, (1, 32, 32), dict(keys=63, code_dim=128), 64 * 128),
        (Mixture, (128,), {}, 8256),
        (PhaseMixture, (128,), {"slots": 63}, 8190),  # from here on not more than the papers
        *((DecodedMixture, (1, 32, 32), dict(code_dim=c, hidden=0, detector=0), 64 * (c + 1)) for c in CODES),
        *((MeasuredMixture, (1, 32, 32), dict(code_dim=c, detector=0), 64 * (c + 1)) for c in CODES),
    ],
)
def test_state_has_exactly_the_published_size(energy, shape, settings, floats):
    memory = EBMM(build(energy, shape, **settings))
    assert count_floats(memory, memory.initial_state(1)) == (floats, floats)
    assert memory.energy(memory.initial_state(1), torch.rand(1, 2, *shape)).shape == (1, 2)


class Linear(nn.Module):
    """E = c·x + (w·x)², by hand differentiable."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Linear(3, 1, bias=False)
        self.bowl = nn.Linear(3, 1, bias=False)

    def forward(self, x):
        return self.slope(x).squeeze(1) + self.bowl(x).squeeze(1).square()


def test_reading_is_projected_nesterov():
    """Against the update rule written out in NumPy, with a slope so steep that both clips act."""
    slope, bowl = np.array([0.9, -1.4, 0.05]), np.array([0.3, 0.2, -0.5])
    config = ReadingConfig(steps=4, step_size=0.7, momentum=0.6, decay=0.8)
    queries = torch.tensor([[0.5, 0.4, 0.9], [0.0, 1.0, 0.2]], dtype=torch.float64)
    net = Linear().double()
    net.slope.weight.data[0], net.bowl.weight.data[0] = torch.from_numpy(slope), torch.from_numpy(bowl)
    reading, start = Reading(config).double(), torch.zeros_like(queries)
    iterates, _ = reading.descend(grad(lambda x: net(x).sum()), queries, start, None, *reading.schedule())
    got = iterates.detach().numpy()
    x, v = queries.numpy(), np.zeros((2, 3))
    touched = 0
    for k in range(4):
        gamma, psi = 0.7 * 0.8**k, 0.6 * 0.8**k
        ahead = np.clip(x + psi * v, 0, 1)
        v = psi * v - gamma * (slope + 2 * (ahead @ bowl)[:, None] * bowl)
        touched += ((x + v < 0) | (x + v > 1)).sum()
        x = np.clip(x + v, 0, 1)
        np.testing.assert_allclose(got[k], x, rtol=1e-6, atol=1e-7)  # the config's numbers are float32
    assert touched > 3


def test_steps_and_momenta_never_grow_whatever_is_learned():
    reading = Reading(ReadingConfig(steps=6))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for parameter in reading.parameters():
            parameter.data = 5 * torch.randn(parameter.shape, generator=generator)
        for schedule in reading.schedule():
            assert schedule.shape == (6,)
            assert (schedule > 0).all()
            assert (schedule.diff() <= 0).all()
    assert (reading.schedule()[1] < 1).all()


def test_known_values_do_not_move():
    memory = EBMM(small_energy("gated_rnn"), EBMMConfig(reading=ReadingConfig(step_size=1.0)))
    patterns, queries = torch.rand(2, 3, 6), torch.rand(2, 3, 6)
    mask = torch.rand(2, 3, 6) < 0.5
    trajectory = memory.read(memory.write(patterns), queries, mask)
    for iterate in trajectory:
        torch.testing.assert_close(iterate[~mask], queries[~mask], rtol=0, atol=0)
    assert (trajectory[-1][mask] != queries[mask]).any()


def test_reading_starts_in_the_range_of_patterns_whatever_mean_pattern_was_learned():
    net = build(ResNetConv, (1, 8, 8), written_units=2, channels=[3], inner=3, width=5, head=4, strides=[1], detector=2)
    memory = EBMM(net)
    net.typical.data[0, :2] = torch.tensor([[-0.1], [1.2]])
    mask = torch.ones(1, 1, 1, 8, 8, dtype=torch.bool)
    mask[..., 7] = False
    start, _ = memory.read_start(torch.full(mask.shape, 0.25), mask, memory.initial_state(1))
    assert start[0, 0, 0, :3, 0].tolist() == [0.0, 1.0, 0.5]
    assert (start[..., 7] == 0.25).all()
    assert memory.energy(memory.initial_state(1), start).isfinite().all()


def test_what_the_query_had_at_corrupted_values_does_not_matter_to_the_gated_rnn_with_the_mask():
    """There it reads from 0.5, which the net sees as zero; without the mask, it reads from the query."""
    memory = EBMM(small_energy("gated_rnn"), EBMMConfig(reading=ReadingConfig(steps=3)))
    mask = torch.rand(2, 3, 6) < 0.5
    mask[..., 0] = False  # one of everything would count as unknown
    queries = torch.rand(2, 3, 6)
    others = torch.where(mask, torch.rand(2, 3, 6), queries)
    state = memory.write(torch.rand(2, 3, 6))
    assert torch.equal(memory.read(state, queries, mask), memory.read(state, others, mask))
    assert not torch.equal(memory.read(state, queries)[-1], memory.read(state, others)[-1])
    blank = torch.where(mask, 0.5, queries)
    step = memory.read(state, queries, mask)[0]
    (slope,) = torch.autograd.grad(memory.energy(state, blank.requires_grad_()).sum(), blank)
    gamma = memory.reading.schedule()[0][0]
    torch.testing.assert_close(step, (blank - gamma * slope * mask).clamp(0, 1))


def test_writing_is_descent_with_one_rate_per_layer_and_term():
    """Two written layers, two steps, against derivatives worked out by hand."""
    net = Linear().double()
    c, w = np.array([0.2, -0.1, 0.4]), np.array([0.5, -0.3, 0.1])
    net.slope.weight.data[0], net.bowl.weight.data[0] = torch.from_numpy(c), torch.from_numpy(w)
    memory = EBMM(net, EBMMConfig(writing=WritingConfig(steps=2, gradient_term=True)), ["slope", "bowl"]).double()
    rates = np.array([[0.1, 0.02, 0.03], [0.2, 0.05, 0.01]])  # layers; energy, prior, gradient
    memory.writing.learned_rates.data[0] = torch.from_numpy(np.log(rates))
    x = np.random.default_rng(0).random((4, 3))
    state = memory.write(torch.from_numpy(x)[None])
    c_0, w_0 = c, w
    for _ in range(2):
        dot = x @ w
        slope = c + 2 * dot[:, None] * w  # ∇ₓE of each pattern
        energy_c, energy_w = x.mean(0), (2 * dot[:, None] * x).mean(0)
        # ‖∇ₓE‖² = ‖c + 2 (w·x) w‖², so ∂/∂c = 2 slope, ∂/∂w = 4 ((w·slope) x + (w·x) slope)
        squared_c = (2 * slope).mean(0)
        squared_w = (4 * ((slope @ w)[:, None] * x + dot[:, None] * slope)).mean(0)
        c, w = (
            c - rates[0] @ np.array([energy_c, 2 * (c - c_0), squared_c]),
            w - rates[1] @ np.array([energy_w, 2 * (w - w_0), squared_w]),
        )
    np.testing.assert_allclose(state["net.slope.weight"][0, 0].detach(), c, rtol=1e-10)
    np.testing.assert_allclose(state["net.bowl.weight"][0, 0].detach(), w, rtol=1e-10)


def test_only_the_memory_layers_are_written():
    memory = EBMM(Linear(), memory_layers=["bowl"])
    assert set(memory.write(torch.rand(1, 2, 3))) == {"net.bowl.weight"}


@pytest.mark.parametrize("per_step", [False, True])
def test_rates_start_where_the_config_says(per_step):
    writing = WritingConfig(steps=3, write_rate=1e-4, prior_rate=0.1, gradient_term=True, per_step=per_step)
    memory = EBMM(Linear(), EBMMConfig(writing=writing, memory_layers=["slope", "bowl"]))
    rates = memory.writing.rates()
    assert rates.shape == (3, 2, 3)
    assert memory.writing.learned_rates.shape == ((3 if per_step else 1), 2, 3)
    np.testing.assert_allclose(rates.detach()[..., 0], 1e-4, rtol=1e-4)
    np.testing.assert_allclose(rates.detach()[..., 1], 0.1, rtol=1e-4)


def test_rates_per_parameter_have_either_sign_and_biases_start_apart():
    config = WritingConfig(
        steps=2,
        write_rate=2.0,
        prior_rate=0.0,
        bias_rate=-0.5,
        gradient_rate=0.3,
        gradient_term=True,
        rates="parameter",
    )
    memory = EBMM(small_energy("gated_rnn"), EBMMConfig(writing=config))
    rates = memory.writing.rates().detach().clone()
    np.testing.assert_allclose(rates, np.tile([[2.0, 0.0, 0.3], [-0.5, 0.0, 0.3]], (2, 1, 1)), rtol=1e-6)
    memory.writing.learned_rates.data.neg_()  # and stay as they are learned
    np.testing.assert_allclose(memory.writing.rates().detach(), -rates)
    memory.writing.set_rate(7.0)
    np.testing.assert_allclose(memory.writing.rates().detach()[0, :, 0], [7.0, 0.5])


@pytest.mark.parametrize(("rate", "left"), [(0.1, 0.8), (0.4, 0.2), (0.5, 0.0), (0.8, 0.0)])
def test_the_pull_to_the_prior_stops_there(rate, left):
    config = EBMMConfig(writing=WritingConfig(steps=1, write_rate=1e-12, prior_rate=rate))
    memory = EBMM(small_energy("gated_rnn"), config)
    prior = memory.initial_state(2)
    state = {name: weight + torch.randn_like(weight) for name, weight in prior.items()}
    for name, weight in memory.update(state, torch.rand(2, 3, 6)).items():
        torch.testing.assert_close(weight - prior[name], left * (state[name] - prior[name]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rate", [0.49, 0.51, 0.8])
def test_a_rate_beyond_the_prior_can_fall_again(rate):
    """Halving what one step erases lowers a loss of what is left, at either side of the bound."""
    memory = EBMM(small_energy("gated_rnn"), EBMMConfig(writing=WritingConfig(steps=1, prior_rate=rate)))
    prior = memory.initial_state(1)
    state = {name: weight + 1 for name, weight in prior.items()}
    left = memory.update(state, torch.rand(1, 3, 6))
    sum((left[name] - state[name]).square().sum() for name in state).backward()
    assert memory.writing.learned_rates.grad[..., 1].min() > 0


@pytest.mark.parametrize("rate", [1e-4, 0.3, 2900.0])
def test_one_update_changes_rates_of_any_size_by_the_same_share(rate):
    """So that training can mend a rate that was searched on a coarse grid."""
    memory = EBMM(small_energy("gated_rnn"), EBMMConfig(writing=WritingConfig(write_rate=rate)))
    memory.reading.set_step_size(rate)
    optimizer = torch.optim.Adam([memory.writing.learned_rates, memory.reading.log_step_size], 0.01)
    (memory.writing.rates()[..., 0].sum() + memory.reading.schedule()[0][0]).backward()
    optimizer.step()
    changed = [memory.writing.rates()[..., 0].flatten()[0].item(), memory.reading.schedule()[0][0].item()]
    assert changed == [pytest.approx(rate * math.exp(-0.01), rel=1e-4)] * 2


@pytest.mark.parametrize("gradient_term", [True, False])
def test_a_sum_over_patterns_is_the_mean_at_as_many_times_the_rates(gradient_term):
    torch.manual_seed(0)
    net = small_energy("gated_rnn").double()
    settings = dict(steps=2, rates="parameter", gradient_term=gradient_term)
    rates = dict(write_rate=0.25, gradient_rate=0.125, bias_rate=-0.25)  # exact in float32, and five times as well

    def memory(reduction, rates):
        writing = WritingConfig(**rates, prior_rate=0.0625, reduction=reduction, **settings)
        return EBMM(net, EBMMConfig(writing=writing)).double()

    times = {key: 5 * rate for key, rate in rates.items()}
    total, mean = memory("sum", rates), memory("mean", times)
    patterns = torch.rand(2, 5, 6, dtype=torch.float64)
    for name, value in total.write(patterns).items():
        torch.testing.assert_close(value, mean.write(patterns)[name], rtol=1e-6, atol=1e-9)


def measured(**settings):
    return build(MeasuredMixture, (1, 8, 8), **MEASURED | settings)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EBMM(Linear()), "memory_layers must name"),
        (lambda: EBMM(Linear(), memory_layers=["bow"]), "no layer 'bow'.*slope, bowl"),
        (lambda: EBMM(nn.Sequential(nn.Tanh()), memory_layers=["0"]), "no parameters"),
        (lambda: WritingConfig(write_rate=0), "write_rate must be above 0 while rates is layer"),
        (lambda: WritingConfig(prior_rate=math.nan), "prior_rate must be above 0"),
        (
            lambda: GatedRNN.config(hidden=4, written_units=4),
            "written_units must be at least 1 and below hidden=4, got 4",
        ),
        (
            lambda: ResNetConv.config(written_units=8, width=8),
            "written_units must be at least 1 and below width=8, got 8",
        ),
        (lambda: ResNetConv.config(strides=[1, 3]), r"strides must be one of 1, 2, got \[1, 3\]"),
        (lambda: ResNetFC.config(channels=[]), "channels must have at least 1"),
        (
            lambda: build(ResNetFC, (1, 30, 32)),
            r"energy.channels needs images with sides divisible by 8, got \(1, 30, 32\)",
        ),
        (lambda: build(ResNetConv, (1, 36, 36)), "divisible by 8"),
        (lambda: build(Reconstruction, (6,), code_dim=7), "energy.code_dim must be at most the 6 values"),
        (lambda: build(Reconstruction, (1, 6, 6), code_dim=7), "divisible by 4"),
        (lambda: build(DecodedMixture, (1, 8, 8), code_dim=64), "energy.code_dim must be below 64"),
        (lambda: build(DecodedMixture, (6,), code_dim=5), r"energy\.detector needs images"),
        (lambda: measured(code_dim=20), "energy.code_dim must be at most 19"),
        (lambda: measured(code_dim=3), "address_dim must be below code_dim - 1 = 2"),
        (lambda: build(MeasuredMixture, (6,)), "energy needs images"),
    ],
)
def test_mistakes_name_the_key(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_reconstruction_energy_recalls_before_any_training():
    """Its point: the first write steps are already a linear associative memory. 128 bits, 16 patterns."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    writing = WritingConfig(steps=5, write_rate=0.3, prior_rate=1e-4, gradient_term=False)
    memory = EBMM(
        build(Reconstruction, (128,), keys=63, code_dim=128, hidden=256),
        EBMMConfig(writing=writing, reading=ReadingConfig(step_size=0.3)),
    )
    patterns = torch.rand(4, 16, 128, generator=generator).round()
    mask = torch.rand(4, 16, 128, generator=generator) < 0.2
    queries = torch.where(mask, torch.rand(4, 16, 128, generator=generator).round(), patterns)
    answer = memory.read(memory.write(patterns), queries)[-1]
    unwritten = memory.read(memory.initial_state(4), queries)[-1]

    def wrong(x):
        return (x.round() != patterns).float().sum(2).mean().item()

    assert wrong(queries) > 12
    assert wrong(answer) < 1
    assert wrong(unwritten) > 0.9 * wrong(queries)


def test_cosines_are_orthonormal_and_ordered_by_frequency():
    basis = cosines((2, 8, 8), 64).double()
    torch.testing.assert_close(basis.T @ basis, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-6)
    images = basis.T.reshape(64, 2, 8, 8)
    roughness = images.diff(dim=2).square().sum((1, 2, 3)) + images.diff(dim=3).square().sum((1, 2, 3))
    # cosine waves are the eigenvectors of the grid's Laplacian, with these eigenvalues; each comes in both channels
    waves = sorted(((a, b) for a in range(8) for b in range(8)), key=lambda wave: wave[0] ** 2 + wave[1] ** 2)
    expected = [sum(4 * math.sin(math.pi * f / 16) ** 2 for f in wave) for wave in waves[:32] for _ in range(2)]
    np.testing.assert_allclose(sorted(roughness), sorted(expected), atol=1e-5)
    np.testing.assert_allclose(roughness[:6], expected[:6], atol=1e-5)


def test_frequencies_of_a_wide_image_count_cycles_per_pixel():
    roughness = cosines((1, 4, 16), 4).T.reshape(4, 4, 16).diff(dim=2).square().sum((1, 2))
    np.testing.assert_allclose(roughness, [4 * math.sin(math.pi * f / 32) ** 2 for f in range(4)], atol=1e-5)


def test_a_library_may_derive_from_an_energy_and_its_own_abstract_module():
    """As `higher` does, to hand over the parameters in each call."""
    base = type("Base", (ABC, nn.Module), {})
    assert type("Derived", (GatedRNN, base), {}).__mro__[-3:] == (ABC, nn.Module, object)
