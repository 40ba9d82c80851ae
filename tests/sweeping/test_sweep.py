"""A sweep: what is proposed, kept, resumed, stopped and reported."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError
from lightning_ebm.experiments import executor
from lightning_ebm.experiments.executor import UnfinishedError
from lightning_ebm.signals import REQUEUE
from lightning_ebm.sweeping import sweep
from lightning_ebm.sweeping.file import Hyperband, checked
from lightning_ebm.sweeping.trials import grid_at, is_hopeless, job, most, propose, read_trials, values_at
from tests.tables import rows_of

FAKE = str(Path(__file__).parent / "fake_run.py")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(executor, "PAUSE", 0.02)


def make(folder, method="grid", x=None, **more):
    """A sweep over x, whose error ends at x + 1/3."""
    folder.mkdir(exist_ok=True)
    constants = {key: {"value": more.pop(key)} for key in ("pause", "validations") if key in more}
    plain = {
        "method": method,
        "command": [sys.executable, FAKE, "${args_no_hyphens}"],
        "parameters": {"x": x or {"values": [3.0, 1.0, 2.0]}, **constants},
        **more,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    return folder / "mine.yaml"


def start(file, **settings):
    return sweep(file, {"output": str(file.parent / "out"), **settings})


def starts(folder):
    """How often each run was started, by number."""
    return [path.read_text().count("start") for path in sorted(folder.glob("out/sweep-mine/run-*/starts"))]


def test_table_and_best_command(tmp_path, capsys):
    file = make(tmp_path)
    assert main(["sweep", str(file), f"output={tmp_path / 'out'}", "workers=2"]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "out" / "sweep-mine"
    rows = rows_of(folder / "sweep.csv")
    assert [row["x"] for row in rows] == ["1.0", "2.0", "3.0"]
    assert [row["run"] for row in rows] == ["run-001", "run-002", "run-000"]
    assert float(rows[0]["error"]) == pytest.approx(4 / 3)
    assert {row["state"] for row in rows} == {"finished"} and {row["update"] for row in rows} == {"3"}
    assert f"{sys.executable} {FAKE} x=1.0\n" in (folder / "sweep.md").read_text()
    assert (folder / "sweep.png").stat().st_size
    kept = json.loads((folder / "run-001" / "command.json").read_text())
    assert kept["command"] == [sys.executable, FAKE, "x=1.0", f"output={folder / 'run-001'}"]
    assert "run-001, x=1: finished, error 1.333 at update 3 (" in printed
    assert start(file)[1].outcome().error == pytest.approx(4 / 3)
    assert capsys.readouterr().out == ""  # from Python, nothing is printed


def test_a_failed_run_is_shown_and_tried_again(tmp_path, capsys):
    file = make(tmp_path, x={"values": [2.0, "broken", 1.0]})
    words = ["sweep", str(file), f"output={tmp_path / 'out'}"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "run-001, x=broken: failed: x is broken" in out and "run-002, x=1: finished" in out and "log.txt" in out
    with pytest.raises(UnfinishedError) as error:
        start(file)
    assert [trial.outcome().state for trial in error.value.found] == ["finished", "failed", "finished"]
    assert (tmp_path / "out/sweep-mine/run-001/log.txt").read_text().count("x is broken") == 2
    assert starts(tmp_path) == [1, 1]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=lambda number: number.name
)
def test_a_killed_sweep_goes_on_and_redoes_nothing(tmp_path, number):
    file = make(tmp_path, pause=0.4)
    words = [sys.executable, "-m", "lightning_ebm", "sweep", str(file), f"output={tmp_path / 'out'}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_for(tmp_path / "out/sweep-mine/run-001/starts")  # the first one is done
    finally:
        os.kill(process.pid, number)
        assert process.wait() == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: REQUEUE}[number]
    trials = start(file)
    assert starts(tmp_path) == [1, 2, 1]
    assert [trial.outcome().state for trial in trials] == ["finished"] * 3
    # the half-finished run, which outlived the sweep, was waited for: never two in one folder
    assert start(file) == trials and starts(tmp_path) == [1, 2, 1]


def wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)


def test_hyperband_stops_the_worse(tmp_path):
    early = {"type": "hyperband", "min_iter": 2, "eta": 3}
    file = make(tmp_path, x={"values": [1.0, 9.0]}, pause=0.1, validations=8, early_terminate=early)
    good, poor = (trial.outcome() for trial in start(file))
    assert (good.state, good.validations) == ("finished", 8)
    assert poor.state == "stopped" and 2 <= poor.validations < 8


def test_bayes_after_a_stop_proposes_the_same(tmp_path):
    space = {"min": 0.0, "max": 5.0}
    whole = start(make(tmp_path / "one", "bayes", space, run_cap=6, validations=1))
    start(make(tmp_path / "two", "bayes", space, run_cap=5, validations=1))
    again = start(make(tmp_path / "two", "bayes", space, run_cap=6, validations=1))
    assert [trial.values for trial in again] == [trial.values for trial in whole]
    assert starts(tmp_path / "two") == [1] * 6
    assert min(trial.values["x"] for trial in whole[4:]) < min(trial.values["x"] for trial in whole[:4])


def test_a_nan_is_the_worst_of_all_errors(tmp_path):
    """Of a trial that diverges, and to the search that goes on from it."""
    pytest.importorskip("optuna")
    space = {"values": [1.0, 2.0, 3.0, 4.0, math.nan]}
    trials = start(make(tmp_path, "bayes", space, run_cap=9))
    outcomes = [(trial.values["x"], trial.outcome()) for trial in trials]
    assert any(math.isnan(x) for x, _ in outcomes)
    for x, outcome in outcomes:
        assert outcome.error == (math.inf if math.isnan(x) else pytest.approx(x + 1 / 3))
    errors = [float(row["error"]) for row in rows_of(tmp_path / "out" / "sweep-mine" / "sweep.csv")]
    assert errors == sorted(errors)


def test_refused(tmp_path, monkeypatch):
    file = make(tmp_path)
    for settings, message in ({"workers": -1}, "workers must be"), ({"seed": -1}, "seed must be"):
        with pytest.raises(ConfigError, match=message):
            start(file, **settings)
    start(file)
    with pytest.raises(ConfigError, match="holds another sweep"):
        start(make(tmp_path, x={"values": [5.0]}))
    (tmp_path / "out/sweep-mine/run-000/result.json").write_text("{")
    with pytest.raises(ConfigError, match=r"result\.json is damaged"):
        start(make(tmp_path))
    kept = tmp_path / "out/sweep-mine/sweep.yaml"
    kept.write_text(yaml.safe_dump(dict(reversed(yaml.safe_load(kept.read_text()).items())), sort_keys=False))
    with pytest.raises(ConfigError, match=r"result\.json is damaged"):  # the order of keys makes no other sweep
        start(make(tmp_path))
    kept.write_bytes(b"method: [grid\xff")
    with pytest.raises(ConfigError, match=r"sweep\.yaml is not YAML in UTF-8"):
        start(make(tmp_path))
    monkeypatch.setattr("lightning_ebm.sweeping.trials.launched", lambda: True)
    with pytest.raises(ConfigError, match="as a single process"):
        start(file)


def test_needs_no_wandb():
    for module in ("file", "trials"):
        assert "import wandb" not in Path(sys.modules[f"lightning_ebm.sweeping.{module}"].__file__).read_text()


def test_each_of_several_trials_has_its_gpus_and_one_alone_has_all(tmp_path):
    file = make(tmp_path)
    start(file)
    plain = yaml.safe_load(file.read_text())
    plain["parameters"]["trainer.devices"] = {"value": 2}
    (trial, *_), search = read_trials(tmp_path / "out/sweep-mine"), checked(file, plain)
    assert job(search, trial, 1, []).devices == 0
    assert job(search, trial, 2, []).devices == 1
    trial.values["trainer.devices"] = 2
    assert job(search, trial, 2, []).devices == 2


def search_of(method, **parameters):
    return checked(Path("x"), {"method": method, "command": ["x"], "run_cap": 99, "parameters": parameters})


def test_grid_is_the_product_by_name():
    values = {"b": [3, 1], "a": ["x", "y", "z"], "c": [True, False]}
    expected = [dict(zip("abc", one, strict=True)) for one in itertools.product(*(values[name] for name in "abc"))]
    search = search_of("grid", **{name: {"values": values[name]} for name in values})
    assert [grid_at(search, number) for number in range(most(search))] == expected


def test_a_grid_too_large_for_memory_begins_at_its_first_combination():
    search = search_of("grid", a={"min": 0, "max": 10**12}, b={"values": [3, 1]})
    assert most(search) == 99 and grid_at(search, 5) == {"a": 2, "b": 1}


def test_random_draws_depend_on_seed_and_number():
    search = search_of("random", a={"min": 0.0, "max": 1.0}, b={"value": 7}, c={"min": 0.0, "max": 1.0})
    places = [propose(search, seed, [([], 1.0)] * number) for seed in range(3) for number in range(3)]
    assert places[4] == propose(search, 1, [([], None)]) and len({tuple(place) for place in places}) == 9
    assert values_at(search, [0.25, 0.5]) == {"a": 0.25, "b": 7, "c": 0.5}  # constants take no place


SPACE = {"x": {"min": 0.0, "max": 1.0}, "n": {"min": 0, "max": 10}, "kind": {"values": ["good", "bad"]}}


def error_at(values):
    """A valley with its least value, 0, at x = 0.3, n = 7."""
    return 4 * (values["x"] - 0.3) ** 2 + 9 * (values["n"] / 10 - 0.7) ** 2 + (values["kind"] == "bad")


def searched(search, seed, trials):
    done = []
    for _ in range(trials):
        place = propose(search, seed, done)
        done.append((place, error_at(values_at(search, place))))
    return done


def test_bayes_finds_the_least_of_a_known_function():
    pytest.importorskip("optuna")
    found = min(error for _, error in searched(search_of("bayes", **SPACE), 0, 14))
    drawn = [min(error for _, error in searched(search_of("random", **SPACE), seed, 14)) for seed in range(40)]
    assert found < 0.01 and found < 0.1 * np.mean(drawn)


def test_bayes_is_a_function_of_the_trials_and_of_the_seed():
    pytest.importorskip("optuna")
    search = search_of("bayes", x=SPACE["x"])
    done = [([place], 4 * (place - 0.3) ** 2) for place in (0.05, 0.4, 0.6, 0.9)]
    first = propose(search, 1, done)
    assert propose(search, 1, done) == first
    second = propose(search, 1, [*done, (first, None)])  # which runs: the same is not proposed twice
    assert abs(second[0] - first[0]) > 1e-3
    failed = [([place], math.inf if place < 0.5 else place) for place in np.linspace(0.02, 0.98, 12).tolist()]
    assert 0.4 < propose(search, 0, failed)[0] < 0.8  # failed trials count as the worst


def test_brackets():
    assert Hyperband("hyperband", min_iter=3).brackets[:4] == [3, 9, 27, 81]
    assert Hyperband("hyperband", max_iter=27, s=2, eta=3.0).brackets == [3, 9]
    assert Hyperband("hyperband", max_iter=4, s=5, eta=2.0).brackets == [1, 2]
    assert Hyperband().brackets == []


def test_hyperband_by_hand():
    early = Hyperband("hyperband", min_iter=2, eta=2.0)
    runs = [[9, 1], [9, 2], [9, 3], [9, 4]]
    # of four, the rank 4 / 2 = 2 is the bound: 3
    assert [is_hopeless(early, run, runs) for run in runs] == [False, False, False, True]
    assert not is_hopeless(early, [50], [*runs, [50]])  # it has not reached the first bracket
    assert not is_hopeless(early, [50, 40], [[50, 40], [1]])  # nobody else has
    assert is_hopeless(early, [1, 9, 9, 9], [[1, 9, 9, 9], [0, 9, 9, 9], [0, 0, 9, 9], [0.5, 9, 9, 9]])
    # its best error counts, not its last
    assert not is_hopeless(early, [0, 9], [[0, 9], *runs])
