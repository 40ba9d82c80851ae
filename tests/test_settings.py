"""Bounds of settings hold however an instance is made."""

import math
from dataclasses import dataclass

import pytest

from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class Example(Settings):
    slots: int = setting(64, at_least=1)
    decay: float = setting(0.0, at_least=0, below=1)
    width: int | None = setting(None, at_least=1)
    rule: str = setting("hebb", one_of=("hebb", "storkey"))
    counts: list[int] = setting([1, 2], at_least=1)
    free: float = 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slots": 0}, "slots must be at least 1, got 0"),
        ({"decay": 1.0}, "decay must be at least 0 and below 1, got 1.0"),
        ({"decay": math.nan}, "decay must be at least 0 and below 1, got nan"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"rule": "heb"}, "rule must be one of hebb, storkey, got 'heb'"),
        ({"counts": [3, 0]}, "counts must be at least 1, got [3, 0]"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(values, message):
    with pytest.raises(ValueError) as raised:
        Example(**values)
    assert str(raised.value) == message


def test_values_within_bounds_pass_and_lists_are_not_shared():
    assert Example(slots=1, decay=0.999, width=None, counts=[]) == Example(1, 0.999, None, "hebb", [], 0.0)
    assert Example().counts is not Example().counts
