"""Parameters of a sweep and their distributions, with the names and the meaning that Weights & Biases gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import NormalDist
from typing import Any

DEFAULTS: dict[str, dict[str, Any]] = {
    "constant": {"value": None},
    "categorical": {"values": None, "probabilities": ()},
    "uniform": {"min": None, "max": None},
    "q_uniform": {"min": None, "max": None, "q": 1},
    "int_uniform": {"min": None, "max": None},
    "log_uniform_values": {"min": None, "max": None},
    "q_log_uniform_values": {"min": None, "max": None, "q": 1},
    "inv_log_uniform_values": {"min": None, "max": None},
    "normal": {"mu": 0.0, "sigma": 1.0},
    "q_normal": {"mu": 0.0, "sigma": 1.0, "q": 1},
    "log_normal": {"mu": 0.0, "sigma": 1.0},
}
"""The settings of each distribution; None: it has to be given."""

Point = dict[str, Any]
"""Dotted name of a parameter -> the value that a run has."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep.

    Attributes:
        path: its key in the file, and those of the `parameters:` nested below.
        distribution: a key of `DEFAULTS`.
        settings: those of the distribution, all of them.
    """

    path: tuple[str, ...]
    distribution: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The key of our configuration that it sets, dotted."""
        return ".".join(self.path)

    @property
    def values(self) -> list[Any]:
        """The values that a grid goes through; empty if they are not a list."""
        if self.distribution == "int_uniform":
            return list(range(self.settings["min"], self.settings["max"] + 1))
        return list(self.settings.get("values", [self.settings["value"]] if "value" in self.settings else []))

    def at(self, quantile: float) -> Any:
        """The value at a quantile of the distribution, from 0 to below 1; whole where `q` is."""
        if self.distribution in ("constant", "categorical", "int_uniform"):
            return self.values[self.rank(quantile)]
        value = self.continuous(quantile)
        if "q" not in self.settings:
            return value
        q = self.settings["q"]
        return round(value / q) * q if isinstance(q, int) else float(f"{round(value / q) * q:.12g}")

    def continuous(self, quantile: float) -> float:
        """The quantile before it is rounded to a multiple of `q`."""
        given = self.settings
        if "mu" in given:
            deviate = given["mu"] + given["sigma"] * NormalDist().inv_cdf(min(max(quantile, 1e-12), 1 - 1e-12))
            return math.exp(deviate) if self.distribution == "log_normal" else float(deviate)
        low, high = given["min"], given["max"]
        if "log" not in self.distribution:
            return float(low + quantile * (high - low))
        # log(1 / x) of inv_log_uniform_values is uniform between log(1 / max) and log(1 / min): log x is uniform
        return math.exp(math.log(low) + quantile * (math.log(high) - math.log(low)))

    def rank(self, quantile: float) -> int:
        """Which of `values` a quantile falls on."""
        return next((rank for rank, end in enumerate(self.ends()) if quantile < end), len(self.values) - 1)

    def ends(self) -> list[float]:
        """Cumulative probabilities of `values`."""
        count = len(self.values)
        return list(accumulate(self.settings.get("probabilities") or [1 / count] * count))

    def centred(self, quantile: float) -> float:
        """The middle of all quantiles with the same value, of `values`; the quantile itself of others."""
        if not self.values:
            return quantile
        ends = [0.0, *self.ends()]
        rank = self.rank(quantile)
        return (ends[rank] + ends[rank + 1]) / 2


def varied(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Those that are no constants."""
    return [parameter for parameter in parameters if parameter.distribution != "constant"]


def point(parameters: Sequence[Parameter], place: Sequence[float]) -> Point:
    """The values at a place.

    Args:
        parameters: of the sweep.
        place: a quantile from 0 to below 1 for each of `varied(parameters)`.
    """
    quantiles = iter(place)
    return {
        parameter.name: parameter.at(0.0 if parameter.distribution == "constant" else next(quantiles))
        for parameter in parameters
    }
