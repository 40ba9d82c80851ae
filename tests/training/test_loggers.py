"""Weights & Biases, offline: read back with its own tool, and never more than a view."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_ebm.config import read, resolve
from lightning_ebm.experiments.grid import grid
from lightning_ebm.training import loggers as tracking
from lightning_ebm.training.trainer import build, train

wandb = pytest.importorskip("wandb")
DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"


def configured(folder, mode="offline", **wandb_settings):
    words = [f"output={folder}", f"wandb.mode={mode}", *(f"wandb.{k}={v}" for k, v in wandb_settings.items())]
    return resolve(read(DEBUG, words))


def inspected(folder, *options):
    """What W&B's own tool says of the one run in a folder."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout) if options else [json.loads(line) for line in done.stdout.splitlines()]


def recorded(folder):
    with (folder / "metrics" / "version_0" / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "train/seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    run = build(configured(tmp_path_factory.mktemp("offline"), group="glyphs", tags="[a,b]"))
    train(run)
    return run


def test_an_offline_run_holds_configuration_curves_and_pictures(offline):
    run = inspected(offline.folder, "--summary")
    text = json.dumps(run)
    assert run["config"]["training"]["updates"] == 4
    last = [row for row in recorded(offline.folder) if row["val/error"]][-1]
    assert f'"val/error": {float(last["val/error"]):.6g}'[:18] in text.replace("'", '"')
    assert offline.folder.name in text and '"glyphs"' in json.dumps(inspected(offline.folder))
    pictures = list(offline.folder.glob("wandb/offline-run-*/files/media/images/recall*.png"))
    assert len(pictures) == len(list((offline.folder / "pictures").glob("*.png"))) == 2  # and none of a sanity check


def test_the_local_record_is_the_same_without_it(offline, tmp_path):
    run = build(configured(tmp_path, "disabled"))
    train(run)
    assert run.folder.name == offline.folder.name
    assert recorded(run.folder) == recorded(offline.folder)
    assert not (run.folder / "wandb").exists()


def test_no_update_is_logged_twice(tmp_path):
    config = configured(tmp_path)
    first = tracking.Tracker(config, offline=True)
    for step in range(5):
        first.log_metrics({"loss": float(step)}, step)
    tracking.finish()
    logged = []
    again = tracking.Tracker(config, offline=True)
    assert again.experiment.id == first.experiment.id == again.save_dir.split("/")[-1]
    again.experiment.log = lambda metrics, **_: logged.append(metrics["loss"])
    for step in range(3, 8):  # the last checkpoint was that of update 3
        again.log_metrics({"loss": float(step)}, step)
    tracking.finish()
    assert logged == [5.0, 6.0, 7.0]


def test_a_server_that_does_not_answer_costs_a_warning(tmp_path, monkeypatch):
    original = wandb.init
    monkeypatch.setenv("WANDB_MODE", "online")

    def init(*arguments, **options):
        if os.environ["WANDB_MODE"] == "online":  # how Lightning says it
            raise wandb.errors.CommError("no answer")
        return original(*arguments, **options)

    monkeypatch.setattr(wandb, "init", init)
    run = build(configured(tmp_path, "online"))
    with pytest.warns(UserWarning, match=r"wandb\.mode=online does not work \(no answer\); the run is kept offline"):
        best = train(run)
    assert best.exists() and recorded(run.folder)
    assert list(run.folder.glob("wandb/offline-run-*"))


def test_auto_is_online_under_an_agent_only(tmp_path, monkeypatch):
    config = configured(tmp_path, "auto")
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert tracking.mode(config) == "disabled"
    assert tracking.tracker(config) is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert tracking.mode(config) == "online"
    assert tracking.mode(configured(tmp_path, "disabled")) == "disabled"


def test_an_agent_names_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "chosen")
    assert tracking.Tracker(configured(tmp_path), offline=True).version == "chosen"


def test_experiments_are_grouped_by_their_comparison(tmp_path):
    found = grid(DEBUG)
    assert {one.config.wandb.group for one in found} == {"debug"}
    assert {one.config.wandb.group for one in grid(DEBUG, {"wandb": {"group": "mine"}})} == {"mine"}


def test_a_table_is_a_run_of_its_own(tmp_path):
    tracking.log_table(configured(tmp_path), "compare-x", ["memory", "error"], [["EBMM", 1.5], ["MANN", 2.5]])
    assert "table-file" in json.dumps(inspected(tmp_path))
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [["EBMM", 1.5], ["MANN", 2.5]]


def test_of_two_processes_one_makes_a_run(tmp_path):
    command = [sys.executable, "-m", "lightning_ebm", "train", str(DEBUG), f"output={tmp_path}", "wandb.mode=offline"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    devices = ["trainer.devices=2", "trainer.accelerator=cpu"]
    subprocess.run([*command, *devices], env=environment, check=True, timeout=300)
    assert len(list(tmp_path.glob("*/wandb/offline-run-*"))) == 1
