"""Bounds of settings hold however an instance is made."""

import ast
import dataclasses
import inspect
import itertools
import math
import typing
from dataclasses import dataclass

import pytest

from lightning_ebm.registry import energies, memories
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class Example(Settings):
    slots: int = setting(64, at_least=1)
    decay: float = setting(0.0, at_least=0, below=1)
    width: int | None = setting(None, at_least=1)
    rule: str = setting("hebb", one_of=("hebb", "storkey"))
    counts: list[int] = setting([1, 2], at_least=1, min_length=1)
    rank: int | None = setting(None, at_least=1, at_most="slots")
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
        ({"counts": []}, "counts must have at least 1 entries, got []"),
        ({"slots": 3, "rank": 4}, "rank must be at least 1 and at most slots=3, got 4"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(values, message):
    with pytest.raises(ValueError) as raised:
        Example(**values)
    assert str(raised.value) == message


def test_values_within_bounds_pass_and_lists_are_not_shared():
    assert Example(slots=1, decay=0.999, width=None, counts=[1]) == Example(1, 0.999, None, "hebb", [1], None, 0.0)
    assert Example().counts is not Example().counts


def schemas():
    """The settings of all memories and energies, by name, and those that lie in them."""
    found = {name: registry.load(name).config for registry in (memories, energies) for name in registry.names()}
    ebmm, coded = typing.get_type_hints(found["ebmm"]), typing.get_type_hints(found["no_memory"])
    return found | {"ebmm.writing": ebmm["writing"], "ebmm.reading": ebmm["reading"], "coders": coded["coders"]}


def beyond(schema, field):
    """Values of a field that its declaration excludes: at an open bound, just outside of a closed one, and NaN."""
    bounds = {
        name: schema.__dataclass_fields__[bound].default if isinstance(bound, str) else bound
        for name, bound in field.metadata["bounds"].items()
    }
    whole = "float" not in str(field.type)
    outside = {"at_least": (-1, -math.inf), "at_most": (1, math.inf), "above": None, "below": None}
    values = [math.nan] if bounds else []
    for name, bound in bounds.items():
        step = outside[name]
        values.append(bound if step is None else bound + step[0] if whole else math.nextafter(bound, step[1]))
    values += ["no such word"] if field.metadata["one_of"] else []
    if "list" in str(field.type):
        values = [[value] for value in values] + [[]] * bool(field.metadata["min_length"])
    return values


BOUNDED = [
    (name, schema, field)
    for name, schema in schemas().items()
    for field in dataclasses.fields(schema)
    if any(field.metadata.values()) and "registry" not in field.metadata
]


@pytest.mark.parametrize(
    ("schema", "field"), [pytest.param(*one, id=f"{name}.{one[1].name}") for name, *one in BOUNDED]
)
def test_what_a_setting_declares_is_refused_beyond_it(schema, field):
    found = beyond(schema, field)
    assert found
    for value in found:
        with pytest.raises(ValueError, match=rf"^{field.name} must "):
            schema(**{field.name: value})


def test_no_count_of_a_memory_or_energy_may_be_negative():
    """Whatever it counts, and whether its own bound says so or that of another setting."""
    for schema in schemas().values():
        for field in dataclasses.fields(schema):
            if "int" in str(field.type):
                with pytest.raises(ValueError, match=" must be "):
                    schema(**{field.name: [-1] if "list" in str(field.type) else -1})


def test_settings_are_frozen_and_what_each_means_is_beneath_it():
    for name, schema in schemas().items():
        with pytest.raises(dataclasses.FrozenInstanceError):
            schema().anything = 1
        (written,) = ast.parse(inspect.getsource(schema)).body
        for field, beneath in itertools.pairwise([*written.body, None]):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(beneath, ast.Expr) and isinstance(beneath.value.value, str), (
                    name,
                    ast.unparse(field),
                )
