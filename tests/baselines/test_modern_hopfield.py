"""Modern Hopfield networks against attention, a plain loop, and the laws that their energies keep."""

import math

import numpy as np
import pytest
import torch

from baselines.dense_associative_memory import DenseAssociativeMemory
from baselines.hopfield import Hopfield
from baselines.modern_hopfield import ModernHopfield, ModernHopfieldConfig
from tests.baselines.test_hopfield import bits, redrawn
from tests.contract import IMAGES, MemoryContract, build, train


class TestBits(MemoryContract):
    kind = ModernHopfield
    config = ModernHopfieldConfig(slots=6, learned=True)


class TestCentredDistancesOfImages(TestBits):
    spec = IMAGES
    config = ModernHopfieldConfig(similarity="manhattan", separation="max", center=True, slots=4)


class TestGrowing(TestBits):
    config = ModernHopfieldConfig(similarity="cosine", separation="power")

    def test_initial_state_has_the_shape_of_a_written_one(self, memory, episode):
        """It has a row for each pattern instead."""
        assert memory.write(episode[0])["slots"].shape == (3, 4, 24)
        assert memory.initial_state(3)["slots"].shape == (3, 1, 24)
        assert torch.equal(memory.read(memory.initial_state(3), episode[1])[-1], episode[1])


def real(episodes, items, size, seed=0):
    return torch.rand(episodes, items, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_step_is_attention():
    """PyTorch's own, with queries q, keys and values X, and 1/√d in the place of β."""
    patterns, queries = real(3, 7, 16), real(3, 5, 16, seed=1)
    memory = build(ModernHopfield, (16,), beta=1 / math.sqrt(16), steps=1).double()
    q, x = 2 * queries - 1, 2 * patterns - 1
    expected = torch.nn.functional.scaled_dot_product_attention(q, x, x)
    answer = memory.read(memory.write(patterns), queries)
    torch.testing.assert_close(answer[0], (expected + 1) / 2, rtol=0, atol=1e-7)  # log β is made in float32
    three = build(ModernHopfield, (16,), beta=1 / math.sqrt(16), steps=3).double()
    again = torch.nn.functional.scaled_dot_product_attention(expected, x, x)
    trajectory = three.read(three.write(patterns), queries)
    assert len(trajectory) == 3
    torch.testing.assert_close(trajectory[1], (again + 1) / 2, rtol=0, atol=1e-7)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean", "manhattan"])
@pytest.mark.parametrize("told", [False, True])
def test_beta_to_infinity_is_the_most_similar_pattern(similarity, told):
    """Found by a loop in NumPy; the separation `max` is the same."""
    patterns, queries = real(2, 9, 12), real(2, 6, 12, seed=1)
    mask = real(2, 6, 12, seed=2) < 0.4 if told else None

    def alike(x, q):
        x, q = 2 * x - 1, 2 * q - 1
        return {
            "dot": x @ q,
            "cosine": x @ q / np.linalg.norm(x) / np.linalg.norm(q),
            "euclidean": -np.sum((x - q) ** 2),
            "manhattan": -np.sum(np.abs(x - q)),
        }[similarity]

    expected = queries.clone()
    for place in np.ndindex(2, 6):
        known = np.full(12, True) if mask is None else ~mask[place].numpy()
        scores = [alike(x[known], queries[place].numpy()[known]) for x in patterns[place[0]].numpy()]
        best = patterns[place[0], int(np.argmax(scores))]
        expected[place] = best if mask is None else torch.where(mask[place], best, queries[place])
    for settings in ({"separation": "max"}, {"beta": 1e7}):
        memory = build(ModernHopfield, (12,), similarity=similarity, steps=1, **settings)
        torch.testing.assert_close(memory.read(memory.write(patterns), queries, mask)[-1], expected)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
def test_energy_falls_in_every_step(similarity, beta, center, told):
    patterns, queries = real(4, 10, 20), real(4, 10, 20, seed=1)
    mask = (real(4, 10, 20, seed=2) < 0.5) if told else None
    memory = build(ModernHopfield, (20,), similarity=similarity, beta=beta, steps=8, center=center).double()
    state = memory.write(patterns)
    path = [queries, *memory.read(state, queries, mask)]
    energies = torch.stack([memory.energy(state, x) for x in path])
    assert energies.min() >= 0
    if told:  # the first step does not look at the unknown values, from which the energy begins
        energies = energies[1:]
    assert energies.diff(dim=0).max() <= 1e-12
    if not told:
        assert energies[1].sum() < energies[0].sum() - 0.1


def test_energy_is_the_formula():
    memory, patterns = build(ModernHopfield, (6,), beta=0.7).double(), real(1, 5, 6)
    x, beta = 2 * patterns[0].numpy() - 1, memory.log_beta.exp().item()
    query = real(1, 1, 6, seed=3)
    q = 2 * query[0, 0].numpy() - 1
    expected = -np.log(sum(np.exp(beta * x @ q))) / beta + q @ q / 2 + np.log(5) / beta + max((x**2).sum(1)) / 2
    assert memory.energy(memory.write(patterns), query).item() == pytest.approx(expected, abs=1e-12)
    for settings in ({"similarity": "cosine"}, {"separation": "power"}):
        with pytest.raises(NotImplementedError, match="separation=softmax"):
            build(ModernHopfield, (6,), **settings).energy(memory.write(patterns), query)


@pytest.mark.parametrize("items", [16, 96, 512, 4096])
def test_exponentially_many_patterns_without_an_error(items):
    """Half of 128 bits re-drawn, beta 1/8, three steps, told the mask; 64 patterns are 8,192 floats."""
    memory, patterns = build(ModernHopfield, (128,)), bits(2, items, 128, dtype=torch.float32)
    queries, mask = redrawn(patterns[:, :256], 64)
    assert torch.equal(memory.read(memory.write(patterns), queries, mask)[-1].round(), patterns[:, :256])


def test_binary_identity_is_hebb_with_its_diagonal():
    """One synchronous step, by the weights."""
    patterns = bits(1, 9, 40)
    queries, _ = redrawn(patterns, 20)
    x, q = (2 * values[0].numpy() - 1 for values in (patterns, queries))
    memory = build(ModernHopfield, (40,), separation="identity", binary=True, steps=1)
    answer = memory.read(memory.write(patterns), queries)[-1, 0].numpy()
    field = q @ (x.T @ x)
    np.testing.assert_array_equal(2 * answer - 1, np.where(field == 0, q, np.sign(field)))


@pytest.mark.parametrize("separation", ["power", "softmax"])
def test_binary_steps_are_the_published_updates(separation):
    patterns = bits(1, 60, 32)
    queries, _ = redrawn(patterns, 16)
    x, q = (2 * values[0].numpy() - 1 for values in (patterns, queries))
    for _ in range(2):
        overlaps = q @ x.T
        weights = np.maximum(overlaps, 0) ** 2 if separation == "power" else np.exp(0.25 * overlaps)
        field = weights @ x
        q = np.where(field == 0, q, np.sign(field))
    memory = build(ModernHopfield, (32,), separation=separation, power=2, beta=0.25, binary=True, steps=2)
    np.testing.assert_array_equal(2 * memory.read(memory.write(patterns), queries)[-1, 0].numpy() - 1, q)


def test_centring_removes_what_all_patterns_have_in_common():
    """With a common image below them, the dot product prefers whatever has most of it, to the pattern itself."""
    patterns = (0.2 + 0.6 * real(20, 1, 256)) + 0.2 * (real(20, 16, 256, seed=1) - 0.5)
    plain, centred, distance = (
        build(ModernHopfield, (256,), separation="max", **settings)
        for settings in ({}, {"center": True}, {"similarity": "euclidean"})
    )
    for memory in (centred, distance):
        torch.testing.assert_close(memory.read(memory.write(patterns), patterns)[-1], patterns)
    wrong = (plain.read(plain.write(patterns), patterns)[-1] - patterns).abs().amax(-1) > 1e-9
    assert wrong.double().mean() > 0.3


def test_beta_is_learned():
    memory = build(ModernHopfield, (64,), beta=0.005, learned=True)
    patterns = bits(4, 16, 64, dtype=torch.float32)
    queries, _ = redrawn(patterns, 32)
    before = memory.meta_loss(patterns, queries)
    train(memory, lambda _step: (patterns, queries), steps=30, rate=0.1)
    assert memory.meta_loss(patterns, queries) < 0.2 * before
    assert not [p for p in build(ModernHopfield, (64,)).parameters() if p.requires_grad]


def test_the_family_agrees_where_it_overlaps():
    """Hebb's asynchronous network, as weights and as the dense memory of F(u) = u²."""
    patterns = bits(10, 24, 64, dtype=torch.float32)
    queries, mask = redrawn(patterns, 32)
    hebb, dense = build(Hopfield, (64,)), build(DenseAssociativeMemory, (64,), function="polynomial", power=2)
    dense.max_sweeps = 100
    for told in (None, mask):
        answers = [memory.read(memory.write(patterns), queries, told)[-1] for memory in (hebb, dense)]
        assert torch.equal(*answers)
