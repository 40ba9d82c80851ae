"""Linear-Gaussian algebra against matrix inverses, generic Gaussians and the theorem of Eckart and Young."""

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from baselines.gaussian_memory import divergence, observe, observe_all, ridge

EPISODES, ROWS, COLUMNS, ITEMS = 3, 4, 5, 6
EYE = torch.eye(4, dtype=torch.float64)
NOISE = torch.tensor(0.3, dtype=torch.float64)


@pytest.fixture
def belief():
    """A prior mean and covariance, weights and codes, in float64."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(EPISODES, *shape, generator=generator, dtype=torch.float64)

    root = normal(ROWS, ROWS)
    covariance = root @ root.mT + 0.1 * EYE
    return normal(ROWS, COLUMNS), covariance, normal(ITEMS, ROWS), normal(ITEMS, COLUMNS)


def one_after_the_other(mean, covariance, weights, codes):
    """All beliefs on the way, the first one included."""
    beliefs = [(mean, covariance)]
    for w, z in zip(weights.unbind(1), codes.unbind(1), strict=True):
        beliefs.append(observe(*beliefs[-1], w, z, NOISE))
    return beliefs


def generic_divergence(after, before):
    """The KL of the columns as one Gaussian of K·C dimensions, by PyTorch."""
    after, before = (
        MultivariateNormal(mean.mT.flatten(1), torch.stack([torch.block_diag(*[u] * COLUMNS) for u in covariance]))
        for mean, covariance in (after, before)
    )
    return kl_divergence(after, before)


def test_one_after_the_other_is_all_at_once_is_the_information_form(belief):
    """U = (U0⁻¹ + W'W/σ²)⁻¹, R = U (U0⁻¹ R0 + W'Z/σ²): the inverses that the code never makes."""
    mean, covariance, weights, codes = belief
    precision = covariance.inverse() + weights.mT @ weights / NOISE
    expected = (precision.inverse() @ (covariance.inverse() @ mean + weights.mT @ codes / NOISE), precision.inverse())
    for result in (one_after_the_other(*belief)[-1], observe_all(*belief, NOISE)):
        for got, wanted in zip(result, expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def test_the_covariance_stays_positive_semidefinite(belief):
    """After 400 codes with the least noise that there is, 100 times the number of rows."""
    mean, covariance, _, _ = belief
    generator = torch.Generator().manual_seed(1)
    for _ in range(400):
        w = torch.randn(EPISODES, ROWS, generator=generator, dtype=torch.float64)
        mean, covariance = observe(mean, covariance, w, mean[:, 0], torch.tensor(1e-6))
    eigenvalues = torch.linalg.eigvalsh(covariance)
    assert eigenvalues.min() > -1e-12
    assert eigenvalues.max() < 1e-6  # less than the noise of one code
    torch.testing.assert_close(covariance, covariance.mT, rtol=0, atol=1e-14)


def test_divergence_is_that_of_generic_gaussians(belief):
    first, last = belief[:2], one_after_the_other(*belief)[-1]
    torch.testing.assert_close(divergence(*last, *first), generic_divergence(last, first), rtol=1e-10, atol=0)


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_ridge_is_the_formula(belief, penalty):
    """(R R' + λ I)⁻¹ R z with a plain inverse. Neither of two known mistakes would pass: R R' taken for the design
    matrix, or the penalty ignored."""
    mean, _, _, codes = belief
    penalty = torch.tensor(penalty, dtype=torch.float64)
    gram = mean @ mean.mT
    expected = codes @ mean.mT @ (gram + penalty * EYE).inverse()
    weights = ridge(mean, penalty)(codes)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-10)
    squared = (gram @ gram + penalty * EYE).inverse() @ gram @ mean @ codes.mT
    ignored = codes @ torch.linalg.pinv(mean)
    for mistake in (squared.mT, ignored):
        assert (mistake - expected).norm() > 1e-4 * expected.norm()


def test_ridge_solves_in_float64(belief):
    """Rows that are equal but for rounding: a float32 factor of their Gram matrix would not exist."""
    mean = torch.ones(1, 3, 50)
    weights = ridge(mean, torch.tensor(1e-8))(torch.ones(1, 2, 50))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.full((1, 2, 3), 1 / 3))


def recall_error(items, rows=8, columns=10, noise=0.005, episodes=40):
    """Mean squared error of codes of variance 1, written one after the other and read; and its lower bound.

    No `rows` rows span more than the first singular vectors do (Eckart and Young 1936).
    """
    generator = torch.Generator().manual_seed(items)
    mean = torch.randn(episodes, rows, columns, generator=generator, dtype=torch.float64)
    codes = torch.randn(episodes, items, columns, generator=generator, dtype=torch.float64)
    covariance = torch.eye(rows, dtype=torch.float64).expand(episodes, -1, -1)
    noise = torch.tensor(noise, dtype=torch.float64)
    for code in codes.unbind(1):
        weights = ridge(mean, noise)(code[:, None])[:, 0]
        mean, covariance = observe(mean, covariance, weights, code, noise)
    error = (ridge(mean, noise)(codes) @ mean - codes).square().mean().item()
    lost = torch.linalg.svdvals(codes)[:, rows:].square().sum(-1) / (items * columns)
    return error, lost.mean().item()


def test_recall_breaks_down_when_there_are_more_codes_than_rows():
    """Measured elsewhere, with other noise: 2e-5, 8e-4, 5e-2 and 7e-2 for 4, 8, 16 and 32 codes in 8 rows."""
    errors = {items: recall_error(items) for items in (4, 8, 16, 32)}
    assert errors[4][0] == pytest.approx(2e-5, rel=0.5)
    assert errors[8][0] == pytest.approx(8e-4, rel=0.5)
    assert errors[16][0] > 20 * errors[8][0]
    for items in (16, 32):
        error, least = errors[items]
        assert least < error < 1.3 * least
