"""Which members of a parametrisation run in `make test`; the others are slow, and run in `make test-all`."""

from collections.abc import Iterable

import pytest

slow = pytest.mark.slow


def fast(chosen: Iterable, values: Iterable) -> list:
    """All values as parameters, those that are not chosen marked slow."""
    chosen = list(chosen)
    return [value if value in chosen else pytest.param(value, marks=slow) for value in values]
