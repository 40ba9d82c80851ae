"""Every combination of the values, in the order of Weights & Biases."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from lightning_ebm.sweeping.space import Parameter, Point


def points(parameters: Sequence[Parameter]) -> list[Point]:
    """All combinations; the last name of the alphabet varies fastest, each value in the order of the file."""
    ordered = sorted(parameters, key=lambda parameter: parameter.name)
    names = [parameter.name for parameter in ordered]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(one.values for one in ordered))]
