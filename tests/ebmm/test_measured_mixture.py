"""The measured mixture and its recovery against formulas written anew, and on drawings that it learns in seconds."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.energies.measured_mixture import MeasuredMixture, periodic_waves
from tests.contract import build, descend
from tests.ebmm.drawings import damaged_strokes
from tests.ebmm.energies import MEASURED, convolved, gelu

SHAPE = (1, 8, 8)


def energy(shape=SHAPE, **settings):
    torch.manual_seed(0)
    return build(MeasuredMixture, shape, **(MEASURED | {"code_dim": 8} | settings)).double()


def memory(net):
    writing = WritingConfig(
        steps=40, write_rate=0.5, prior_rate=0.0, bias_rate=-2.0, rates="parameter", reduction="sum", per_step=True
    )
    reading = ReadingConfig(steps=1, step_size=1.0, momentum=0.1)
    return EBMM(net, EBMMConfig(writing=writing, reading=reading)).to(net.mean_pattern)


@pytest.mark.parametrize(("shape", "period"), [((1, 8, 8), 4), ((3, 10, 14), 5)])
def test_any_block_of_a_period_holds_every_wave_in_full(shape, period):
    """So all of them determine it exactly, wherever it lies."""
    count = shape[0] * period**2
    waves = periodic_waves(shape, count, period).double().view(count, *shape)
    share = shape[1] * shape[2] / period**2
    for top in range(shape[1] - period + 1):
        for left in range(0, shape[2] - period + 1, 3):
            block = waves[:, :, top : top + period, left : left + period].flatten(1)
            if shape[1] % period == shape[2] % period == 0:  # else norms over the image differ a little
                torch.testing.assert_close(share * block @ block.T, torch.eye(count).double(), atol=1e-5, rtol=0)
            assert torch.linalg.matrix_rank(block) == count


def test_waves_come_in_the_order_of_their_frequency():
    waves = periodic_waves((1, 16, 16), 9, 16).view(9, 16, 16)
    power = torch.fft.fft2(waves).abs().square()
    frequency = torch.fft.fftfreq(16, 1 / 16)
    size = frequency[:, None].square() + frequency.square()
    seen = [(power[i] * size).sum().item() / power[i].sum().item() for i in range(9)]
    assert seen == pytest.approx([0, 1, 1, 1, 1, 2, 2, 2, 2], abs=1e-5)


def features(net, x, missing):
    """Measurements of what is known, guess and address, written anew."""
    known = ((1 - missing) * (x - 0.5)).flatten(1)
    seen = torch.cat([2 * known, missing.flatten(1)], 1)
    guess = net.guess.straight(seen) + net.guess.outer(gelu(net.guess.inner(seen)))
    measured = known @ net.measure.T
    return measured.detach(), guess[:, : net.count].detach(), guess[:, net.count :].detach()


def stored_features(net):
    rows = net.memory.weight.detach()
    rows = rows / rows.square().mean(1, keepdim=True).sqrt()
    return math.exp(0.3) * rows[:, 1:] * rows[:, :1] / (rows[:, :1] ** 2 + 1e-3)


def moved(net):
    for parameter in [*net.recovery.parameters(), *net.guess.parameters(), net.weigh]:
        parameter.data += 0.1 * torch.randn_like(parameter)
    net.log_scale.data.fill_(0.3)
    return net


def test_energy_is_the_formula():
    net = moved(energy(detector=0))
    x = torch.rand(3, *SHAPE, dtype=torch.float64)
    measured, _, address = features(net, x, torch.zeros_like(x))
    differences = torch.cat([measured, address], 1)[:, None] - stored_features(net)
    expected = -(-(differences @ net.weigh.T).square().sum(2) / 2).logsumexp(1)
    torch.testing.assert_close(net(x).detach(), expected.detach(), atol=0, rtol=1e-5)


def test_energy_of_a_partly_known_pattern_is_the_formula():
    net = moved(energy(detector=0))
    x, queries, missing = torch.rand(3, 3, *SHAPE, dtype=torch.float64)
    start = (1 - missing) * queries + missing * 0.5
    stored = stored_features(net)
    known, guess, address = features(net, start, missing)
    differences = torch.cat([known + guess, address], 1)[:, None] - stored
    evidence = -(differences @ net.weigh.T).square().sum(2) / 2
    left = evidence.softmax(1) @ stored[:, :5] - known
    logits = torch.zeros_like(x)
    for convolutions in net.recovery.nets:
        lacking = left - (missing * (logits.sigmoid() - 0.5)).flatten(1) @ net.measure.T
        back = (net.recovery.gain * lacking @ net.measure).view_as(x)
        seen = torch.cat([logits.tanh(), (2 * start - 1) * (1 - missing), missing, back], 1)
        logits = logits + convolved(convolutions.layers, seen)
    end = ((1 - missing) * start + missing * logits.sigmoid()).detach()
    expected = -evidence.logsumexp(1) + (x - end).flatten(1).square().sum(1) / 2
    found = net(x.requires_grad_(), missing, queries)
    torch.testing.assert_close(found.detach(), expected.detach(), atol=0, rtol=1e-5)
    (slope,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(slope, x.detach() - end, atol=1e-6, rtol=1e-5)


def test_rows_give_back_what_was_written():
    net = energy(code_dim=12)
    x = torch.randint(2, (1, 4, *SHAPE), generator=torch.Generator().manual_seed(0)).double()
    state = memory(net).write(x)
    code = net.features(x[0]).detach()
    torch.testing.assert_close(code.square().mean(1), torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)
    measured, _, address = features(net, x[0], torch.zeros_like(x[0]))
    exact = torch.cat([measured, address], 1)
    torch.testing.assert_close(net.unscaled(code).detach(), exact, atol=1e-2, rtol=1e-2)
    rows = net.unscaled(F.normalize(state["memory.weight"][0]) * math.sqrt(12)).detach()
    assert torch.cdist(exact, rows).amin(1).max() < 0.1 * exact.norm(dim=1).min()


def test_with_a_wave_for_every_value_a_block_is_measured_whole():
    """Linear algebra, no learning: pseudo-inverse of the measurements on the block, from what is left of them."""
    net = energy(code_dim=19)
    x = torch.rand(5, *SHAPE, dtype=torch.float64)
    missing = torch.zeros_like(x)
    missing[..., 3:7, 2:6] = 1
    queries = torch.where(missing.bool(), torch.rand_like(x), x)
    left = (net.measured(x - net.mean_pattern) - net.measured((1 - missing) * (queries - net.mean_pattern))).detach()
    on_block = net.measure.detach() * missing[0].flatten()
    recalled = 0.5 + left @ torch.linalg.pinv(on_block).T
    torch.testing.assert_close(recalled.view_as(x) * missing, x * missing)


def test_the_auxiliary_loss_is_that_of_blended_rows():
    """Written anew with loops: rows that patterns pull by their responsibilities, selection, and recovery from them."""
    net = moved(energy(detector=0, noise=0.0))
    x = torch.rand(4, *SHAPE, dtype=torch.float64)
    mask = torch.zeros(4, *SHAPE, dtype=torch.bool)
    mask[..., 1:5, 3:7] = True
    queries = torch.where(mask, torch.rand_like(x), x)
    missing = mask.double()
    codes = net.features(x).detach()
    rows = torch.zeros_like(codes)
    for code in codes:
        pull = torch.exp(14 / 8 * codes @ code)
        rows += (pull / pull.sum())[:, None] * code
    net.memory.weight.data = rows
    stored = stored_features(net)
    known, guess, address = features(net, queries, missing)
    weighed = (torch.cat([known + guess, address], 1)[:, None] - stored) @ net.weigh.T.detach()
    taken = -(weighed.square().sum(2) / 2)
    expected = 10 * (taken.logsumexp(1) - taken.diagonal()) + (x - 0.5).square().flatten(1).sum(1)
    steps = net.recover(stored[::2, :5], queries[::2], missing[::2])
    for k, weight in enumerate((0.2, 1.0)):
        p = steps[k].sigmoid()
        nats = -(x[::2] * p.log() + (1 - x[::2]) * (1 - p).log())
        expected = expected + weight * (nats * missing[::2]).sum() / 2
    torch.testing.assert_close(net.auxiliary_loss(x, queries, mask), expected, atol=0, rtol=1e-4)


def test_without_detector_and_mask_no_mask_is_predicted():
    assert energy(detector=0).predict_mask(torch.rand(2, *SHAPE, dtype=torch.float64)) is None


def test_single_patterns_teach_recall_before_memory_is_learned():
    """Seconds of the auxiliary loss alone, and far fewer pixels are wrong than on blank paper or in the query."""
    generator = torch.Generator().manual_seed(0)
    net = energy(slots=8, code_dim=15, hidden=32, detector=16, recovery=12).float()
    store, block = memory(net), np.s_[..., 2:6, 2:6]
    descend(net, lambda _step: store.auxiliary_loss(*damaged_strokes(8, block, generator)), steps=400, rate=0.005)
    patterns, queries, mask = damaged_strokes(20, block, generator)
    with torch.no_grad():
        state = store.write(patterns)
        told, found = (store.read(state, queries, m)[-1].round() for m in (mask, None))
    blank = (patterns * mask).sum(dim=(2, 3, 4)).mean()
    wrong = [(x != patterns).float().sum(dim=(2, 3, 4)).mean() for x in (queries, told, found)]
    assert wrong[1] < blank / 4
    assert wrong[2] < min(blank, wrong[0]) / 2
