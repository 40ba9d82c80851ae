"""Running a sweep: what is kept, what goes on, what is stopped, what is reported."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError
from lightning_ebm.signals import REQUEUE
from lightning_ebm.sweeping import run
from lightning_ebm.sweeping.file import read_sweep
from lightning_ebm.sweeping.run import SweepConfig, run_sweep

FAKE = str(Path(__file__).parent / "fake_run.py")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(run, "PAUSE", 0.02)


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
    return read_sweep(folder / "mine.yaml")


def start(sweep, folder, **settings):
    return run_sweep(sweep, SweepConfig(output=str(folder / "out"), **settings), lambda line: None)


def starts(folder):
    """How often each run was started, by number."""
    return [path.read_text().count("start") for path in sorted(folder.glob("out/sweep-mine/run-*/starts"))]


def test_table_and_best_command(tmp_path, capsys):
    sweep = make(tmp_path)
    assert main(["sweep", str(sweep.path), f"output={tmp_path / 'out'}", "workers=2"]) == 0
    folder = tmp_path / "out" / "sweep-mine"
    rows = list(csv.DictReader((folder / "sweep.csv").open()))
    assert [row["x"] for row in rows] == ["1.0", "2.0", "3.0"]
    assert [row["run"] for row in rows] == ["run-001", "run-002", "run-000"]
    assert float(rows[0]["error"]) == pytest.approx(4 / 3)
    assert {row["state"] for row in rows} == {"finished"} and {row["update"] for row in rows} == {"3"}
    assert f"{sys.executable} {FAKE} x=1.0\n" in (folder / "sweep.md").read_text()
    assert (folder / "sweep.png").stat().st_size
    kept = json.loads((folder / "run-001" / "command.json").read_text())
    assert kept["command"] == [sys.executable, FAKE, "x=1.0", f"output={folder / 'run-001'}"]
    assert "run-001: finished, error 1.333 at update 3" in capsys.readouterr().out


def test_a_failed_run_is_shown_and_tried_again(tmp_path, capsys):
    sweep = make(tmp_path, x={"values": [2.0, "broken", 1.0]})
    words = ["sweep", str(sweep.path), f"output={tmp_path / 'out'}"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "run-001: failed: x is broken" in out and "run-002: finished" in out and "log.txt" in out
    assert main(words) == 1
    assert (tmp_path / "out/sweep-mine/run-001/log.txt").read_text().count("x is broken") == 2
    assert starts(tmp_path) == [1, 1]


def test_a_killed_sweep_goes_on_and_redoes_nothing(tmp_path):
    sweep = make(tmp_path, pause=0.4)
    words = [sys.executable, "-m", "lightning_ebm", "sweep", str(sweep.path), f"output={tmp_path / 'out'}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_for(tmp_path / "out/sweep-mine/run-001/starts")  # the first one is done
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    trials = start(sweep, tmp_path)
    assert starts(tmp_path) == [1, 2, 1]
    assert [trial.outcome().state for trial in trials] == ["finished"] * 3
    # the half-finished run, which outlived the sweep, was waited for: never two in one folder
    assert start(sweep, tmp_path) == trials and starts(tmp_path) == [1, 2, 1]


def test_a_signal_stops_the_runs_too(tmp_path, capsys):
    sweep = make(tmp_path, pause=30)
    log = tmp_path / "out/sweep-mine/run-000/log.txt"

    def stop():
        wait_for(log.parent / "starts")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert main(["sweep", str(sweep.path), f"output={tmp_path / 'out'}"]) == REQUEUE
    thread.join()
    assert "goes on" in capsys.readouterr().out
    with log.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its process holds it no longer
    assert not (log.parent / "result.json").exists()


def wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)


def test_hyperband_stops_the_worse(tmp_path):
    early = {"type": "hyperband", "min_iter": 2, "eta": 3}
    sweep = make(tmp_path, x={"values": [1.0, 9.0]}, pause=0.1, validations=8, early_terminate=early)
    good, poor = (trial.outcome() for trial in start(sweep, tmp_path))
    assert (good.state, good.validations) == ("finished", 8)
    assert poor.state == "stopped" and 2 <= poor.validations < 8


def test_bayes_after_a_stop_proposes_the_same(tmp_path):
    space = {"min": 0.0, "max": 5.0}
    whole = start(make(tmp_path / "one", "bayes", space, run_cap=6), tmp_path / "one")
    start(make(tmp_path / "two", "bayes", space, run_cap=5), tmp_path / "two")
    again = start(make(tmp_path / "two", "bayes", space, run_cap=6), tmp_path / "two")
    assert [trial.values for trial in again] == [trial.values for trial in whole]
    assert starts(tmp_path / "two") == [1] * 6
    assert min(trial.values["x"] for trial in whole[4:]) < min(trial.values["x"] for trial in whole[:4])


def test_refused(tmp_path, monkeypatch):
    sweep = make(tmp_path)
    for settings, message in ({"workers": 0}, "workers must be"), ({"seed": -1}, "seed must be"):
        with pytest.raises(ConfigError, match=message):
            start(sweep, tmp_path, **settings)
    start(sweep, tmp_path)
    with pytest.raises(ConfigError, match="holds another sweep"):
        start(make(tmp_path, x={"values": [5.0]}), tmp_path)
    with pytest.raises(ConfigError, match="run_cap must be given"):
        start(make(tmp_path, "random"), tmp_path)
    (tmp_path / "out/sweep-mine/run-000/result.json").write_text("{")
    with pytest.raises(ConfigError, match=r"result\.json is damaged"):
        start(make(tmp_path), tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process only"):
        start(sweep, tmp_path)


def test_a_program_that_is_not_there(tmp_path):
    sweep = make(tmp_path, command=["no-such-program"])
    with pytest.raises(ConfigError, match="cannot start 'no-such-program'"):
        start(sweep, tmp_path)


def test_needs_no_wandb():
    assert not [path for path in Path(run.__file__).parent.glob("*.py") if "import wandb" in path.read_text()]
