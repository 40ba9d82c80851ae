"""Detector and completion around any memory: their loss by hand, and what reading makes of their estimates."""

import pytest
import torch
from torch.nn import functional as F

from baselines.coders import CodersConfig
from baselines.memory_network import MemoryNetwork, MemoryNetworkConfig
from baselines.modern_hopfield import ModernHopfield, ModernHopfieldConfig
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import memories
from lightning_ebm.restoration import SURE, Completion
from tests.contract import MemoryContract, build, check_meta_gradient, descend
from tests.ebmm.energies import convolved

SHAPE = (1, 8, 8)
WITH_CODERS = [name for name in memories.names() if hasattr(memories.load(name).config(), "coders")]
RESTORED = [*WITH_CODERS, "modern_hopfield"]


def coded(**settings):
    return CodersConfig(hidden=8, channels=[], code_dim=24, **settings)


def restored(name, detector=3, completion=4):
    """A small memory with detector and completion, in float64, and its restoration."""
    torch.manual_seed(0)
    kind, nets = memories.load(name), {"detector": detector, "completion": completion}
    sizes = {"neurons": 20, "key": 6, "value": 5, "slots": 4, "hidden": 6, "address_dim": 3}
    sizes = {key: size for key, size in sizes.items() if hasattr(kind.config(), key)}
    memory = build(kind, SHAPE, **sizes, **({"coders": coded(**nets)} if name in WITH_CODERS else nets)).double()
    return memory, memory.coders.restoration if name in WITH_CODERS else memory.restoration


@pytest.fixture
def episode():
    generator = torch.Generator().manual_seed(0)
    patterns, noise = torch.rand(2, 2, 3, *SHAPE, generator=generator, dtype=torch.float64).round()
    mask = torch.zeros(2, 3, *SHAPE, dtype=torch.bool)
    mask[..., 2:6, 3:7] = True
    return patterns, torch.where(mask, noise, patterns), mask


class TestMemoryNetwork(MemoryContract):
    spec = PatternSpec(SHAPE, binary=True)
    kind = MemoryNetwork
    config = MemoryNetworkConfig(slots=4, coders=coded(detector=3, completion=4))


class TestModernHopfield(MemoryContract):
    spec = PatternSpec(SHAPE, binary=True)
    kind = ModernHopfield
    config = ModernHopfieldConfig(slots=4, center=True, detector=3, completion=4)


def sure(restoration, mask):
    """Has the detector say what `mask`, (8, 8), is, whatever it sees."""
    with torch.no_grad():
        for parameter in restoration.detector.parameters():
            parameter.zero_()
        restoration.detector.outer.bias.copy_(40 * (2.0 * mask.flatten() - 1))


@pytest.mark.parametrize("name", RESTORED)
def test_a_sure_detector_is_as_good_as_the_mask(name, episode):
    patterns, queries, mask = episode
    memory, restoration = restored(name)
    sure(restoration, mask[0, 0, 0])
    state = memory.write(patterns)
    with torch.no_grad():
        torch.testing.assert_close(memory.read(state, queries), memory.read(state, queries, mask), atol=1e-9, rtol=1e-9)


def test_a_mask_of_everything_leaves_recall_to_the_hopfield_network(episode):
    """A completion that changes nothing is as none: all values are updated, though the mask tells none apart."""
    patterns, queries, _ = episode
    memory, restoration = restored("modern_hopfield", detector=0)
    with torch.no_grad():
        for parameter in restoration.completion.parameters():
            parameter.zero_()
    plain = build(ModernHopfield, SHAPE, slots=4).double()
    everything = torch.ones_like(queries, dtype=torch.bool)
    expected = plain.read(plain.write(patterns), queries, everything)
    found = memory.read(memory.write(patterns), queries, everything)
    torch.testing.assert_close(found, expected, atol=2 * SURE, rtol=0)


@pytest.mark.parametrize("name", RESTORED)
def test_what_is_not_trusted_does_not_reach_the_answer(name, episode):
    """Whatever the corrupted values are, the answer is the same, and the others stay as they are."""
    patterns, queries, mask = episode
    memory, restoration = restored(name)
    sure(restoration, mask[0, 0, 0])
    state = memory.write(patterns)
    with torch.no_grad():
        one = memory.read(state, queries)[-1]
        other = memory.read(state, torch.where(mask, 1 - queries, queries))[-1]
    torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(one[~mask], queries[~mask], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["memory_network", "mann", "dynamic_kanerva"])
def test_the_completion_sees_what_was_recalled(name, episode):
    """One that adds a constant to the logits moves the answer, where the query is corrupted, by just that."""
    patterns, queries, mask = episode
    memory, restoration = restored(name, detector=0)
    plain, _ = restored(name, detector=0)
    with torch.no_grad():
        for net in (restoration, plain.coders.restoration):
            for parameter in net.completion.parameters():
                parameter.zero_()
        restoration.completion.mend.layers[-1].bias.fill_(0.7)
        state = memory.write(patterns)
        logits = [one.read(state, queries, mask)[0].logit(1e-12)[mask] for one in (memory, plain)]
    torch.testing.assert_close(logits[0] - logits[1], torch.full_like(logits[0], 0.7), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", RESTORED)
def test_the_loss_of_single_patterns_by_hand(name, episode):
    """It is that without the nets, and the cross-entropies of the mask and of one completed pattern in four."""
    patterns, queries, mask = episode
    memory, restoration = restored(name)
    plain = 0.0
    logits = patterns.logit(1e-3)
    if name in WITH_CODERS:
        bare, _ = restored(name, 0, 0)
        bare.load_state_dict(memory.state_dict(), strict=False)
        plain = bare.auxiliary_loss(patterns, queries, mask)
        logits = memory.coders.logits(memory.after_memory(memory.coders.encode(patterns)))
    likely = restoration.detector(queries.flatten(0, 1))
    found = F.binary_cross_entropy(likely, mask.flatten(0, 1).double(), reduction="sum") / 6
    completed = 0.0
    for episode_number, item in ((0, 0), (1, 1)):  # the first and the fifth of six
        x, m = patterns[episode_number, item][None], mask[episode_number, item][None].double()
        values = restoration.completion(logits[episode_number, item][None], x, m).sigmoid()
        completed = completed + 2 * (F.binary_cross_entropy(values, x, reduction="none") * m).sum() / 2
    torch.testing.assert_close(memory.auxiliary_loss(patterns, queries, mask), plain + found + completed)


@pytest.mark.parametrize("name", ["memory_network", "mann", "kanerva", "dynamic_kanerva", "modern_hopfield", "titans"])
def test_the_meta_gradient_passes_through_both_nets(name, episode):
    """Against finite differences, along a random direction of each parameter of the nets."""
    memory, restoration = restored(name)
    patterns, queries, _ = episode
    check_meta_gradient(memory, (patterns, queries), step=1e-6, atol=1e-6, parameters=[*restoration.named_parameters()])


def test_without_nets_there_is_nothing_to_train():
    with pytest.raises(NotImplementedError):
        build(ModernHopfield, SHAPE).auxiliary_loss(*torch.rand(3, 1, 1, *SHAPE).round())
    assert not [*build(MemoryNetwork, SHAPE, coders=coded()).coders.restoration.parameters()]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (MemoryNetwork, {"coders": CodersConfig(detector=3)}, r"coders\.detector needs images with sides divisible by"),
        (ModernHopfield, {"completion": 3}, r"memory\.completion needs images with sides divisible by"),
    ],
)
def test_other_patterns_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        build(kind, (12,), **settings)


def test_completion_is_convolutions_over_squares_of_pixels():
    torch.manual_seed(0)
    net = Completion((2, 8, 8), 4).double()
    logits, queries = torch.randn(2, 3, 2, 8, 8, dtype=torch.float64)
    missing = torch.rand(3, 2, 8, 8, dtype=torch.float64)
    seen = torch.cat([logits.tanh(), (2 * queries - 1) * (1 - missing), missing], 1)
    torch.testing.assert_close(net(logits, queries, missing), logits + convolved(net.mend.layers, seen))


def test_completion_learns_to_carry_a_stroke_across_the_border():
    """From half a picture of lines that cross it, and nothing recalled."""
    generator = torch.Generator().manual_seed(0)
    net = Completion(SHAPE, 8)
    missing = torch.zeros(32, *SHAPE)
    missing[..., 4:] = 1

    def lines():
        drawn = torch.rand(32, 1, 8, 1, generator=generator) < 0.3
        return drawn.expand(32, *SHAPE).float()

    def loss(_step):
        patterns = lines()
        logits = net(torch.zeros(32, *SHAPE), patterns, missing)
        return F.binary_cross_entropy_with_logits(logits, patterns, weight=missing)

    descend(net, loss, steps=150, rate=0.01)
    patterns = lines()
    wrong = (net(torch.zeros(32, *SHAPE), patterns, missing) > 0) != patterns.bool()
    assert wrong[..., 4:].float().mean() < 0.05  # blank paper: 0.3
