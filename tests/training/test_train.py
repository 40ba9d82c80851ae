"""`train` as a notebook calls it."""

import io

import pytest
import torch
from rich.console import Console

import lightning_ebm as lebm
from lightning_ebm.config import ConfigError
from tests.training.tiny import last

TINY = {
    "data": {"name": "bits", "size": 12},
    "distortion": {"name": "pixels", "amount": 4},
    "memory": {"name": "ebmm", "energy": {"name": "gated_rnn", "hidden": 8, "written_units": 3, "hops": 2}},
    "training": {"max_steps": 4, "validate_every": 2, "log_images": False},
    "trainer": {"accelerator": "cpu"},
}


def test_a_trained_run_has_the_best_parameters_and_says_how_it_went(tmp_path, capsys):
    run = lebm.train("debug", TINY | {"output": str(tmp_path), "seed": 1})
    best = torch.load(run.checkpoint, weights_only=True)
    assert run.config.seed == 1 and run.folder.parent == tmp_path
    for name, value in run.memory.state_dict().items():
        assert torch.equal(value, best["state_dict"][f"memory.{name}"])
    assert run.updates == last(run.folder)["global_step"] == 4
    assert run.seconds == last(run.folder)["training_seconds"] > 0
    assert [update for update, *_ in run.validations] == [2, 4]
    errors = {update: error for update, _, error in run.validations}
    assert best["global_step"] == min(errors, key=errors.get)
    assert run.memory.write(torch.ones(2, 3, 12))["memory.weight"].shape[0] == 2
    written = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    again = lebm.train("debug", TINY | {"output": str(tmp_path), "seed": 1})
    assert (again.updates, again.seconds, again.validations) == (4, run.seconds, run.validations)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == written  # nothing is done again
    assert capsys.readouterr().out == ""


def test_what_has_no_parameters_is_returned_as_it_is(tmp_path):
    run = lebm.train({"memory": "hopfield", "output": str(tmp_path)}, ["data=bits", "distortion=pixels"])
    assert (run.checkpoint, run.updates, run.seconds, run.validations) == (None, 0, 0.0, [])
    assert not list(tmp_path.iterdir())


def test_a_memory_that_is_not_trained_says_why(tmp_path):
    said = io.StringIO()
    console, own = Console(file=said, width=200), {"output": str(tmp_path)}
    lebm.train("debug", TINY | own | {"training": {"max_steps": 0}}, console)
    lebm.train({"memory": "hopfield"} | own, ["data=bits", "distortion=pixels"], console)
    untrained, fixed = said.getvalue().splitlines()
    assert untrained == "ebmm: training.max_steps=0; use evaluate or compare"
    assert fixed == "hopfield has no parameters to train; use evaluate or compare"


def test_a_name_that_the_package_does_not_have():
    with pytest.raises(ConfigError, match=r"neither a file 'dem' nor a configuration of that name.*'demo'"):
        lebm.train("dem")
