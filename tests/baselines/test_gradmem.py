"""GradMem against its equations written anew, finite differences, and its paper's claim that more steps store more."""

import pytest
import torch
from torch.nn import functional as F

from baselines.coders import CodersConfig
from baselines.gradmem import GradMem, GradMemConfig
from tests.baselines.test_memory_network import bits
from tests.contract import IMAGES, MemoryContract, build, check_meta_gradient


class TestBits(MemoryContract):
    kind = GradMem
    incremental = False
    config = GradMemConfig(vectors=6, hidden=5, blocks=2, steps=3, coders=CodersConfig(hidden=16))


class TestImages(TestBits):
    spec = IMAGES
    config = GradMemConfig(
        **{"vectors": 5, "hidden": 6, "parts": 3, "steps": 2},
        coders=CodersConfig(channels=[], hidden=16, code_dim=20, detector=3, completion=4),
    )


def small(**settings):
    torch.manual_seed(0)
    settings = {"vectors": 3, "hidden": 4, "steps": 2} | settings
    return build(GradMem, (6,), coders=CodersConfig(hidden=3), **settings).double()


def halves(episodes, items, size, seed=0):
    """Patterns, and queries whose second half is missing, with their mask."""
    patterns = bits(episodes, items, size, seed)[0]
    mask = torch.zeros_like(patterns, dtype=torch.bool)
    mask[..., size // 2 :] = True
    return patterns, torch.where(mask, 0.5, patterns), mask


def answered(memory, vectors, query):
    """The logits for one query (size,), with known values at 0.5 if they are missing; equations written anew."""
    u = memory.coders.encoder(2 * query[None] - 1)[0]
    for block in memory.blocks:
        q, keys = block.to_query.weight @ u, vectors @ block.to_key.weight.T
        cosines = torch.stack([F.cosine_similarity(q, key, 0) for key in keys])
        weights = torch.softmax(block.log_sharpness.exp() * cosines, 0)
        u = u + block.to_value.weight @ (weights @ vectors)
        u = u + block.perceptron(u[None])[0]
    return memory.coders.decoder(u[None])[0]


def test_writing_descends_the_loss_of_reconstruction():
    """Of one episode, by central differences of the loss as the equation has it."""
    memory, patterns = small(blocks=2, parts=3), bits(1, 4, 6)[0].double()

    @torch.no_grad()
    def lost(vectors):
        total = 0.0
        for pattern in patterns[0]:
            for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
                query = pattern.clone()
                query[part] = 0.5
                logits = answered(memory, vectors, query)
                total += F.binary_cross_entropy_with_logits(logits[part], pattern[part], reduction="sum")
        return 3 / 4 * total

    vectors = memory.initial.detach().clone()
    for rate in memory.rates.tolist():
        slope = torch.zeros_like(vectors)
        for place in range(vectors.numel()):
            nudge = torch.zeros_like(vectors).flatten()
            nudge[place] = 1e-6
            there, back = lost(vectors + nudge.view_as(vectors)), lost(vectors - nudge.view_as(vectors))
            slope.view(-1)[place] = (there - back) / 2e-6
        vectors = vectors - rate * slope
    torch.testing.assert_close(memory.write(patterns)["memory"][0].detach(), vectors, rtol=1e-5, atol=1e-6)


def test_reading_is_that_of_the_equations():
    memory = small(blocks=2)
    patterns, queries, mask = (x if x.dtype == torch.bool else x.double() for x in halves(1, 3, 6))
    state = memory.write(patterns)
    read = memory.read(state, queries, mask)[0, 0]
    for item, query in enumerate(queries[0]):
        expected = torch.where(mask[0, item], answered(memory, state["memory"][0], query).sigmoid(), query)
        torch.testing.assert_close(read[item], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("every_step", [True, False])
def test_the_meta_gradient_is_that_of_finite_differences(every_step):
    memory = small(every_step=every_step, blocks=2)
    patterns, queries, _ = (x.double() for x in bits(2, 3, 6))
    check_meta_gradient(memory, (patterns, queries), step=1e-6, atol=1e-6)


def test_the_meta_loss_averages_over_what_each_step_has_written():
    memory, (patterns, queries, _) = small(steps=3), (x.double() for x in bits(2, 3, 6))
    shorter = []
    for steps in (1, 2, 3):
        one = small(steps=steps, every_step=False)
        one.load_state_dict({name: x[:steps] if name == "rates" else x for name, x in memory.state_dict().items()})
        shorter.append(one.meta_loss(patterns, queries))
    torch.testing.assert_close(memory.meta_loss(patterns, queries), sum(shorter) / 3)


def test_more_steps_store_more():
    """Untrained: 8 pairs of 16 bits in 8 vectors, recalled from the first half. Chance is 8 wrong bits."""
    memory = build(GradMem, (32,), vectors=8, steps=6)
    patterns, queries, mask = halves(8, 8, 32)
    with torch.no_grad():
        states = memory.written(memory.initial_state(8), patterns)
        errors = [
            (memory.read(state, queries, mask)[-1].round() != patterns).float().sum(-1).mean().item()
            for state in (memory.initial_state(8), states[0], states[2], states[5])
        ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]
