"""The meta-gradient against finite differences, and against a second implementation written here."""

import pytest
import torch
from torch.func import functional_call

from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.layers import LayerNorm
from tests.contract import slope_along
from tests.ebmm.energies import SMALL, small_energy
from tests.marks import fast, slow

STEPS = 2
MASKED = ("decoded_mixture", "measured_mixture", "resnet_fc_restored", "reconstruction_restored")


def small(name, writing_rate=0.02, step_size=0.02, gradient_term=True, **writing):
    torch.manual_seed(0)
    rates = dict(write_rate=writing_rate, prior_rate=1e-4, gradient_term=gradient_term, **writing)
    rules = EBMMConfig(
        writing=WritingConfig(steps=STEPS, **rates), reading=ReadingConfig(steps=STEPS, step_size=step_size)
    )
    memory = EBMM(small_energy(name), rules).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in memory.parameters():  # no two rates, steps or biases alike
        jitter = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += 0.1 * jitter
    return memory, SMALL[name][0], generator


def episode(shape, generator, low=0.0, high=1.0):
    patterns = torch.rand(2, 3, *shape, generator=generator, dtype=torch.float64)
    queries = torch.rand(2, 3, *shape, generator=generator, dtype=torch.float64)
    return low + (high - low) * patterns, low + (high - low) * queries


@pytest.mark.parametrize("name", fast((name for name in SMALL if "conv" not in name), SMALL))
@pytest.mark.parametrize("per_step", [False, pytest.param(True, marks=slow)])
def test_meta_gradient_agrees_with_finite_differences(name, per_step):
    memory, shape, generator = small(name, per_step=per_step)
    # starting well inside, so that the clip, which has kinks, is never reached
    patterns, queries = episode(shape, generator, 0.3, 0.7)
    trajectory = memory.read(memory.write(patterns), queries)
    assert trajectory.min() > 0.01
    assert trajectory.max() < 0.99
    assert (trajectory[-1] - queries).abs().max() > 1e-3

    memory.meta_loss(patterns, queries).backward()
    for key, parameter in memory.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        numeric = slope_along(lambda: memory.meta_loss(patterns, queries), [parameter], [direction], 3e-5)
        analytic = (parameter.grad * direction).sum().item()
        assert analytic == pytest.approx(numeric, rel=1e-5, abs=1e-10), key


def loop_meta_loss(memory, patterns, queries):
    """EBMM once more: torch.autograd instead of torch.func, a loop over episodes instead of vmap.

    Each write step takes a fresh x: reusing one would make the gradient in x a total derivative, since the
    weights depend on that x from the second step on.
    """
    net, total = memory.energy_net, 0.0
    rates = memory.writing.learned_rates.exp()
    rates = rates.expand(memory.writing.steps, -1, -1)
    prior = {name: dict(net.named_parameters())[name] for name in memory.written}
    for items, cues in zip(patterns, queries, strict=True):
        weights = dict(prior)
        for t in range(memory.writing.steps):
            energy = functional_call(net, weights, (items,)).mean()
            terms = [dict(zip(weights, torch.autograd.grad(energy, weights.values(), create_graph=True), strict=True))]
            terms.append({k: 2 * (weights[k] - prior[k]) for k in weights})
            if memory.writing.gradient_term:
                x = items.clone().requires_grad_()
                (slope,) = torch.autograd.grad(functional_call(net, weights, (x,)).sum(), x, create_graph=True)
                loss = slope.square().sum() / len(items)
                terms.append(
                    dict(zip(weights, torch.autograd.grad(loss, weights.values(), create_graph=True), strict=True))
                )
            weights = {
                k: w - sum(rates[t, memory.writing.row_of[k], i] * term[k] for i, term in enumerate(terms))
                for k, w in weights.items()
            }
        gamma = memory.reading.log_step_size.exp()
        psi = 1 / (1 + (-memory.reading.raw_momentum).exp())
        x, velocity = cues, torch.zeros_like(cues)
        for k in range(len(memory.reading.step_decay) + 1):
            if k > 0:
                gamma = gamma / (1 + (-memory.reading.step_decay[k - 1]).exp())
                psi = psi / (1 + (-memory.reading.momentum_decay[k - 1]).exp())
            ahead = torch.clamp(x + psi * velocity, 0, 1)
            if not ahead.requires_grad:
                ahead = ahead.clone().requires_grad_()
            (slope,) = torch.autograd.grad(functional_call(net, weights, (ahead,)).sum(), ahead, create_graph=True)
            velocity = psi * velocity - gamma * slope
            x = torch.clamp(x + velocity, 0, 1)
            total = total + (x - items).square().sum() / len(items)
    return total / len(patterns)


# the others estimate masks: test_decoded_mixture.py, test_measured_mixture.py, test_restored.py
@pytest.mark.parametrize("name", [name for name in SMALL if name not in MASKED])
@pytest.mark.parametrize("gradient_term", [True, False])
def test_agrees_with_an_autograd_loop(name, gradient_term):
    # large steps, from anywhere in [0, 1]: the clip is at work
    memory, shape, generator = small(name, 0.05, 1.0, gradient_term=gradient_term, per_step=True)
    patterns, queries = episode(shape, generator)
    ours = memory.meta_loss(patterns, queries)
    theirs = loop_meta_loss(memory, patterns, queries)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)
    names, parameters = zip(*memory.named_parameters(), strict=True)
    for key, got, expected in zip(
        names, torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        assert (got - expected).norm() <= 1e-9 * expected.norm(), key


def test_layer_norm_of_torch_would_fail_this():
    """Why `layers.LayerNorm` exists; when this fails, the upstream bug is mended and ours may go."""

    def third_derivative_is_right(norm):
        x = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        v = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

        def second(x):
            first = torch.autograd.grad((norm(x[None]) * v[0]).sum().sin(), x, create_graph=True)[0]
            return torch.autograd.grad((first * v[1]).sum(), x, create_graph=True)[0]

        analytic = torch.autograd.grad((second(x) * v[2]).sum(), x)[0]
        step = 1e-5
        numeric = torch.stack(
            [
                ((second(x + step * e) - second(x - step * e)) * v[2]).sum() / (2 * step)
                for e in torch.eye(5, dtype=torch.float64)
            ]
        )
        return torch.allclose(analytic, numeric.detach(), rtol=1e-4, atol=1e-6)

    assert third_derivative_is_right(LayerNorm(5).double())
    assert not third_derivative_is_right(torch.nn.LayerNorm(5).double())
