"""Memory networks against a loop written from the equations, a ring of slots, and the best that slots allow."""

import numpy as np
import pytest
import torch

from baselines.coders import CodersConfig
from baselines.mann import MANN
from baselines.memory_network import MemoryNetwork, MemoryNetworkConfig
from lightning_ebm.memory import PatternSpec
from tests.contract import MemoryContract, build, train


class TestBits(MemoryContract):
    spec = PatternSpec((24,), binary=True)
    kind = MemoryNetwork
    config = MemoryNetworkConfig(slots=6, coders=CodersConfig(hidden=16))


class TestImages(MemoryContract):
    spec = PatternSpec((1, 8, 8), binary=False)
    learns_first = 60  # untrained image coders recall nothing
    kind = MemoryNetwork
    config = MemoryNetworkConfig(slots=5, width=12, hops=2, coders=CodersConfig(channels=[4, 8], code_dim=16))


def bits(episodes, items, size=128, seed=0, redrawn=None):
    """Random patterns, queries with `redrawn` (half) of their bits drawn anew, and the mask."""
    generator = torch.Generator().manual_seed(seed)
    shape = (episodes, items, size)
    patterns, noise = (torch.rand(shape, generator=generator).round() for _ in range(2))
    places = torch.rand(shape, generator=generator).argsort(-1)[..., : size // 2 if redrawn is None else redrawn]
    mask = torch.zeros(shape, dtype=torch.bool).scatter(-1, places, True)
    return patterns, torch.where(mask, noise, patterns), mask


def wrong_bits(memory, patterns, queries, mask=None):
    with torch.no_grad():
        answer = memory.read(memory.write(patterns), queries, mask)[-1].round()
    return (answer != patterns).float().sum(-1).mean().item()


def randomised(memory, seed=2):
    """The same network, far from its initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return memory.double()


@pytest.mark.parametrize(("kind", "most"), [(MemoryNetwork, 0.0), (MANN, 0.01)])
@pytest.mark.parametrize("items", [1, 16, 64])
def test_untrained_it_recalls_what_has_a_slot(items, kind, most):
    """From queries with half of the bits re-drawn, and without the mask; the memory network exactly."""
    torch.manual_seed(0)
    patterns, queries, _ = bits(5, items)
    assert wrong_bits(build(kind, (128,)), patterns, queries) <= most


@pytest.mark.parametrize("kind", [MemoryNetwork, MANN])
def test_overwritten_patterns_cost_what_their_unknown_bits_cost(kind):
    """The best that slots allow, told the mask: a third of the 96 patterns is lost, at 32 wrong bits each."""
    torch.manual_seed(0)
    patterns, queries, mask = bits(10, 96)
    memory = build(kind, (128,), slots=64)
    assert wrong_bits(memory, patterns, queries, mask) == pytest.approx((96 - 64) / 96 * 32, abs=1.5)
    answer = memory.read(memory.write(patterns), queries, mask)[-1].round()
    wrong = (answer != patterns).float().sum(-1).mean(0)
    assert wrong[:32].min() > 20  # the oldest are lost, to the last
    assert wrong[32:].max() < 1  # and the others kept


def test_the_oldest_slot_is_overwritten():
    memory, (patterns, _, _) = build(MemoryNetwork, (8,), slots=3), bits(2, 8, 8)
    codes = memory.coders.encode(patterns)
    state = memory.write(patterns[:, :5])
    assert state["written"].tolist() == [5, 5]
    torch.testing.assert_close(state["slots"], codes[:, [3, 4, 2]])
    state = memory.update(state, patterns[:, 5:7])
    torch.testing.assert_close(state["slots"], codes[:, [6, 4, 5]])
    torch.testing.assert_close(state, memory.write(patterns[:, :7]))
    torch.testing.assert_close(memory.update(state, patterns[:, 7:])["slots"], codes[:, [6, 7, 5]])


def test_the_reservoir_keeps_each_pattern_with_the_same_probability():
    """Slots over patterns, within four standard deviations, however the patterns are divided into updates."""
    memory = build(MemoryNetwork, (64,), slots=3, overwrite="reservoir")
    patterns = bits(2000, 10, 64)[0]
    with torch.no_grad():
        state, codes = memory.write(patterns), memory.coders.encode(patterns)
        kept = (state["slots"][:, :, None] == codes[:, None]).all(-1).any(1).float().mean(0)
        torch.testing.assert_close(kept, torch.full((10,), 0.3), rtol=0, atol=4 * (0.3 * 0.7 / 2000) ** 0.5)
        parts = memory.update(memory.update(memory.write(patterns[:, :2]), patterns[:, 2:7]), patterns[:, 7:])
    torch.testing.assert_close(parts, state)


def test_the_reservoir_loses_as_many_bits_as_the_ring():
    torch.manual_seed(0)
    patterns, queries, mask = bits(10, 96)
    memory = build(MemoryNetwork, (128,), slots=64, overwrite="reservoir")
    assert wrong_bits(memory, patterns, queries, mask) == pytest.approx((96 - 64) / 96 * 32, abs=1.5)


def test_episodes_may_be_filled_to_different_levels():
    memory, (patterns, queries, _) = build(MemoryNetwork, (8,), slots=3), bits(2, 4, 8)
    first, second = memory.write(patterns[:1, :1]), memory.write(patterns[1:])
    together = {name: torch.cat([first[name], second[name]]) for name in first}
    state = memory.update(together, patterns[:, :1])
    assert state["written"].tolist() == [2, 5]
    alone = memory.update(second, patterns[1:, :1])
    torch.testing.assert_close(memory.read(state, queries)[:, 1:], memory.read(alone, queries[1:]))


def test_the_state_is_what_the_literature_counts():
    state = build(MemoryNetwork, (1, 32, 32), slots=64, width=48).initial_state(2)
    counted = {name: tensor for name, tensor in state.items() if name not in MemoryNetwork.bookkeeping}
    assert {name: tuple(tensor.shape) for name, tensor in counted.items()} == {"slots": (2, 64, 48)}
    assert state["written"].shape == (2,)


def test_empty_slots_get_no_attention():
    memory, (patterns, queries, _) = randomised(build(MemoryNetwork, (8,), slots=6)), bits(2, 3, 8)
    patterns, queries = patterns.double(), queries.double()
    state = memory.write(patterns)
    expected = memory.read(state, queries)
    state["slots"][:, 3:] = 7.0
    torch.testing.assert_close(memory.read(state, queries), expected, rtol=0, atol=0)
    empty = memory.initial_state(2)
    nothing = memory.read(empty, queries)
    empty["slots"] += 7.0
    torch.testing.assert_close(memory.read(empty, queries), nothing, rtol=0, atol=0)
    assert (nothing - expected).abs().max() > 0.01


@pytest.mark.parametrize(("hops", "width"), [(1, 4), (2, 9), (4, 4)])
def test_reading_is_the_published_recurrence(hops, width):
    """One query at a time, in NumPy, from the equations in the class's docstring."""
    memory = randomised(build(MemoryNetwork, (6,), slots=5, width=width, hops=hops, coders=CodersConfig(hidden=3)))
    patterns, queries, _ = (x.double() if x.is_floating_point() else x for x in bits(2, 3, 6))
    weights = {name: parameter.detach().numpy() for name, parameter in memory.named_parameters()}

    def coder(name, x):
        inner = np.tanh(weights[f"coders.{name}.inner.weight"] @ x + weights[f"coders.{name}.inner.bias"])
        straight = weights[f"coders.{name}.straight.weight"] @ x + weights[f"coders.{name}.straight.bias"]
        return straight + weights[f"coders.{name}.outer.weight"] @ inner

    answer = memory.read(memory.write(patterns), queries)
    assert answer.shape == (1, 2, 3, 6)
    for episode in range(2):
        slots = [coder("encoder", 2 * x.numpy() - 1) for x in patterns[episode]]
        keys, values = ([weights[f"{name}.weight"] @ c for c in slots] for name in ("to_key", "to_value"))
        for item in range(3):
            o = None
            u = weights["to_query.weight"] @ coder("encoder", 2 * queries[episode, item].numpy() - 1)
            for hop in range(hops):
                if hop:
                    u = weights["carry.weight"] @ u + o
                beta = np.exp(weights["log_sharpness"]) / min(width, 6)  # six bits are the overlap at most
                p = np.exp([beta * (k @ u) for k in keys])
                o = sum(share * value for share, value in zip(p / p.sum(), values, strict=True))
            expected = 1 / (1 + np.exp(-coder("decoder", (u + o) / (hops + 1))))
            np.testing.assert_allclose(answer[0, episode, item].detach(), expected, atol=1e-10)


def test_images_go_through_the_image_coders():
    memory = randomised(
        build(MemoryNetwork, (2, 8, 8), slots=3, width=6, hops=1, coders=CodersConfig(channels=[3, 4], code_dim=8))
    )
    image = torch.rand(1, 1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    code = memory.coders.encoder[1](memory.coders.encoder[0](2 * image[0] - 1))  # one slot gets all attention
    mixed = (memory.to_query(code) + memory.to_value(code)) / 2
    expected = memory.coders.decoder[1](memory.coders.decoder[0](mixed)).sigmoid()
    torch.testing.assert_close(memory.read(memory.write(image), image)[0, 0], expected)


def test_image_answers_start_unsaturated():
    torch.manual_seed(0)
    memory, images = build(MemoryNetwork, (1, 32, 32)), torch.rand(1, 4, 1, 32, 32).round()
    assert memory.read(memory.write(images), images).logit().std() < 1


@pytest.mark.parametrize("hops", [1, 3])
def test_every_parameter_is_used(hops):
    torch.manual_seed(0)
    memory, (patterns, queries, _) = build(MemoryNetwork, (8,), slots=4, hops=hops), bits(2, 3, 8)
    memory.meta_loss(patterns, queries).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in memory.parameters())


def blocks(seed):
    """Episodes of 8x8 images of random 2x2 blocks, four of which are re-drawn in each query."""
    patterns, queries, _ = bits(8, 6, 16, seed, redrawn=4)
    return tuple(x.view(8, 6, 1, 4, 4).repeat_interleave(2, -1).repeat_interleave(2, -2) for x in (patterns, queries))


@pytest.mark.parametrize(
    ("shape", "settings", "episodes"),
    [
        (
            (32,),
            {"slots": 8, "coders": CodersConfig(hidden=32), "sharpness": 2.0},
            lambda seed: bits(8, 8, 32, seed)[:2],
        ),
        ((1, 8, 8), {"slots": 8, "width": 16, "coders": CodersConfig(channels=[4, 8], code_dim=16)}, blocks),
    ],
)
def test_training_reduces_the_loss_of_new_episodes(shape, settings, episodes):
    """From attention that is too blunt, and from image coders that know nothing."""
    torch.manual_seed(0)
    memory = build(MemoryNetwork, shape, **settings)
    with torch.no_grad():
        before = memory.meta_loss(*episodes(1000))
    train(memory, episodes)
    with torch.no_grad():
        assert memory.meta_loss(*episodes(1000)) < 0.75 * before


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (
            {"width": 17, "coders": CodersConfig(code_dim=16)},
            (1, 8, 8),
            "width must be at most coders.code_dim=16, .*got 17",
        ),
        (
            {"coders": CodersConfig(channels=[4, 4])},
            (1, 6, 6),
            r"coders.channels=\[4, 4\] needs images with sides divisible by 4, got \(1, 6, 6\)",
        ),
        ({}, (4, 4), r"vectors or images, not patterns of shape \(4, 4\)"),
    ],
)
def test_coders_that_do_not_suit_the_patterns_are_refused_by_name(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        MemoryNetwork(PatternSpec(shape, binary=True), MemoryNetworkConfig(**settings))


def test_patterns_of_another_shape_are_refused():
    memory = build(MemoryNetwork, (8,))
    with pytest.raises(ValueError, match=r"patterns must have shape \(episodes, items, 8\), got \(1, 2, 9\)"):
        memory.write(torch.rand(1, 2, 9))
    with pytest.raises(ValueError, match="queries must have shape"):
        memory.read(memory.write(torch.rand(1, 2, 8)), torch.rand(1, 2, 9))


def test_it_has_no_energy():
    memory, (patterns, _, _) = build(MemoryNetwork, (8,)), bits(1, 2, 8)
    with pytest.raises(NotImplementedError, match="no energy"):
        memory.energy(memory.write(patterns), patterns)
