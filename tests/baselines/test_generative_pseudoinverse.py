"""The generative pseudo-inverse memory against projections, least squares, and the closed-form error of iteration."""

import pytest
import torch

from baselines.coders import CodersConfig
from baselines.generative_pseudoinverse import (
    GenerativePseudoinverse,
    GenerativePseudoinverseConfig,
    iterative_pseudo_inverse,
)
from tests.baselines.test_kanerva import bits, distorted
from tests.contract import IMAGES, MemoryContract, build, wrong_bits


class TestBits(MemoryContract):
    """With fewer rows than patterns: otherwise nothing depends on R0, and it gets no gradient."""

    learns_first = 60  # four patterns in three rows, or untrained image coders, recall badly
    kind = GenerativePseudoinverse
    config = GenerativePseudoinverseConfig(slots=3, coders=CodersConfig(hidden=16))


class TestImages(TestBits):
    spec = IMAGES
    config = GenerativePseudoinverseConfig(
        slots=3, width=12, iterations=20, steps=2, coders=CodersConfig(channels=[4, 8], code_dim=16)
    )


def read_codes(memory, state, codes):
    return codes @ torch.linalg.pinv(state["memory"]) @ state["memory"]


@pytest.mark.parametrize("items", [1, 5, 8])
def test_it_is_exact_while_there_are_no_more_patterns_than_rows(items):
    memory, patterns = build(GenerativePseudoinverse, (20,), slots=8).double(), bits(3, items, 20, dtype=torch.float64)
    state, codes = memory.write(patterns), memory.coders.encode(patterns)
    torch.testing.assert_close(read_codes(memory, state, codes), codes, rtol=0, atol=1e-9)
    torch.testing.assert_close(memory.energy(state, patterns), torch.zeros(3, items).double(), rtol=0, atol=1e-9)


def test_reading_projects_on_the_span_of_the_codes():
    """V V' of their singular vectors, whatever R0 is; then decoding, and again from the answer."""
    memory = build(GenerativePseudoinverse, (20,), slots=8, steps=2).double()
    patterns = bits(3, 6, 20, dtype=torch.float64)
    basis = torch.linalg.svd(memory.coders.encode(patterns), full_matrices=False)[2]
    answer, expected = distorted(patterns), []
    queries = answer
    for _ in range(2):
        answer = memory.coders.logits(memory.coders.encode(answer) @ basis.mT @ basis).sigmoid()
        expected.append(answer)
    torch.testing.assert_close(memory.read(memory.write(patterns), queries), torch.stack(expected))


def test_with_more_patterns_than_rows_the_memory_is_the_least_squares_one():
    memory, patterns = build(GenerativePseudoinverse, (20,), slots=8).double(), bits(3, 15, 20, dtype=torch.float64)
    codes = memory.coders.encode(patterns)
    addresses = torch.linalg.lstsq(memory.prior.T.expand(3, -1, -1), codes.mT).solution.mT
    expected = torch.linalg.lstsq(addresses, codes).solution
    torch.testing.assert_close(memory.write(patterns)["memory"], expected)
    missed = (read_codes(memory, {"memory": expected}, codes) - codes).square().sum((-2, -1))
    least = torch.linalg.svdvals(codes)[:, 8:].square().sum(-1)  # Eckart and Young
    assert (missed >= least - 1e-9).all()
    assert (missed < 2 * least).all()


def test_float32_states_and_equal_patterns_do_no_harm():
    """What is left of a smaller rank are rounding errors, which a pseudo-inverse must not invert."""
    memory, patterns = build(GenerativePseudoinverse, (128,)), bits(4, 8, 128).repeat(1, 2, 1)
    assert wrong_bits(memory, patterns, distorted(patterns)) < 0.5
    for equal in (patterns, torch.ones(2, 6, 128), torch.full((2, 6, 128), 0.5)):
        memory.zero_grad()
        memory.meta_loss(equal, equal).backward()
        assert all(parameter.grad.isfinite().all() for parameter in memory.parameters())


@pytest.mark.parametrize("iterations", [1, 3, 8])
def test_the_iterative_inverse_errs_as_its_closed_form_says(iterations):
    """A X keeps 1 - (1 - a s²)^(2^k) of each singular value, with a = 1/|X|²."""
    matrix = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    kept = 1 - (1 - s.square() / s.square().sum(-1, keepdim=True)) ** (2**iterations)
    expected = v.mT @ torch.diag_embed(kept / s) @ u.mT
    torch.testing.assert_close(iterative_pseudo_inverse(matrix, iterations), expected, rtol=0, atol=1e-12)


def test_enough_iterations_are_the_solver():
    matrix = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(iterative_pseudo_inverse(matrix, 20), torch.linalg.pinv(matrix), rtol=0, atol=1e-10)
    memory, patterns = build(GenerativePseudoinverse, (24,), slots=6).double(), bits(2, 5, 24, dtype=torch.float64)
    queries = distorted(patterns)
    exact = memory.read(memory.write(patterns), queries)
    memory.iterations = 30
    torch.testing.assert_close(memory.read(memory.write(patterns), queries), exact, rtol=0, atol=1e-8)


def test_it_writes_all_patterns_at_once():
    memory = build(GenerativePseudoinverse, (8,), slots=3)
    with pytest.raises(NotImplementedError, match="all patterns at once"):
        memory.update(memory.initial_state(2), bits(2, 4, 8))
