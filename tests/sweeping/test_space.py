"""Distributions against their closed forms."""

import math

import numpy as np
import pytest

from lightning_ebm.sweeping.file import parameter
from lightning_ebm.sweeping.space import point


def make(settings):
    return parameter(("rate",), settings, "parameters.rate")


def draws(settings, count=20_000):
    made = make(settings)
    return np.array([made.at(quantile) for quantile in np.random.default_rng(0).random(count)])


# mean and variance in closed form; the mean of 20,000 draws is within 5 of its standard errors
MOMENTS = {
    "uniform": ({"min": -1.0, "max": 3.0}, 1.0, 16 / 12),
    "int_uniform": ({"min": 2, "max": 6}, 4.0, 2.0),
    "normal": ({"mu": 2.0, "sigma": 3.0}, 2.0, 9.0),
    "log_normal": ({"mu": 0.1, "sigma": 0.5}, math.exp(0.1 + 0.125), (math.exp(0.25) - 1) * math.exp(0.2 + 0.25)),
    "log_uniform_values": (
        {"min": 0.01, "max": 1.0},
        0.99 / math.log(100),
        (1 - 1e-4) / (2 * math.log(100)) - (0.99 / math.log(100)) ** 2,
    ),
}
MOMENTS["inv_log_uniform_values"] = MOMENTS["log_uniform_values"]


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name):
    settings, mean, variance = MOMENTS[name]
    found = draws({"distribution": name, **settings})
    assert abs(found.mean() - mean) < 5 * math.sqrt(variance / len(found))
    assert found.var() == pytest.approx(variance, rel=0.06)


def test_quantiles():
    assert make({"min": 2.0, "max": 4.0}).at(0.25) == 2.5
    assert make({"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}).at(0.5) == pytest.approx(1e-2)
    # the 97.5th percentile of the standard normal
    assert make({"distribution": "normal"}).at(0.975) == pytest.approx(1.959963984540054)
    assert make({"distribution": "log_normal", "mu": 1.0}).at(0.5) == pytest.approx(math.e)


def test_multiples_of_q():
    whole = make({"distribution": "q_uniform", "min": 0, "max": 100, "q": 8})
    assert whole.at(0.51) == 48 and isinstance(whole.at(0.51), int)
    assert make({"distribution": "q_normal", "mu": 0.0, "sigma": 1.0, "q": 0.1}).at(0.975) == 2.0
    assert make({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}).at(0.31) == 0.3  # not 0.30000000000000004
    # 10 ** 1.5 = 31.6
    assert make({"distribution": "q_log_uniform_values", "min": 10, "max": 100, "q": 4}).at(0.5) == 32


def test_shares_of_values():
    found = draws({"values": ["a", "b", "c"], "probabilities": [0.5, 0.2, 0.3]}).tolist()
    for value, share in {"a": 0.5, "b": 0.2, "c": 0.3}.items():
        assert abs(found.count(value) / len(found) - share) < 5 * math.sqrt(share * (1 - share) / len(found))
    whole = draws({"min": 1, "max": 4}).tolist()
    assert set(whole) == {1, 2, 3, 4} and abs(whole.count(4) / len(whole) - 0.25) < 0.016


def test_middle_of_the_quantiles_of_a_value():
    made = make({"values": ["a", "b"], "probabilities": [0.8, 0.2]})
    assert made.centred(0.1) == pytest.approx(0.4) and made.centred(0.85) == pytest.approx(0.9)
    assert make({"min": 0.0, "max": 1.0}).centred(0.3) == 0.3


def test_constants_take_no_place():
    parameters = [make({"value": 7}), parameter(("a", "b"), {"min": 0.0, "max": 2.0}, "")]
    assert point(parameters, [0.25]) == {"rate": 7, "a.b": 0.5}
