"""An energy with detector and completion: reading in a loop written anew, and what may not change."""

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.energies import Reconstruction, ResNetConv, ResNetFC
from lightning_ebm.ebmm.objectives import OBJECTIVES, start_loss
from tests.contract import build
from tests.ebmm.energies import SMALL, small_energy

SHAPE = (1, 8, 8)
SMALLER = dict(written_units=2, channels=[3], head=4)
NETS = {
    "resnet_fc": (ResNetFC, SMALLER | dict(code_dim=5, hidden=6)),
    "resnet_conv": (ResNetConv, SMALLER | dict(inner=3, width=5, strides=[1])),
    "reconstruction": (Reconstruction, dict(keys=3, code_dim=7, hidden=2, slow=3)),
}


def small(energy):
    rules = EBMMConfig(writing=WritingConfig(steps=2, write_rate=0.1), reading=ReadingConfig(steps=2, step_size=0.3))
    memory = EBMM(energy, rules).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in memory.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    patterns, noise = torch.rand(2, 2, 3, *SHAPE, generator=generator, dtype=torch.float64).round()
    mask = torch.zeros(patterns.shape, dtype=torch.bool)
    mask[..., 2:6, 3:7] = True
    return memory, patterns, torch.where(mask, noise, patterns), mask


def read_in_a_loop(memory, state, queries, mask):
    """Each query on its own, by torch.autograd: the trajectory (steps + 1, episodes, items, *shape)."""
    net, answers = memory.energy_net, []
    sizes, momenta = memory.reading.schedule()
    for episode in range(len(queries)):
        weights = {name: value[episode] for name, value in state.items()}
        for item in range(queries.shape[1]):
            q = queries[episode, item][None]
            m = net.restoration.detector(q) if mask is None else mask[episode, item][None].double()
            x, velocity, steps = q + m * (net.typical - q), torch.zeros_like(q), []
            for size, momentum in zip(sizes, momenta, strict=True):
                ahead = (x + momentum * velocity).clamp(0, 1).detach().requires_grad_()
                energy = functional_call(net, weights, (q + m * (ahead - q),))
                slope = torch.autograd.grad(energy.sum(), ahead)[0]
                velocity = momentum * velocity - size * slope
                x = (x + velocity).clamp(0, 1)
                steps.append(x)
            inside = x.clamp(1e-3, 1 - 1e-3)
            completed = net.restoration.completion((inside / (1 - inside)).log(), q, m).sigmoid()
            steps.append(q + m * (completed - q))
            answers.append(torch.cat(steps))
    return torch.stack(answers, 1).unflatten(1, queries.shape[:2])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_reading_moves_what_is_corrupted_and_completes_it(name, known):
    torch.manual_seed(0)
    kind, settings = NETS[name]
    memory, patterns, queries, mask = small(build(kind, SHAPE, detector=3, completion=3, **settings))
    state, given = memory.write(patterns), mask if known else None
    trajectory = memory.read(state, queries, given).detach()
    torch.testing.assert_close(trajectory, read_in_a_loop(memory, state, queries, given).detach(), atol=1e-9, rtol=1e-9)
    assert (trajectory[-1] - trajectory[-2]).abs().max() > 1e-3
    if known:
        assert (trajectory[:, ~mask] == queries[~mask]).all()


@pytest.mark.parametrize("detector", [0, 3])
@pytest.mark.parametrize("name", ["decoded_mixture", "measured_mixture"])
def test_reading_erases_what_is_masked_and_keeps_the_rest(name, detector):
    shape, kind, settings = SMALL[name]
    memory, patterns, _, mask = small(build(kind, shape, **settings | {"detector": detector}))
    state = memory.write(patterns)
    first, second = (memory.read(state, torch.where(mask, noise, patterns), mask) for noise in (0.2, 0.9))
    torch.testing.assert_close(first, second)  # nothing of what was there is left
    torch.testing.assert_close(first[-1][~mask], patterns[~mask])


@pytest.mark.parametrize("name", NETS)
def test_without_the_nets_a_seed_makes_the_same_net(name):
    """So runs and weights from before the nets were there stay what they are."""
    kind, settings = NETS[name]
    plain, restored = (
        (torch.manual_seed(0), build(kind, SHAPE, **settings, **nets))[1] for nets in ({}, {"detector": 3})
    )
    assert not any("restoration" in key or "typical" in key for key in plain.state_dict())
    for key, value in plain.state_dict().items():
        assert (restored.state_dict()[key] == value).all()
    assert plain.mean_pattern is None
    with pytest.raises(NotImplementedError):
        plain.auxiliary_loss(*torch.rand(3, 2, *SHAPE))


@pytest.mark.parametrize("known", [True, False])
def test_an_objective_that_starts_a_memory_sees_where_reading_starts(known):
    """And the loss of detector and mean pattern is added."""
    memory, patterns, queries, mask = small(small_energy("resnet_fc_restored"))
    net = memory.energy_net
    likely = net.restoration.detector(queries.flatten(0, 1)).view_as(queries).detach()
    soft_mask = mask.double() if known else likely
    start = (queries + soft_mask * (net.typical - queries)).detach()
    own = F.binary_cross_entropy(likely, mask.double()) + (patterns - net.typical).square().mean()
    for objective in OBJECTIVES.values():
        found = start_loss(objective, memory, known, patterns, queries, mask)
        torch.testing.assert_close(found, objective(memory, patterns, start, mask) + own)


def test_an_energy_without_them_starts_at_the_query():
    memory, patterns, queries, mask = small(build(ResNetFC, SHAPE, **NETS["resnet_fc"][1]))
    for objective in OBJECTIVES.values():
        torch.testing.assert_close(
            start_loss(objective, memory, True, patterns, queries, mask), objective(memory, patterns, queries, mask)
        )
