"""Sweep files: what is read, what is refused, and that every one that we give fits our schema and W&B's agent."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_ebm.config import ConfigError, parse_overrides, plain, read, resolve
from lightning_ebm.sweeping import commands, grid
from lightning_ebm.sweeping.file import read_sweep
from lightning_ebm.sweeping.space import point, varied

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
SMALLEST = {
    "method": "random",
    "command": ["train", "${args_no_hyphens}"],
    "parameters": {"training.rate": {"min": 0.1, "max": 0.2}},
}


def some_values(sweep):
    """Values of one run: the first of a grid, else those in the middle of all distributions."""
    if sweep.method == "grid":
        return grid.points(sweep.parameters)[0]
    return point(sweep.parameters, [0.5] * len(varied(sweep.parameters)))


def leaves(node, above=()):
    if not isinstance(node, dict):
        return {".".join(above): node}
    return {key: value for name, child in node.items() for key, value in leaves(child, (*above, name)).items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_parameter_is_a_key_of_its_configuration(path):
    sweep = read_sweep(path)
    given = commands.arguments(sweep.parameters, some_values(sweep))
    words = commands.words(sweep.command, sweep.program, given)
    config = next(word for word in words if word.startswith("configs/"))
    overrides = words[words.index(config) + 1 :]
    resolved = leaves(plain(resolve(read(ROOT / config, overrides))))
    for parameter in sweep.parameters:
        key = "memory.name" if parameter.name == "memory" else parameter.name
        assert resolved[key] == some_values(sweep)[parameter.name], key
    assert sweep.method == "grid" or sweep.run_cap


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("macro", commands.MACROS[3:])
def test_words_are_those_of_wandbs_agent(path, macro, monkeypatch):
    """As `wandb agent` joins them, with the functions that it does it by."""
    theirs = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    monkeypatch.setenv("PROBE", "value")
    sweep = read_sweep(path)
    given = commands.arguments(sweep.parameters, some_values(sweep))
    command = [word.replace("${args_no_hyphens}", f"${{{macro}}}") for word in sweep.command]
    command += ["--x=${envvar:PROBE}", "${envvar:NOT_SET_AT_ALL}", "${program}"]
    macros = theirs.create_sweep_command_args({"args": {key: {"value": value} for key, value in given.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": ["p.py"]}
    expected = []
    for word in theirs.create_sweep_command(copy.copy(command)):
        expected += macros[word[2:-1]] if word.startswith("${") else [word]
    assert commands.words(command, "p.py", given) == expected


def test_nested_parameters_arrive_as_one_mapping():
    """W&B's agent sends them so; our configuration reads them so."""
    sweep = read_sweep(ROOT / "sweeps" / "bits-recipe.yaml")
    values = some_values(sweep)
    assert {"memory.writing.steps", "memory.writing.rate"} <= set(values)
    words = commands.words(["${args_no_hyphens}"], "", commands.arguments(sweep.parameters, values))
    assert parse_overrides(words)["memory"] == {"writing": {"steps": "15", "rate": str(values["memory.writing.rate"])}}


@pytest.mark.parametrize("name", ["glyphs-rate", "mann"])
def test_commands_run(name, tmp_path):
    """Two files' commands, word for word, with words behind them that make the runs tiny."""
    sweep = read_sweep(ROOT / "sweeps" / f"{name}.yaml")
    words = commands.words(sweep.command, "", commands.arguments(sweep.parameters, some_values(sweep)))
    tiny = ["training.updates=1", "training.validate_every=1", "training.pictures=false", "episodes.items=2"]
    tiny += ["episodes.batch=1", "episodes.val=2", f"output={tmp_path}", "trainer.accelerator=cpu"]
    assert words[:2] == ["/usr/bin/env", "python"]
    done = subprocess.run([sys.executable, *words[2:], *tiny], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("*/metrics/version_0/metrics.csv"))


MISTAKES = {
    "method must be one of grid, random, bayes": {"method": "halving"},
    "unknown key 'methods'": {"methods": "grid"},
    "metric must be": {"metric": {"name": "loss", "goal": "minimize"}},
    "parameters must hold": {"parameters": {}},
    "command must be a list": {"command": "train"},
    "the macros are": {"command": ["${arguments}"]},
    "program must be given": {"command": ["${program}"]},
    "run_cap must be a whole number from 1": {"run_cap": 0},
    "early_terminate must have min_iter, or": {"early_terminate": {"type": "hyperband", "s": 2}},
    "early_terminate.type must be hyperband": {"early_terminate": {"min_iter": 2}},
    "early_terminate.eta must be": {"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 1}},
    "parameters.a must have a value": {"method": "grid", "parameters": {"a": {"min": 0.0, "max": 1.0}}},
    "parameters.a.b is given twice": {
        "parameters": {"a.b": {"value": 1}, "a": {"parameters": {"b": {"value": 1}}}}
    },
}  # fmt: skip
PARAMETER_MISTAKES = {
    "parameters.a.distribution must be one of": {"distribution": "log_uniform", "min": 0, "max": 1},
    "parameters.a.min must be below its max": {"min": 2, "max": 1},
    "parameters.a.min must be above 0": {"distribution": "log_uniform_values", "min": 0, "max": 1},
    "parameters.a.max must be a number, got '1e-3'": {"min": 0, "max": "1e-3"},
    "parameters.a.q must be above 0": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0},
    "unknown key 'maximum' in parameters.a": {"min": 0, "maximum": 1},
    "unknown key 'mu' in parameters.a (uniform)": {"distribution": "uniform", "mu": 0, "min": 0, "max": 1},
    "parameters.a.values must be a list": {"values": []},
    "parameters.a.probabilities must be one for each": {"values": [1, 2], "probabilities": [0.5, 0.4]},
    "null cannot be given": {"values": [1, None]},
    "parameters.a must hold keys and values": 3,
}
MISTAKES |= {message: {"parameters": {"a": settings}} for message, settings in PARAMETER_MISTAKES.items()}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_name_file_and_key(message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SMALLEST))
    read_sweep(path)
    path.write_text(yaml.safe_dump(SMALLEST | MISTAKES[message]))
    with pytest.raises(ConfigError) as error:
        read_sweep(path)
    assert message in str(error.value) and "mine.yaml" in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the sweep .*none\.yaml"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"a\.yaml is not YAML"):
        read_sweep(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="the file must hold keys and values"):
        read_sweep(tmp_path / "b.yaml")
