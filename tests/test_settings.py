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


GAUSSIAN = {"slots": 0, "steps": 0, "prior": -1.0, "noise": 0.0, "objective": "loss", "width": 0}
REFUSED = {
    "dense_associative_memory": {"function": "exponentiel", "power": 1, "slots": 0},
    "dynamic_kanerva": GAUSSIAN | {"iterations": 0},
    "ebmm": {},
    "fast_weights": {
        "key": 0, "steps": 0, "hops": 0, "hidden": -1, "value": 0, "activation": "relu", "rate": 0.0, "width": 0,
    },
    "fitted_latent": {
        "latent_dim": 0, "slots": 0, "steps": 0, "rate": 0.0, "hidden": 0, "layers": 0, "frequency": math.inf,
    },
    "generative_pseudoinverse": {"slots": 0, "steps": 0, "iterations": -1, "width": 0},
    "hopfield": {"rule": "storky"},
    "image_codec": {"format": "jpg", "size": 0, "layout": "tiles"},
    "kanerva": GAUSSIAN | {"address_dim": 0},
    "lstm": {"hidden": 0, "rank": 257, "width": 0},
    "mann": {"slots": 0, "hidden": 0, "decay": 1.5, "sharpness": 0.0, "width": 0},
    "memory_network": {"slots": 0, "overwrite": "newest", "hops": 0, "sharpness": 0.0, "width": 0},
    "modern_hopfield": {"similarity": "dto", "separation": "sofmax", "beta": 0.0, "power": 0, "steps": 0, "slots": 0},
    "nearest_pattern": {},
    "no_memory": {"width": 0},
    "pca": {"components": 0, "slots": 0},
    "perfect_slots": {"slots": 0},
    "plasticity": {
        "neurons": 1, "on_steps": 0, "off_steps": -1, "read_steps": 0, "rule": "hebb", "gain": 0.0, "alpha": math.inf,
        "eta": 1.0,
    },
    "ebmm.writing": {"steps": 0, "rates": "each", "reduction": "max"},
    "ebmm.reading": {"steps": 0, "step_size": 0.0, "momentum": 1.0, "decay": 0.0},
    "coders": {"hidden": 0, "layers": 0, "channels": [4, 0], "code_dim": 0},
    "decoded_mixture": {
        "slots": 0, "code_dim": 0, "hidden": -1, "layers": 0, "detector": -1, "completion": -1, "refining": -1,
    },
    "gated_rnn": {"written_units": 1024, "hops": 0},
    "measured_mixture": {
        "slots": 0, "address_dim": 0, "block_size": 0, "hidden": 0, "detector": -1, "recovery": 0, "steps": 0,
        "noise": -0.1,
    },
    "mixture": {"slots": 0, "beta": 0.0},
    "phase_mixture": {"slots": 0, "beta": 0.0},
    "reconstruction": {"keys": 0, "code_dim": 0, "hidden": 0, "slow": 0},
    "resnet_conv": {
        "written_units": 128, "channels": [], "inner": 0, "strides": [1, 3], "hops": 0, "head": 0,
    },
    "resnet_fc": {"written_units": 512, "channels": [], "code_dim": 0, "hops": 0, "head": 0},
}  # fmt: skip
"""A value of each bounded setting that is out of its bounds, none of them taken from the bounds."""


def schemas():
    """The settings of all memories and energies, by name, and those that lie in them."""
    found = {name: registry.load(name).config for registry in (memories, energies) for name in registry.names()}
    ebmm, coded = typing.get_type_hints(found["ebmm"]), typing.get_type_hints(found["no_memory"])
    return found | {"ebmm.writing": ebmm["writing"], "ebmm.reading": ebmm["reading"], "coders": coded["coders"]}


def test_every_bounded_setting_of_every_memory_and_energy_is_refused_out_of_its_bounds():
    assert REFUSED.keys() == schemas().keys()
    for name, schema in schemas().items():
        bounded = {
            f.name for f in dataclasses.fields(schema) if any(f.metadata.values()) and "registry" not in f.metadata
        }
        assert REFUSED[name].keys() == bounded, name
        for key, value in REFUSED[name].items():
            wrong = [value] if isinstance(value, str | list) else [value, math.nan]
            for one in wrong:
                with pytest.raises(ValueError, match=rf"^{key} must "):
                    schema(**{key: one})


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
