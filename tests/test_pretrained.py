"""Pretrained memories: what a file gives is what was put in, and what nobody should trust is refused."""

import dataclasses
import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.hopfield import Hopfield
from lightning_ebm import pretrained
from lightning_ebm.config import build_choice, merge, plain, read_file
from lightning_ebm.ebmm import EBMM
from lightning_ebm.experiments.grid import sizes
from lightning_ebm.memory import AssociativeMemory, PatternSpec
from lightning_ebm.pretrained import Pretrained, PretrainedError, chosen, load, names, parse, read
from lightning_ebm.registry import distortions, memories

ROOT = Path(__file__).parent.parent
SETTINGS = {
    "name": "ebmm",
    "energy": {"name": "gated_rnn", "hidden": 8, "memory": 3, "hops": 2},
    "writing": {"steps": 2},
    "reading": {"steps": 3},
}


def tiny(**changes) -> Pretrained:
    torch.manual_seed(5)
    memory = memories.build(chosen(memories, SETTINGS), PatternSpec((12,), True))
    made = Pretrained("tiny", SETTINGS, [12], True, dict(memory.state_dict()), "name: tiny", [], {"commit": "abc"})
    return dataclasses.replace(made, **changes)


def saved_as(path: Path, made: Pretrained) -> Path:
    path.write_bytes(made.content())
    return path


def test_a_file_gives_the_memory_that_was_put_in(tmp_path):
    made = tiny()
    memory = load(saved_as(tmp_path / "tiny.pt", made))
    assert not memory.training and type(memory) is EBMM
    assert memory.state_dict().keys() == made.parameters.keys()
    assert all(torch.equal(value, made.parameters[name]) for name, value in memory.state_dict().items())
    assert memory.reading.schedule()[0].shape == (3,)  # its settings too
    again = read(tmp_path / "tiny.pt")
    assert dataclasses.replace(again, parameters={}) == dataclasses.replace(made, parameters={})


def test_every_class_loads_its_own_memories_only(tmp_path):
    path = saved_as(tmp_path / "tiny.pt", tiny())
    for owner in (EBMM, AssociativeMemory):
        assert isinstance(owner.pretrained(path), EBMM)
        assert isinstance(owner.pretrained(str(path)), EBMM)
    with pytest.raises(ValueError, match=r"tiny\.pt is no Hopfield: take EBMM\.pretrained"):
        Hopfield.pretrained(path)


def test_loading_leaves_the_random_generator_alone():
    made, state = tiny(), torch.get_rng_state()
    made.build()
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(PretrainedError, match=r"no pretrained memory 'glyphs-4069'\. Did you mean 'glyphs-4096'\?"):
        EBMM.pretrained("glyphs-4069")
    with pytest.raises(PretrainedError, match=r"nowhere/glyphs\.pt cannot be read \(No such file or directory\)"):
        load("nowhere/glyphs.pt")


def test_plain_settings_build_what_the_configuration_does():
    """The second way from settings to choices, against the first, which checks types."""
    file, tried = read_file(ROOT / "results" / "all-glyphs" / "all.yaml"), set()
    for row in file["compare"]["rows"].values():
        for _, changes in sizes("", row):
            settings = merge({"memory": file.get("memory", {})}, {"memory": changes.get("memory", {})})["memory"]
            choice = build_choice(memories, "ebmm", settings, "memory")
            assert chosen(memories, plain(choice)) == choice
            tried.add(choice.name)
    assert len(tried) > 8
    several = {"name": "any_of", "of": ["half", {"name": "block", "size": [2, 5]}]}
    choice = build_choice(distortions, "", several, "distortion")
    assert chosen(distortions, plain(choice)) == choice


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_does_nothing(tmp_path, kind):
    words = {"zip": r"evil\.pt is damaged, or holds more than tensors"} | dict.fromkeys(
        ("legacy", "pickle"), r"evil\.pt .*not a zip"
    )
    for place in ("rows", "made", "parameters"):
        held = {"format": 1, **vars(tiny()), place: Bomb(tmp_path / "ran")}
        buffer = io.BytesIO()
        if kind == "pickle":
            buffer.write(pickle.dumps(held))
        else:
            torch.save(held, buffer, _use_new_zipfile_serialization=kind == "zip")
        (tmp_path / "evil.pt").write_bytes(buffer.getvalue())
        with pytest.raises(PretrainedError, match=words[kind]) as caught:
            EBMM.pretrained(tmp_path / "evil.pt")
        assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)
        assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(held))  # what it would have done
    assert (tmp_path / "ran").exists()


def test_damaged_files_are_refused_in_one_line():
    content, random = tiny().content(), np.random.default_rng(0)
    whole = dataclasses.replace(parse(content, "x"), parameters={})
    for length in [0, 1, 100, *random.integers(len(content), size=8), len(content) - 1]:
        with pytest.raises(PretrainedError, match=r"^x is damaged[^\n]*$"):
            parse(content[:length], "x")
    refused = 0
    for place in random.integers(len(content), size=40):
        changed = bytearray(content)
        changed[place] ^= 1 << random.integers(8)
        try:
            found = parse(bytes(changed), "x")
        except PretrainedError as error:
            assert "\n" not in str(error)
            refused += 1
        else:  # in what is not read, such as names of parts that stand in the zip twice
            assert dataclasses.replace(found, parameters={}) == whole
            assert all(torch.equal(value, tiny().parameters[name]) for name, value in found.parameters.items())
    assert refused > 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [13]}, "size mismatch"),
        ({"parameters": {}}, "Missing key"),
        ({"parameters": tiny().parameters | {"more": torch.ones(2)}}, "Unexpected key"),
        ({"memory": SETTINGS | {"speed": 3}}, "unknown setting 'speed'"),
        ({"memory": {"name": "boltzmann"}}, "there is no memory called 'boltzmann'"),
        ({"memory": {"energy": "gated_rnn"}}, "name"),
        ({"memory": SETTINGS | {"reading": {"steps": 0}}}, "reading.steps must be at least 1"),
        ({"memory": SETTINGS | {"reading": "x"}}, "'str' object"),
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
        ({"parameters": {"a": 3}}, "must be tensors"),
    ],
)
def test_what_is_no_memory_is_refused(changes, message):
    with pytest.raises(PretrainedError, match=message):
        parse(tiny(**changes).content(), "x")
    buffer = io.BytesIO()
    torch.save([1, 2], buffer)
    with pytest.raises(PretrainedError, match="no pretrained memory of format 1"):
        parse(buffer.getvalue(), "x")


@pytest.mark.parametrize("energy", ["ran_when_imported:Energy", {"name": "ran_when_imported:Energy"}, "${oc.env:HOME}"])
def test_a_file_imports_nothing(tmp_path, monkeypatch, energy):
    (tmp_path / "ran_when_imported.py").write_text("Energy = None")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PretrainedError, match="could lead to an import"):
        parse(tiny(memory=SETTINGS | {"energy": energy}).content(), "x")
    assert "ran_when_imported" not in sys.modules


def test_shipped_files_are_small_and_called_as_they_should_be():
    assert names()
    mebibytes = {name: (pretrained.FOLDER / f"{name}.pt").stat().st_size / 2**20 for name in names()}
    assert max(mebibytes.values()) < 8 and sum(mebibytes.values()) < 30
    for name in names():
        assert read(name).name == name
