"""Sweep files: what is read, drawn and refused, and that every one that we give fits our schema and W&B's agent."""

import copy
import datetime
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightning_ebm.config import ConfigError, parse_overrides, plain, read, resolve, shipped
from lightning_ebm.sweeping.file import MACROS, arguments, parameter, read_sweep, words
from lightning_ebm.sweeping.trials import grid_at, values_at

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
SMALLEST = {
    "method": "random",
    "run_cap": 3,
    "command": ["train", "${args_no_hyphens}"],
    "parameters": {"training.learning_rate": {"min": 0.1, "max": 0.2}},
}


def some_values(sweep):
    """Values of one run: the first of a grid, else those in the middle of all distributions."""
    if sweep.file.method == "grid":
        return grid_at(sweep, 0)
    return values_at(sweep, [0.5] * len(sweep.varied))


def command_of(sweep, command=None):
    return words(command or sweep.file.command, "", arguments(sweep, some_values(sweep)))


def leaves(node, above=()):
    if not isinstance(node, dict):
        return {".".join(above): node}
    return {key: value for name, child in node.items() for key, value in leaves(child, (*above, name)).items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_parameter_is_a_key_of_its_configuration(path):
    sweep = read_sweep(path)
    command = command_of(sweep)
    config = command[command.index("train") + 1]
    overrides = command[command.index(config) + 1 :]
    resolved = leaves(plain(resolve(read(shipped(config, "configs", "configuration"), overrides))))
    for name, value in some_values(sweep).items():
        assert resolved["memory.name" if name == "memory" else name] == value, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("macro", MACROS[3:])
def test_words_are_those_of_wandbs_agent(path, macro, monkeypatch):
    """As `wandb agent` joins them, with the functions that it does it by."""
    theirs = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    monkeypatch.setenv("PROBE", "value")
    sweep = read_sweep(path)
    given = arguments(sweep, some_values(sweep))
    command = [word.replace("${args_no_hyphens}", f"${{{macro}}}") for word in sweep.file.command]
    command += ["--x=${envvar:PROBE}", "${envvar:NOT_SET_AT_ALL}", "${program}"]
    macros = theirs.create_sweep_command_args({"args": {key: {"value": value} for key, value in given.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": ["p.py"]}
    expected = []
    for word in theirs.create_sweep_command(copy.copy(command)):
        expected += macros[word[2:-1]] if word.startswith("${") else [word]
    assert words(command, "p.py", given) == expected


def test_nested_parameters_arrive_as_one_mapping():
    """W&B's agent sends them so; our configuration reads them so."""
    sweep = read_sweep(ROOT / "sweeps" / "bits-recipe.yaml")
    values = some_values(sweep)
    assert {"memory.writing.steps", "memory.writing.write_rate"} <= set(values)
    given = parse_overrides(command_of(sweep, ["${args_no_hyphens}"]))
    assert given["memory"] == {"writing": {"steps": "15", "write_rate": str(values["memory.writing.write_rate"])}}


@pytest.mark.parametrize("name", [pytest.param("glyphs-rate", marks=pytest.mark.slow), "mann"])
def test_commands_run(name, tmp_path):
    """Two files' commands, word for word, with words behind them that make the runs tiny."""
    sweep = read_sweep(ROOT / "sweeps" / f"{name}.yaml")
    command = command_of(sweep)
    tiny = ["training.max_steps=1", "training.validate_every=1", "training.log_images=false", "episodes.batch=1"]
    tiny += ["episodes.patterns_per_episode=2", "episodes.val=2", f"output={tmp_path}", "trainer.accelerator=cpu"]
    assert command[:2] == ["/usr/bin/env", "python"]
    done = subprocess.run([sys.executable, *command[2:], *tiny], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("*/metrics/version_0/metrics.csv"))


MISTAKES = {
    "method must be one of grid, random, bayes": {"method": "halving"},
    "unknown key 'methods'": {"methods": "grid"},
    "metric must be": {"metric": {"name": "loss", "goal": "minimize"}},
    "parameters must have at least 1 entries": {"parameters": {}},
    "parameters.trainer.devices must have whole numbers": {"parameters": {"trainer.devices": {"values": ["two"]}}},
    "command: must be a list": {"command": "train"},
    "the macros are": {"command": ["${arguments}"]},
    "program must be given": {"command": ["${program}"]},
    "run_cap must be at least 1": {"run_cap": 0},
    "run_cap must be given, because a bayes search": {"method": "bayes", "run_cap": None},
    "early_terminate.min_iter must be given, or": {"early_terminate": {"type": "hyperband", "s": 2}},
    "early_terminate.type must be hyperband": {"early_terminate": {"min_iter": 2}},
    "early_terminate.eta must be above 1": {"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 1}},
    "parameters.a must have a value": {"method": "grid", "parameters": {"a": {"min": 0.0, "max": 1.0}}},
    "parameters.a.b is given twice": {
        "parameters": {"a.b": {"value": 1}, "a": {"parameters": {"b": {"value": 1}}}}
    },
}  # fmt: skip
PARAMETER_MISTAKES = {
    "parameters.a.distribution must be one of": {"distribution": "log_uniform", "min": 0, "max": 1},
    "parameters.a.min must be below its max": {"min": 2, "max": 1},
    "parameters.a.min must be above 0": {"distribution": "log_uniform_values", "min": 0, "max": 1},
    "parameters.a.max must be a finite number, got '1e-3'": {"min": 0, "max": "1e-3"},
    "parameters.a.q must be above 0": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0},
    "unknown key 'maximum' in parameters.a": {"min": 0, "maximum": 1},
    "unknown key 'mu' in parameters.a (uniform)": {"distribution": "uniform", "mu": 0, "min": 0, "max": 1},
    "parameters.a.values must be a list": {"values": []},
    "parameters.a.probabilities must be one for each": {"values": [1, 2], "probabilities": [0.5, 0.4]},
    "parameters.a.max must be a finite number, got inf": {"min": 0.0, "max": math.inf},
    "parameters.a.distribution must be one of constant": {"distribution": ["uniform"], "min": 0, "max": 1},
    "parameters.a: its largest values are too large": {"distribution": "log_normal", "mu": 1000, "sigma": 1},
    "parameters.a: datetime.date(2026, 1, 1) is a date": {"values": [datetime.date(2026, 1, 1)]},
    "parameters.a: b'a' is a bytes": {"value": b"a"},
    "null cannot be passed": {"values": [1, None]},
    "parameters.a must hold keys and values": 3,
}
MISTAKES |= {message: {"parameters": {"a": settings}} for message, settings in PARAMETER_MISTAKES.items()}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_name_file_and_key(message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SMALLEST))
    read_sweep(path)
    plain = {key: value for key, value in (SMALLEST | MISTAKES[message]).items() if value is not None}
    path.write_text(yaml.safe_dump(plain))
    with pytest.raises(ConfigError) as error:
        read_sweep(path)
    assert message in str(error.value) and "mine.yaml" in str(error.value)


def test_a_range_of_billions_is_not_made(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SMALLEST | {"parameters": {"seed": {"min": 0, "max": 2**32 - 1}}}))
    (one,) = read_sweep(path).parameters
    assert [one.at(quantile) for quantile in (0, 0.5, 1 - 1e-12)] == [0, 2**31, 2**32 - 1]
    assert one.rank(one.centre(123456789)) == 123456789


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot read the sweep .*mine\.yaml"),
        (b"a: [", r"mine\.yaml, line 1: "),
        ("método: é".encode("latin-1"), r"mine\.yaml is not YAML"),
        (b"method: grid\nparameters: {a: 1}\nparameters: {a: 2}", r"mine\.yaml, line 3: 'parameters' is given twice"),
        pytest.param(b"[" * 2000, r"mine\.yaml", id="nested"),
        (b"- a", "the file must hold keys and values"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    if content is not None:
        (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_sweep(tmp_path / "mine.yaml")


def distribution(settings):
    return parameter(("rate",), settings, "parameters.rate")


def draws(settings, count=20_000):
    made = distribution(settings)
    return np.array([made.at(quantile) for quantile in np.random.default_rng(0).random(count)])


# mean and variance in closed form; the mean of 20,000 draws is within 5 of its standard errors
MOMENTS = {
    "uniform": ({"min": -1.0, "max": 3.0}, 1.0, 16 / 12),
    "int_uniform": ({"min": 2, "max": 6}, 4.0, 2.0),
    "normal": ({"mu": 2.0, "sigma": 3.0}, 2.0, 9.0),
    "log_normal": ({"mu": 0.1, "sigma": 0.5}, math.exp(0.1 + 0.125), (math.exp(0.25) - 1) * math.exp(0.2 + 0.25)),
    "log_uniform_values": (
        {"min": 0.01, "max": 1.0},
        0.99 / math.log(100),
        (1 - 1e-4) / (2 * math.log(100)) - (0.99 / math.log(100)) ** 2,
    ),
}
MOMENTS["inv_log_uniform_values"] = MOMENTS["log_uniform_values"]


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name):
    settings, mean, variance = MOMENTS[name]
    found = draws({"distribution": name, **settings})
    assert abs(found.mean() - mean) < 5 * math.sqrt(variance / len(found))
    assert found.var() == pytest.approx(variance, rel=0.06)


def test_quantiles():
    assert distribution({"min": 2.0, "max": 4.0}).at(0.25) == 2.5
    assert distribution({"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}).at(0.5) == pytest.approx(1e-2)
    # the 97.5th percentile of the standard normal
    assert distribution({"distribution": "normal"}).at(0.975) == pytest.approx(1.959963984540054)
    assert distribution({"distribution": "log_normal", "mu": 1.0}).at(0.5) == pytest.approx(math.e)


def test_multiples_of_q():
    whole = distribution({"distribution": "q_uniform", "min": 0, "max": 100, "q": 8})
    assert whole.at(0.51) == 48 and isinstance(whole.at(0.51), int)
    assert distribution({"distribution": "q_normal", "mu": 0.0, "sigma": 1.0, "q": 0.1}).at(0.975) == 2.0
    tenths = distribution({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1})
    assert tenths.at(0.31) == 0.3  # not 0.30000000000000004
    # 10 ** 1.5 = 31.6
    assert distribution({"distribution": "q_log_uniform_values", "min": 10, "max": 100, "q": 4}).at(0.5) == 32


def test_shares_of_values():
    found = draws({"values": ["a", "b", "c"], "probabilities": [0.5, 0.2, 0.3]}).tolist()
    for value, share in {"a": 0.5, "b": 0.2, "c": 0.3}.items():
        assert abs(found.count(value) / len(found) - share) < 5 * math.sqrt(share * (1 - share) / len(found))
    whole = draws({"min": 1, "max": 4}).tolist()
    assert set(whole) == {1, 2, 3, 4} and abs(whole.count(4) / len(whole) - 0.25) < 0.016
