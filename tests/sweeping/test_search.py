"""Grid, random and Bayesian search, and Hyperband."""

import itertools

import numpy as np
import pytest

from lightning_ebm.sweeping import bayes, grid, random_search
from lightning_ebm.sweeping.hyperband import Hyperband, stops
from lightning_ebm.sweeping.space import Parameter


def test_grid_is_the_product_by_name():
    values = {"b": [3, 1], "a": ["x", "y", "z"], "c": [True, False]}
    parameters = [Parameter((name,), "categorical", {"values": values[name]}) for name in values]
    expected = [dict(zip("abc", one, strict=True)) for one in itertools.product(*(values[name] for name in "abc"))]
    assert grid.points(parameters) == expected


def test_draws_depend_on_seed_and_number():
    assert random_search.draw(1, 5, 3) == random_search.draw(1, 5, 3)
    assert len({tuple(random_search.draw(seed, number, 3)) for seed in range(3) for number in range(3)}) == 9


def function(place):
    """A valley with its least value, 0, at (0.3, 0.7)."""
    return float(4 * (place[0] - 0.3) ** 2 + 9 * (place[1] - 0.7) ** 2)


def test_bayes_beats_random():
    least = {"bayes": [], "random": []}
    for seed in range(5):
        places, errors = np.zeros((0, 2)), np.zeros(0)
        for number in range(16):
            generator = np.random.default_rng([seed, number])
            place = bayes.propose(places, errors, np.zeros((0, 2)), generator, lambda one: one)
            places, errors = np.vstack([places, place]), np.append(errors, function(np.array(place)))
        least["bayes"].append(errors.min())
        least["random"].append(min(function(np.array(random_search.draw(seed, one, 2))) for one in range(16)))
    assert np.mean(least["bayes"]) < 0.1 * np.mean(least["random"])
    assert max(least["bayes"]) < 0.02


def test_process_against_the_solved_equations():
    places, targets, at = np.array([[0.1], [0.6]]), np.array([1.0, -1.0]), np.array([[0.3]])
    mean, deviation = bayes.predict(places, targets, at, 0.5, 0.01)
    k = np.exp(-(0.5**2) / (2 * 0.25))
    inverse = np.array([[1.01, -k], [-k, 1.01]]) / (1.01**2 - k**2)
    cross = np.exp(-(np.array([0.2, 0.3]) ** 2) / (2 * 0.25))
    assert mean[0] == pytest.approx(cross @ inverse @ targets)
    assert deviation[0] ** 2 == pytest.approx(1 - cross @ inverse @ cross)
    covariance = np.array([[1.01, k], [k, 1.01]])
    normal = -0.5 * targets @ inverse @ targets - 0.5 * np.log(np.linalg.det(2 * np.pi * covariance))
    assert bayes.log_likelihood(places, targets, 0.5, 0.01) == pytest.approx(normal)


def test_expected_improvement_against_draws():
    draws = np.random.default_rng(0).normal(0.3, 0.5, 400_000)
    expected = np.maximum(0.1 - draws, 0).mean()
    found = bayes.expected_improvement(np.array([0.3]), np.array([0.5]), 0.1)
    assert found[0] == pytest.approx(expected, abs=2e-3)


def test_two_running_runs_are_not_proposed_twice():
    generator = np.random.default_rng(0)
    places = generator.random((8, 2))
    errors = np.array([function(place) for place in places])
    first = bayes.propose(places, errors, np.zeros((0, 2)), np.random.default_rng(1), lambda one: one)
    second = bayes.propose(places, errors, np.array([first]), np.random.default_rng(1), lambda one: one)
    assert np.abs(np.subtract(first, second)).max() > 1e-3


def test_failed_runs_count_as_the_worst():
    places = np.random.default_rng(0).random((12, 1))
    errors = np.where(places[:, 0] < 0.5, np.inf, places[:, 0])  # left of the middle, all fail
    found = bayes.propose(places, errors, np.zeros((0, 1)), np.random.default_rng(0), lambda one: one)
    assert 0.4 < found[0] < 0.8


def test_brackets():
    assert Hyperband(min_iter=3, eta=3).brackets(100) == [3, 9, 27, 81]
    assert Hyperband(min_iter=3, eta=3).brackets(2) == []
    assert Hyperband(max_iter=27, s=2, eta=3).brackets(100) == [3, 9]
    assert Hyperband(max_iter=27, s=2, eta=3).brackets(8) == [3]
    assert Hyperband(max_iter=4, s=5, eta=2).brackets(9) == [1, 2]


def test_hyperband_by_hand():
    settings = Hyperband(min_iter=2, eta=2)
    runs = [[9, 1], [9, 2], [9, 3], [9, 4]]
    # of four, the rank 4 / 2 = 2 is the bound: 3
    assert [stops(settings, run, runs) for run in runs] == [False, False, False, True]
    assert not stops(settings, [50], [*runs, [50]])  # it has not reached the first bracket
    assert not stops(settings, [50, 40], [[50, 40], [1]])  # nobody else has
    assert stops(settings, [1, 9, 9, 9], [[1, 9, 9, 9], [0, 9, 9, 9], [0, 0, 9, 9], [0.5, 9, 9, 9]])
    # its best error counts, not its last
    assert not stops(settings, [0, 9], [[0, 9], *runs])
