"""Pretrained memories: what a file gives is what was put in, and what nobody should trust is refused."""

import dataclasses
import io
import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lightning_ebm import pretrained
from lightning_ebm.config import build_choice
from lightning_ebm.ebmm import EBMM
from lightning_ebm.memory import PatternSpec
from lightning_ebm.pretrained import (
    Pretrained,
    PretrainedError,
    compressed,
    digest,
    load,
    names,
    packed,
    parse,
    read,
    unpacked,
)
from lightning_ebm.registry import memories

SETTINGS = {
    "name": "ebmm",
    "energy": {"name": "gated_rnn", "hidden": 8, "written_units": 3, "hops": 2},
    "writing": {"steps": 2},
    "reading": {"steps": 3},
}


def tiny(**changes) -> Pretrained:
    torch.manual_seed(5)
    memory = memories.build(build_choice(memories, "", SETTINGS, "memory"), PatternSpec((12,), True))
    made = Pretrained(
        name="tiny", memory=SETTINGS, shape=[12], binary=True, config="name: tiny", rows=[], made={"commit": "abc"},
        dtype="float32", parameters=dict(memory.state_dict()),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def saved_as(path: Path, made: Pretrained) -> Path:
    path.write_bytes(made.content())
    return path


def test_a_file_gives_the_memory_that_was_put_in(tmp_path):
    made = tiny()
    memory = load(saved_as(tmp_path / "tiny.safetensors", made))
    assert not memory.training and type(memory) is EBMM
    assert memory.state_dict().keys() == made.parameters.keys()
    assert all(torch.equal(value, made.parameters[name]) for name, value in memory.state_dict().items())
    assert memory.reading.schedule()[0].shape == (3,)  # its settings too
    again = read(tmp_path / "tiny.safetensors")
    assert dataclasses.replace(again, parameters={}) == dataclasses.replace(made, parameters={})


def test_loading_leaves_the_random_generator_alone():
    made, state = tiny(), torch.get_rng_state()
    made.build()
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(PretrainedError, match=r"no pretrained memory 'glyphs-4069'\. Did you mean 'glyphs-4096'\?"):
        load("glyphs-4069")
    with pytest.raises(
        PretrainedError, match=r"nowhere/glyphs\.safetensors cannot be read \(No such file or directory\)"
    ):
        load("nowhere/glyphs.safetensors")


@pytest.mark.parametrize(("dtype", "share"), [("float32", 0), ("float16", 2**-11), ("int8", 0.5 / 127)])
def test_parameters_are_rounded_as_their_type_says(dtype, share):
    made = tiny(dtype=dtype)
    again = parse(made.content(), "x")
    for name, value in made.parameters.items():
        largest = value.abs().flatten(1).amax(1) if value.ndim > 1 else value.abs()
        scale = largest.view(-1, *[1] * (value.ndim - 1)) if value.ndim > 1 else largest
        assert (again.parameters[name] - value).abs().le(1.001 * share * scale + 1e-12).all(), name
    assert parse(again.content(), "x").content() == again.content()  # rounding again changes nothing


def test_int8_rounds_large_matrices_and_leaves_rates_alone():
    """Each row to 127 levels of either sign, by its largest value; the rates of a step may differ a thousandfold."""
    large, rates = torch.randn(32, 16), torch.tensor([[400.0, 0.32], [12.9, 0.001]])
    again = unpacked(packed({"large": large, "rates": rates}, "int8"))
    scale = large.abs().amax(1, keepdim=True) / 127
    torch.testing.assert_close(again["large"], (large / scale).round() * scale)
    assert not torch.equal(again["large"], large)
    assert torch.equal(again["rates"], rates)


def test_int4_rounds_large_matrices_in_groups_and_the_others_as_int8():
    """Each 32 values of a row to 15 levels of a scale, which is kept with the 8 bits of bfloat16."""
    large, small = torch.randn(256, 320), torch.randn(32, 16)
    stored = packed({"large": large, "small": small}, "int4")
    assert stored["large"].dtype == torch.uint8 and stored["large"].numel() == large.numel() / 2
    again = unpacked(stored)
    groups = large.view(256, 10, 32)
    scale = stored["large" + pretrained.SCALE].float().view(256, 10, 1)
    assert torch.equal(again["large"], ((groups / scale).round().clamp(-7, 7) * scale).view(256, 320))
    fitting = (groups.abs().amax(2, keepdim=True) / 7).bfloat16().float()
    at_fitting = ((groups / fitting).round() * fitting).view(256, 320)
    assert (again["large"] - large).square().mean() < 0.95 * (at_fitting - large).square().mean()
    assert torch.equal(unpacked(packed(again, "int4"))["large"], again["large"])
    assert torch.equal(again["small"], unpacked(packed({"small": small}, "int8"))["small"])
    zero = unpacked(packed({"large": torch.zeros(256, 320)}, "int4"))["large"]
    assert not zero.any()


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_does_nothing(tmp_path, kind):
    held, buffer = {"format": pretrained.FORMAT, "parameters": Bomb(tmp_path / "ran")}, io.BytesIO()
    if kind == "pickle":
        buffer.write(pickle.dumps(held))
    else:
        torch.save(held, buffer, _use_new_zipfile_serialization=kind == "zip")
    (tmp_path / "evil.safetensors").write_bytes(buffer.getvalue())
    with pytest.raises(PretrainedError, match=r"^\S+evil\.safetensors is damaged, or not a safetensors file[^\n]*$"):
        load(tmp_path / "evil.safetensors")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(held))  # what it would have done
    assert (tmp_path / "ran").exists()


def test_every_damaged_file_is_refused_in_one_line():
    content, random = tiny().content(), np.random.default_rng(0)
    for length in [0, 1, 7, 100, *random.integers(len(content), size=8), len(content) - 1]:
        with pytest.raises(PretrainedError, match=r"^x is [^\n]*$"):
            parse(content[:length], "x")
    for place in [0, 7, 8, 9, *random.integers(len(content), size=100)]:
        changed = bytearray(content)
        changed[place] ^= 1 << random.integers(8)
        with pytest.raises(PretrainedError, match=r"^x[ :][^\n]*$"):
            parse(bytes(changed), "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [13]}, "size mismatch"),
        ({"parameters": {}}, "Missing key"),
        ({"parameters": tiny().parameters | {"more": torch.ones(2)}}, "Unexpected key"),
        ({"memory": SETTINGS | {"speed": 3}}, "unknown key 'memory.speed'"),
        ({"memory": {"name": "boltzmann"}}, "there is no memory called 'boltzmann'"),
        ({"memory": {"energy": "gated_rnn"}}, "name"),
        ({"memory": SETTINGS | {"reading": {"steps": 0}}}, "memory.reading.steps must be at least 1, got 0"),
        ({"memory": SETTINGS | {"reading": "x"}}, "memory.reading must hold keys and values, got 'x'"),
    ],
)
def test_what_does_not_fit_cannot_be_built(changes, message):
    found = parse(tiny(**changes).content(), "x")
    with pytest.raises(PretrainedError, match=rf"^the pretrained memory tiny cannot be built: [^\n]*{message}[^\n]*$"):
        found.build()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": "none"}, "rows must be a list"),
        ({"name": "../up"}, "a name must be of letters and digits"),
        ({"shape": [0]}, "whole numbers above 0"),
        ({"parameters": {"a": torch.tensor([1.0, torch.nan])}}, "finite"),
        ({"dtype": 3}, "dtype must be a str"),
    ],
)
def test_what_is_no_memory_is_refused(changes, message):
    with pytest.raises(PretrainedError, match=message):
        parse(tiny(**changes).content(), "x")
    for other in ({}, {"about": "[]"}, {"about": json.dumps({"format": 1})}):
        with pytest.raises(PretrainedError, match="not a pretrained memory of format 3"):
            parse(safetensors.torch.save({"a": torch.ones(2)}, other), "x")


def with_rows(rows):
    """The file of `tiny`, with something else in the place of its rows."""
    content = tiny().content()
    tensors = safetensors.torch.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(header["__metadata__"]["about"]) | {"rows": rows}
    del about["sha256"]
    return safetensors.torch.save(tensors, {"about": json.dumps(about | {"sha256": digest(tensors, about)})})


def test_rows_are_compressed_and_older_files_have_them_as_they_are():
    rows = [{"error": [0.0, 0.0625] * 100}] * 3
    content = tiny(rows=rows).content()
    assert parse(content, "x").rows == parse(with_rows(rows), "x").rows == rows
    assert len(content) < len(with_rows(rows)) - len(json.dumps(rows)) / 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("[]", "is damaged: its rows cannot be read"),
        (compressed(list(range(1000)))[:-20], "is damaged: its rows cannot be read"),
        (compressed([0] * pretrained.MOST), "is damaged: its rows cannot be read"),
        (compressed({"error": []}), "rows must be a list"),
    ],
    ids=["not base 85", "cut off", "too many", "no list"],
)
def test_damaged_rows_are_refused(rows, message):
    with pytest.raises(PretrainedError, match=rf"^x [^\n]*{message}[^\n]*$"):
        parse(with_rows(rows), "x")


@pytest.mark.parametrize("energy", ["ran_when_imported:Energy", {"name": "ran_when_imported:Energy"}, "${oc.env:HOME}"])
def test_a_file_imports_nothing(tmp_path, monkeypatch, energy):
    (tmp_path / "ran_when_imported.py").write_text("Energy = None")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PretrainedError, match="could lead to an import"):
        parse(tiny(memory=SETTINGS | {"energy": energy}).content(), "x")
    assert "ran_when_imported" not in sys.modules


def test_shipped_files_are_small_and_called_as_they_should_be():
    assert names()
    mebibytes = {name: (pretrained.FOLDER / f"{name}.safetensors").stat().st_size / 2**20 for name in names()}
    assert sum(mebibytes.values()) <= 12
    for name in names():
        assert read(name).name == name
