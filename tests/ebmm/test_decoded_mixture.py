"""The decoded mixture and its detector against formulas written anew, and on drawings that it learns in seconds."""

import math

import numpy as np
import pytest
import torch

from lightning_ebm.detector import Detector, Revision, mask_loss
from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.ebmm.energies import DecodedMixture
from lightning_ebm.ebmm.rows import normalised
from lightning_ebm.layers import SkipPerceptron
from tests.contract import build, descend
from tests.ebmm.drawings import damaged_strokes
from tests.ebmm.energies import COLOUR, convolved, gelu

SHAPE = (1, 8, 8)


def energy(shape=SHAPE, **settings):
    torch.manual_seed(0)
    settings = {"slots": 4, "code_dim": 5, "hidden": 6, "detector": 3} | settings
    return build(DecodedMixture, shape, **settings).double()


def memory(net):
    writing = WritingConfig(
        steps=20, write_rate=0.5, prior_rate=0.0, bias_rate=-0.5, rates="parameter", reduction="sum", per_step=True
    )
    reading = ReadingConfig(steps=2, step_size=1.2, momentum=0.1)
    return EBMM(net, EBMMConfig(writing=writing, reading=reading)).to(net.mean_pattern)


def test_energy_and_writing_loss_are_the_formulas():
    net = energy(detector=0)
    net.memory.bias.data = torch.randn(4, dtype=torch.float64)
    x = torch.rand(3, *SHAPE, dtype=torch.float64)
    rows = net.memory.weight.detach().numpy()
    rows = rows / np.sqrt((rows**2).mean(1, keepdims=True))
    means = 1 / (1 + np.exp(-net.decode(torch.from_numpy(rows)).detach().numpy()))
    beta, gamma = 4.0, 2.8  # 14 / code
    distances = ((x.flatten(1).numpy()[:, None] - means) ** 2).sum(2)
    expected = -np.log(np.exp(-beta / 2 * distances).sum(1)) / beta
    np.testing.assert_allclose(net(x).detach().numpy(), expected, rtol=1e-5)
    code = net.encode((2 * (x - 0.5)).flatten(1)).detach().numpy()
    code = code / np.sqrt((code**2).mean(1, keepdims=True))
    overlap = gamma * code @ rows.T + math.sqrt(gamma) * net.memory.bias.detach().numpy()
    np.testing.assert_allclose(
        net.writing_energy(net.features(x)).detach().numpy(), -np.log(np.exp(overlap).sum(1)) / gamma, 1e-4
    )


def likelihoods(queries, means, missing):
    """Of queries (items, values) given means (rows, values), by a sum over all images and all masks."""
    found = np.zeros((len(queries), len(means)))
    choices = list(np.ndindex(*[2] * queries.shape[1]))
    for n, s in np.ndindex(found.shape):
        for image in map(np.array, choices):
            for masked in map(np.array, choices):
                prior = np.where(image, means[s], 1 - means[s]) * np.where(masked, missing[n], 1 - missing[n])
                found[n, s] += (prior * np.where(masked, 0.5, image == queries[n])).prod()
    return found


def test_evidence_is_the_likelihood_of_a_query_with_an_unknown_mask():
    net = energy((1, 2, 2), code_dim=3, revision=0)
    generator = torch.Generator().manual_seed(1)
    queries = (torch.rand(3, 1, 2, 2, generator=generator) < 0.5).double()
    missing = torch.rand(3, 1, 2, 2, generator=generator).double()
    logits = 3 * torch.randn(5, 4, generator=generator).double()
    means = 0.005 + 0.99 / (1 + np.exp(-logits.numpy()))
    expected = likelihoods(queries.flatten(1).numpy(), means, missing.flatten(1).numpy())
    np.testing.assert_allclose(net.evidence(logits, queries, missing).exp().numpy(), expected)


def test_evidence_of_grey_values_is_a_gaussian_or_anything():
    net = build(DecodedMixture, SHAPE, real=True, code_dim=5, hidden=6).double()
    queries, missing = torch.rand(2, 3, *SHAPE, dtype=torch.float64)
    logits = torch.randn(4, 64, dtype=torch.float64)
    off = queries.flatten(1)[:, None].numpy() - 1 / (1 + np.exp(-logits.numpy()))
    density = np.exp(-2 * off**2) * 2 / math.sqrt(2 * math.pi)  # of standard deviation 1/2
    doubt = missing.flatten(1)[:, None].clamp(max=0.95).numpy()  # no value is taken to be random for certain
    expected = np.log((1 - doubt) * density + doubt).sum(2)
    np.testing.assert_allclose(net.evidence(logits, queries, missing).detach().numpy(), expected)


def test_values_that_are_all_unreliable_tell_rows_apart():
    """Noise on every value of four grey images: the mask is everywhere, yet each belongs to the nearest row."""
    net = build(DecodedMixture, SHAPE, real=True, code_dim=5, hidden=6)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, *SHAPE, generator=generator)
    queries = (images + 0.3 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    evidence = net.evidence(images.flatten(1).logit(1e-3), queries, torch.ones_like(queries))
    assert evidence.argmax(1).tolist() == [0, 1, 2, 3]


def test_evidence_against_a_value_that_is_told_to_be_right_is_finite():
    net = build(DecodedMixture, SHAPE, real=True, code_dim=5, hidden=6)
    net.log_beta.data.fill_(math.log(1000.0))
    logits = torch.full((1, 64), 9.0, requires_grad=True)  # white, and the query is black
    evidence = net.evidence(logits, torch.zeros(1, *SHAPE), torch.zeros(1, *SHAPE))
    assert evidence.item() == pytest.approx(64 * math.log(1e-4))
    assert torch.autograd.grad(evidence.sum(), logits)[0].isfinite().all()


def test_energy_of_a_partly_known_pattern_is_the_formula():
    """An image is recovered from each of the twelve likeliest rows of 14, one at a time, and their mean completes x."""
    net = energy(slots=14, detector=0)
    for parameter in net.recovery.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    net.memory.bias.data = torch.tensor([0.0, -9.0, -100.0, -8.0, *[-50.0] * 10]).double()
    x, queries, missing = torch.rand(3, 3, *SHAPE, dtype=torch.float64)
    rows, logits = net.memory.rows().detach(), net.decode(net.memory.rows()).detach()
    evidence = net.evidence(logits, queries, missing).numpy() - np.log1p(np.exp(8 + net.memory.bias.detach().numpy()))
    ink = 0.005 + 0.99 * queries
    odds = ((1 - missing) * ink + missing / 2) / ((1 - missing) * (1 - ink) + missing / 2)
    completed = torch.zeros_like(x)
    for n in range(len(x)):
        likeliest = np.argsort(-evidence[n])[:12]
        likely = np.exp(evidence[n, likeliest] - evidence[n].max())
        assert 0.1 < likely.max() / likely.sum() < 0.9
        for row, weight in zip(likeliest, likely / likely.sum(), strict=True):
            completed[n] += weight * recovered(net, rows[row], logits[row], queries[n], missing[n], odds[n])
    squares = ((x - completed) ** 2).flatten(1).sum(1).numpy()
    expected = -np.log(np.exp(evidence).sum(1)) + squares / 2
    found = net(x.requires_grad_(), missing, queries)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5)
    (slope,) = torch.autograd.grad(found.sum(), x)
    np.testing.assert_allclose(slope.numpy(), (x - completed).detach().numpy(), atol=1e-6)


def recovered(net, row, logits, query, missing, odds):
    """The image (*shape) that one query recovers from one row, step by step."""
    logits, query, missing = logits.view(1, *SHAPE), query[None], missing[None]
    for convolutions in net.recovery.nets:
        image = ((1 - missing) * query + missing * logits.sigmoid()).detach().requires_grad_()
        off = row - net.features(image)
        (slope,) = torch.autograd.grad((net.recovery.gain * off.square()).sum() / 2, image)
        seen = torch.cat([logits.tanh(), (2 * query - 1) * (1 - missing), missing, -slope], 1)
        logits = (logits + convolved(convolutions.layers, seen)).detach()
    return (logits[0] + odds.log()).sigmoid()


def flipped_bits(generator):
    """Four patterns of random bits, and queries with eight of their bits flipped, which nothing but memory can tell."""
    patterns = (torch.rand(4, *SHAPE, generator=generator) < 0.5).double()
    flips = torch.rand(4, 64, generator=generator).argsort(1).argsort(1).view_as(patterns) < 8
    return patterns, (patterns - flips.double()).abs(), flips


def compare_alone(revision):
    """Convolutions that pass −8 times the agreement of query and recalled image: gelu(x) − gelu(−x) = x."""
    *hidden, last = revision.compare.layers
    for layer in (*hidden, last):
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    for pixel in range(4):
        for k, layer in enumerate(hidden):
            for sign in (0, 1):
                incoming = {8 + pixel: 1} if k == 0 else {2 * pixel: 1, 2 * pixel + 1: -1}  # of the third channel
                for channel, weight in incoming.items():
                    layer.weight.data[2 * pixel + sign, channel, 1, 1] = (-1) ** sign * weight
        last.weight.data[pixel, 2 * pixel : 2 * pixel + 2, 1, 1] = torch.tensor([-8.0, 8.0]).double()


def test_flipped_pixels_are_found_by_what_is_recalled():
    generator = torch.Generator().manual_seed(0)
    net = energy(detector=3, revision=8)
    compare_alone(net.revision)
    rows = normalised(torch.randn(4, 5, generator=generator).double())
    patterns, queries, flips = flipped_bits(generator)
    net.decode.outer.weight.data.zero_()  # rows decode to the patterns
    net.decode.straight.weight.data = (torch.linalg.pinv(rows) @ (6 * patterns - 3).flatten(1)).T
    store = memory(net)
    state = {"memory.weight": rows[None], "memory.bias": torch.zeros(1, 4).double()}
    with torch.no_grad():
        alone = net.detector(queries)
        (_, (soft_mask, _)) = store.read_start(queries[None], None, state)
        (_, (unwritten, _)) = store.read_start(queries[None], None, store.initial_state(1))
    assert (alone[flips].mean() - alone[~flips].mean()).abs() < 0.05
    assert torch.equal(soft_mask[0] > 0.5, flips)
    assert ((unwritten[0] > 0.5) == flips).float().mean() < 0.9  # the weights that count are the written ones
    assert torch.equal(store.read(state, queries[None])[-1, 0].round(), patterns)


@pytest.mark.parametrize("shape", [SHAPE, COLOUR])
def test_each_of_the_likeliest_rows_has_a_mask_of_its_own(shape):
    """Written anew, one query and one row at a time."""
    net = energy(shape, slots=14, revision=3)
    for parameter in net.revision.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    net.memory.bias.data = torch.tensor([0.0, -100, -100, -100, -8, -100, -9, -7, *[-100] * 6]).double()
    queries = torch.randint(2, (3, *shape), generator=torch.Generator().manual_seed(0)).double()
    first = net.detector.logits(queries)
    logits = net.decode(net.memory.rows())
    written = -torch.log1p((8 + net.memory.bias).exp())
    evidence = net.evidence(logits, queries, first.sigmoid().expand_as(queries)) + written
    for n, query in enumerate(queries):
        masks, likely = [], []
        for row in sorted(range(14), key=lambda row: -evidence[n, row])[:12]:
            image = logits[row].view(1, *shape)
            signs, called = 2 * query[None] - 1, image.tanh()
            seen = torch.cat([signs, called, signs * called, first[n : n + 1].tanh()], 1)
            change, judged = convolved(net.revision.compare.layers, seen)[0]
            masks.append((first[n, 0] + change).sigmoid().expand(shape))
            alone = net.evidence(logits[row][None], query[None], masks[-1][None])[0, 0]
            likely.append((alone + judged.sum() + written[row]).item())
        weights = np.exp([one - max(likely) for one in likely])
        expected = sum(w * mask for w, mask in zip(weights / weights.sum(), masks, strict=True))
        torch.testing.assert_close(net.predict_mask(queries)[n], expected)


def test_revision_learns_that_damage_has_a_shape():
    """The upper left quarter of each pattern is another's, which agrees with the query as well as its own elsewhere."""
    generator = torch.Generator().manual_seed(0)
    net = Revision(SHAPE, 8, binary=True)
    unknown = torch.zeros(32, 1, 8, 8)
    quarter = torch.zeros(SHAPE, dtype=torch.bool)
    quarter[:, :4, :4] = True

    def judged():
        own, other = (torch.rand(2, 32, *SHAPE, generator=generator) < 0.5).float()
        other = torch.where(~quarter & (torch.rand(32, *SHAPE, generator=generator) < 0.6), own, other)
        queries = torch.where(quarter, other, own)
        return [net(unknown, queries, 6 * recalled - 3)[1] for recalled in (own, other)]

    def loss(_step):
        own, other = judged()
        return torch.nn.functional.softplus(other - own).mean()

    descend(net, loss, steps=150, rate=0.01)
    own, other = judged()
    assert (own > other).float().mean() > 0.9


def test_a_mask_of_everything_is_estimated_as_an_unknown_one():
    net = energy(detector=3)
    patterns = torch.rand(1, 2, *SHAPE, dtype=torch.float64)
    mask = torch.ones(1, 2, *SHAPE, dtype=torch.bool)
    mask[0, 1, :, :4] = False
    store = memory(net)
    state = store.write(patterns)
    known, unknown = store.read(state, patterns, mask), store.read(state, patterns)
    torch.testing.assert_close(known[:, 0, 0], unknown[:, 0, 0])
    torch.testing.assert_close(known[-1, 0, 1, :, :4], patterns[0, 1, :, :4])
    assert (mask_loss(torch.full((2, 1, 8, 8), -20.0), mask[0]) > 1).tolist() == [False, True]


def test_writing_descends_the_loss_of_writing():
    """One step at rate a, against central differences of W, not of E."""
    net = energy(detector=0)
    writing = WritingConfig(steps=1, write_rate=0.2, prior_rate=0.0, bias_rate=0.1, rates="parameter", reduction="sum")
    patterns = torch.rand(1, 3, *SHAPE, dtype=torch.float64)
    written = EBMM(net, EBMMConfig(writing=writing)).double().write(patterns)
    codes = net.features(patterns[0]).detach()
    for name, rate in {"weight": 0.2, "bias": 0.1}.items():
        parameter = getattr(net.memory, name)
        slope = torch.zeros_like(parameter)
        for place in np.ndindex(parameter.shape):
            losses = []
            for step in (1e-5, -1e-5):
                parameter.data[place] += step
                losses.append(net.writing_energy(codes).sum().item())
                parameter.data[place] -= step
            slope[place] = (losses[0] - losses[1]) / 2e-5
        torch.testing.assert_close(written[f"memory.{name}"][0], parameter - rate * slope, atol=1e-7, rtol=1e-6)


def test_hidden_layers_after_the_first_add_to_it():
    torch.manual_seed(0)
    net = SkipPerceptron(torch.eye(3, 4), 5, spread=1.0, activation=torch.tanh, layers=3).double()
    x = torch.randn(2, 4, dtype=torch.float64)
    units = torch.tanh(x @ net.inner.weight.T + net.inner.bias)
    for layer in net.further:
        units = units + torch.tanh(units @ layer.weight.T + layer.bias)
    torch.testing.assert_close(net(x), x[:, :3] + units @ net.outer.weight.T)
    assert len(net.further) == 2


def test_detector_is_the_formula_of_its_convolutions_and_of_the_whole():
    torch.manual_seed(0)
    detector = Detector((2, 8, 12), 5).double()
    torch.nn.init.normal_(detector.outer.weight)
    x = torch.rand(1, 2, 8, 12, dtype=torch.float64)
    local = convolved(detector.local.layers, 2 * x - 1)[0, 0].flatten()
    likely = torch.sigmoid(local + detector.outer.weight @ gelu(detector.inner(local)) + detector.outer.bias)
    found = detector(x)
    torch.testing.assert_close(found[0, 0].flatten(), likely)
    assert torch.equal(found[:, 0], found[:, 1])


def test_detector_learns_which_half_is_noise():
    generator = torch.Generator().manual_seed(1)
    detector = Detector(SHAPE, 16)

    def damaged(_step=0):
        _, queries, mask = damaged_strokes(5, np.s_[..., :4], generator)
        return queries.flatten(0, 1), mask.flatten(0, 1)

    descend(detector, lambda step: detector.loss(*damaged(step)).mean(), steps=150, rate=0.01)
    likely = detector(damaged()[0]).detach()
    assert likely[..., :3].mean() > 0.8
    assert likely[..., 5:].mean() < 0.1


def test_single_patterns_are_coded_before_memory_is_learned():
    """Ten seconds of the auxiliary loss alone, and the memory recalls better than the query, untrained as it is."""
    generator = torch.Generator().manual_seed(0)
    net = energy(slots=8, code_dim=12, hidden=32, detector=16).float()
    store, half = memory(net), np.s_[..., :4, :]
    descend(net, lambda _step: store.auxiliary_loss(*damaged_strokes(8, half, generator)), steps=300, rate=0.003)
    patterns, queries, _ = damaged_strokes(20, half, generator)
    with torch.no_grad():
        recalled = store.read(store.write(patterns), queries)[-1].round()
    wrong = [(x != patterns).float().sum(dim=(2, 3, 4)).mean().item() for x in (queries, recalled)]
    assert wrong[1] < wrong[0] / 2
