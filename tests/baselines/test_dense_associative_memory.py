"""Dense associative memories against loops written from the energy, and against measured errors."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from baselines.dense_associative_memory import DenseAssociativeMemory, DenseAssociativeMemoryConfig
from lightning_ebm.memory import PatternSpec
from tests.baselines.test_hopfield import bits, redrawn
from tests.contract import MemoryContract, build

SETTINGS = [("rectified", 3), ("polynomial", 4), ("exponential", 2)]


class TestBits(MemoryContract):
    kind = DenseAssociativeMemory
    config = DenseAssociativeMemoryConfig(slots=6)


class TestExponentialOnImages(TestBits):
    spec = PatternSpec((1, 4, 4), binary=True)
    config = DenseAssociativeMemoryConfig(function="exponential", slots=4)


def naive_energy(x, s, function, power):
    def steep(u):
        if function == "exponential":
            return np.exp(u)
        return max(u, 0.0) ** power if function == "rectified" else u**power

    return -sum(steep(float(row @ s)) for row in x)


@pytest.mark.parametrize(("function", "power"), SETTINGS)
def test_each_unit_takes_the_value_of_lower_energy(function, power):
    """Computed from the whole energy with the unit up and down, one query and one unit at a time."""
    patterns = bits(1, 8, 10)
    queries, mask = redrawn(patterns, 6)
    memory = build(DenseAssociativeMemory, (10,), function=function, power=power)
    memory.max_sweeps = 2
    answer = memory.read(memory.write(patterns), queries, mask)[-1, 0].numpy()
    x, units = (2 * values[0].numpy() - 1 for values in (patterns, queries))
    for s, free in zip(units, mask[0].numpy(), strict=True):
        for _ in range(2):
            for i in np.flatnonzero(free):
                up, down = s.copy(), s.copy()
                up[i], down[i] = 1, -1
                gain = naive_energy(x, down, function, power) - naive_energy(x, up, function, power)
                s[i] = s[i] if abs(gain) < 1e-9 else np.sign(gain)
    np.testing.assert_array_equal(2 * answer - 1, units)


@pytest.mark.parametrize(("function", "power"), SETTINGS)
def test_energy_never_increases(function, power):
    patterns = bits(4, 30, 32)
    queries, _ = redrawn(patterns, 24)
    memory = build(DenseAssociativeMemory, (32,), function=function, power=power)
    state, energies = memory.write(patterns), []
    for memory.max_sweeps in range(6):
        energies.append(memory.energy(state, memory.read(state, queries)[-1]))
    energies = torch.stack(energies)
    assert energies.diff(dim=0).max() <= 1e-12
    assert energies[1].sum() < energies[0].sum()


def test_energy_is_the_sum():
    patterns = bits(1, 5, 12)
    x, s = 2 * patterns[0].numpy() - 1, 2 * patterns[0, 2].numpy() - 1
    for function, power in SETTINGS:
        memory = build(DenseAssociativeMemory, (12,), function=function, power=power).double()
        energy = memory.energy(memory.write(patterns), patterns)[0, 2].item()
        expected = naive_energy(x, s, function, power)
        scaled = -np.log(-expected) if function == "exponential" else expected / 12**power
        assert energy == pytest.approx(scaled, rel=1e-12)


@pytest.mark.parametrize(("power", "size", "items"), [(2, 64, 28), (2, 128, 80), (3, 32, 150), (3, 32, 250)])
def test_stored_bits_are_as_stable_as_the_paper_says(power, size, items):
    """Krotov and Hopfield 2016, eq. 6: of K patterns, a bit flips with Φ(-√(N^(n-1) / ((2n-3)!! K))).

    One unit of each pattern is free, of as many episodes as give 4,000 of them.
    """
    patterns = bits(1 + 4000 // items, items, size, dtype=torch.float32)
    free = torch.arange(size) == torch.arange(items)[:, None] % size
    memory = build(DenseAssociativeMemory, (size,), function="polynomial", power=power)
    memory.max_sweeps = 1
    answer = memory.read(memory.write(patterns), patterns, free.expand_as(patterns))[-1]
    flipped = (answer != patterns).sum(-1).double().mean().item()
    factorial = {2: 1, 3: 3}[power]
    expected = NormalDist().cdf(-math.sqrt(size ** (power - 1) / (factorial * items)))
    assert flipped == pytest.approx(expected, abs=0.015)  # three standard errors of 4,000 draws


@pytest.mark.parametrize(
    ("function", "power", "items", "expected", "within"),
    [
        ("polynomial", 2, 48, 9.8, 0.6),  # Hebb's row of the published table
        ("rectified", 2, 512, 22.7, 1.0),
        ("rectified", 3, 512, 0.0, 0.1),
        ("exponential", 2, 360, 0.0, 0.0),
    ],
)
def test_steeper_energies_hold_more(function, power, items, expected, within):
    """Wrong bits of 128, half of the bits re-drawn and the others clamped."""
    patterns = bits(1440 // items, items, 128, dtype=torch.float32)
    queries, mask = redrawn(patterns[:, :64], 64)
    memory = build(DenseAssociativeMemory, (128,), function=function, power=power)
    answer = memory.read(memory.write(patterns), queries, mask)[-1]
    assert (answer != patterns[:, :64]).sum(-1).float().mean().item() == pytest.approx(expected, abs=within)


def test_exponential_does_not_overflow():
    patterns = bits(2, 40, 1024, dtype=torch.float32)  # exp(1024) is infinite in float32 and in float64
    queries, _ = redrawn(patterns, 600)
    memory = build(DenseAssociativeMemory, (1024,), function="exponential")
    state = memory.write(patterns)
    assert torch.equal(memory.read(state, queries)[-1], patterns)
    assert memory.energy(state, patterns).isfinite().all()
