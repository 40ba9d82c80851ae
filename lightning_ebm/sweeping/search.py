"""What a sweep tries next, and which trials it gives up.

Bayesian search is Optuna's Gaussian process, the method of W&B's `bayes`. Early stopping is ours: W&B's Hyperband
judges the best error so far among the trials at a bracket; Optuna's pruners judge the last error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lightning_ebm.config import ConfigError
from lightning_ebm.sweeping.file import Hyperband, Parameter, Search, Values

FIRST = 4
"""Trials of a Bayesian search that are drawn at random before there is anything to model."""

Done = Sequence[tuple[list[float], float | None]]
"""Place and error of each trial before; None while it runs, infinite if it failed."""


def grid_values(search: Search) -> list[Values]:
    """All combinations, as W&B orders them: the last name of the alphabet varies fastest."""
    ordered = sorted(search.parameters, key=lambda one: one.name)
    names = [one.name for one in ordered]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(one.values for one in ordered))]


def values_at(search: Search, place: Sequence[float]) -> Values:
    """The values at a place: a quantile from 0 to below 1 for each of `search.varied`."""
    quantiles = iter(place)
    return {one.name: one.at(0.0 if one.distribution == "constant" else next(quantiles)) for one in search.parameters}


def propose(search: Search, seed: int, done: Done) -> list[float]:
    """The place of the next trial of a random or Bayesian search: a function of the seed and the trials before."""
    generator = np.random.default_rng([seed, len(done)])
    ended = sum(error is not None and math.isfinite(error) for _, error in done)
    if search.file.method == "random" or ended < FIRST or not search.varied:
        return generator.random(len(search.varied)).tolist()
    return modelled(search.varied, done, int(generator.integers(2**31)))


def modelled(varied: Sequence[Parameter], done: Done, seed: int) -> list[float]:
    """The place of greatest expected improvement under Optuna's Gaussian process.

    Of its samplers this one, since trials are few: it needs four where TPE needs ten before it learns anything.
    """
    try:
        import optuna
        import scipy  # noqa: F401  (which Optuna's Gaussian process imports)
    except ImportError:
        raise ConfigError("method: bayes needs Optuna and SciPy: pip install 'lightning-ebm[sweep]'") from None
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import TrialState, create_trial

    kinds: dict[str, Any] = {}
    for one in varied:
        ordered = all(isinstance(value, int | float) for value in one.values) and one.values == sorted(one.values)
        if not one.values:
            kinds[one.name] = FloatDistribution(0.0, 1.0)
        elif ordered:
            kinds[one.name] = IntDistribution(0, len(one.values) - 1)
        else:
            kinds[one.name] = CategoricalDistribution(range(len(one.values)))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=seed, n_startup_trials=1))
    worst = max(error for _, error in done if error is not None and math.isfinite(error))
    for place, error in done:
        pairs = zip(varied, place, strict=True)
        point = {one.name: one.rank(quantile) if one.values else quantile for one, quantile in pairs}
        state = TrialState.RUNNING if error is None else TrialState.COMPLETE
        value = None if error is None else min(error, worst)  # a failed trial is as bad as the worst
        study.add_trial(create_trial(state=state, value=value, params=point, distributions=kinds))
    found = study.ask(kinds).params
    return [one.centre(found[one.name]) if one.values else min(found[one.name], 1 - 1e-9) for one in varied]


def is_hopeless(early: Hyperband, errors: Sequence[float], of_all: Iterable[Sequence[float]]) -> bool:
    """Whether Hyperband stops a trial, as W&B does; errors are those of all validations so far, `of_all` those of all.

    True if, at the last bracket that it has reached, its best error is worse than that of rank n / eta (rounded down,
    from 0) of the n trials that have reached it, this one among them.
    """
    bracket = max((end for end in early.brackets if end <= len(errors)), default=0)
    if not bracket:
        return False
    ranked = sorted(min(other[:bracket]) for other in of_all if len(other) >= bracket)
    return min(errors[:bracket]) > ranked[int(len(ranked) / early.eta)]
