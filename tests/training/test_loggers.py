"""Weights & Biases is a view: the real package, offline or against a server on this machine, never stops a run."""

import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lightning_ebm.config import read, resolve
from lightning_ebm.experiments.grid import grid
from lightning_ebm.training import loggers
from lightning_ebm.training.trainer import build, train
from tests.marks import fast, slow
from tests.tables import rows_of
from tests.training.tiny import DEBUG, TINY

wandb = pytest.importorskip("wandb")


class Handler(BaseHTTPRequestHandler):
    """As much of W&B's server as a run needs to start; or, by the server's `behaviour`, something else."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        behaviour = self.server.behaviour
        self.server.asked += 1
        if behaviour == "hangs":
            self.server.stopped.wait(60)
        if behaviour in ("hangs", "vanishes"):
            self.connection.close()
        elif behaviour == "rubbish":
            self.reply(200, b"<html>\xff")
        elif behaviour == "works":
            self.reply(200, json.dumps(answer(body.decode(errors="replace"))).encode())
        elif behaviour == "empty":
            self.reply(200, b"{}")
        else:
            self.reply(behaviour, b'{"errors": [{"message": "no"}]}')

    do_GET = do_PUT = do_POST  # noqa: N815

    def reply(self, code, body):
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def answer(query):
    if "UpsertBucket" not in query:
        return {"data": {}}
    run = {"id": "1", "name": "x", "displayName": "x", "config": "{}", "historyLineCount": 0}
    project = {"id": "2", "name": "p", "entity": {"id": "3", "name": "e"}}
    return {"data": {"upsertBucket": {"bucket": {**run, "project": project}, "inserted": True}}}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """W&B's service is ended after each test, and what wandb keeps in the environment with it."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    with monkeypatch.context():
        yield
    loggers.finish()
    loggers.end_service()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]


@pytest.fixture
def server(monkeypatch, tmp_path):
    """W&B's server, on loopback, with a user who has a key and little patience."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads, httpd.behaviour, httpd.stopped, httpd.asked = True, "works", threading.Event(), 0
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        (tmp_path / "home").mkdir()
        environment = {"WANDB_BASE_URL": f"http://127.0.0.1:{httpd.server_port}", "WANDB_API_KEY": "a" * 40}
        patience = {"WANDB_INIT_TIMEOUT": "2", "WANDB_FINISH_TIMEOUT": "1"}
        for name, value in {**environment, **patience, "HOME": str(tmp_path / "home")}.items():
            monkeypatch.setenv(name, value)
        yield httpd
        httpd.stopped.set()
        httpd.shutdown()


def configured(folder, mode="offline", **wandb_settings):
    words = [f"output={folder}", f"wandb.mode={mode}", *(f"wandb.{k}={v}" for k, v in wandb_settings.items())]
    return resolve(read(DEBUG, words))


def inspected(folder, *options):
    """What W&B's own tool says of the one run in a folder."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout) if options else [json.loads(line) for line in done.stdout.splitlines()]


def recorded(folder):
    rows = rows_of(folder / "metrics" / "version_0" / "metrics.csv")
    return [{k: v for k, v in row.items() if k != "train/seconds"} for row in rows]


def test_an_offline_run_holds_everything_and_changes_nothing(tmp_path):
    offline = build(configured(tmp_path / "offline", group="glyphs", tags="[a,b]"))
    train(offline)
    run = inspected(offline.folder, "--summary")
    assert run["config"]["training"]["max_steps"] == 4
    assert run["run_id"] == offline.folder.name
    assert run["name"] == f"debug, ebmm, glyphs, seed 0 ({offline.folder.name[-8:]})"
    assert '"glyphs"' in json.dumps(inspected(offline.folder))
    pictures = list(offline.folder.glob("wandb/offline-run-*/files/media/images/recall/patterns*.png"))
    assert len(pictures) == len(list((offline.folder / "pictures").glob("*.png"))) == 2  # and none of a sanity check
    disabled = build(configured(tmp_path / "disabled", "disabled"))
    train(disabled)
    assert disabled.folder.name == offline.folder.name
    assert recorded(disabled.folder) == recorded(offline.folder)
    assert not (disabled.folder / "wandb").exists()


def test_the_panels_of_a_run(tmp_path, monkeypatch):
    """Learning curves over updates, summed up by their least value; recall by read step; no panel of an axis."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = build(configured(tmp_path))
    train(run)
    records = inspected(run.folder)
    metrics = {one["metric"].get("name", "*"): one["metric"] for one in records if one["type"] == "metric"}
    hidden = {name for name, one in metrics.items() if one["options"].get("hidden")}
    assert hidden == {"epoch", "trainer/global_step", "train/seconds"}
    for name in ("*", "train/loss", "val/error", "val/error_corrupted", "recall/error_by_read_step_table"):
        assert metrics.get(name, metrics["*"])["step_metric"] == "trainer/global_step"
    history = [one["history"]["item"] for one in records if one["type"] == "history"]
    shown = {key.split(".")[0] for row in history for key in row if "/" in key} - metrics.keys()
    summary = inspected(run.folder, "--summary")["summary"]
    rows = [row for row in recorded(run.folder) if row["val/error"]]
    for name in ("val/error", "val/error_corrupted"):
        errors = [float(row[name]) for row in rows]
        assert summary[name] == {"min": pytest.approx(min(errors))}
        logged = {row["trainer/global_step"]: row[name] for row in history if name in row}
        assert logged == {int(row["step"]): pytest.approx(float(row[name])) for row in rows}
    assert {key.split("/")[0] for key in shown} == {"val", "recall"}  # what else an EBMM's validation finds
    assert {key for key in shown if key.startswith("recall")} == {"recall/patterns", "recall/error_by_read_step_table"}
    (plot,) = {json.dumps(one["config"]["update"]) for one in records if "visualize" in json.dumps(one.get("config"))}
    assert '"wandb/line/v0"' in plot and '"error by read step"' in plot
    folder = run.folder / "wandb"
    tables = folder.glob("offline-run-*/files/media/table/recall/*.json")
    points = json.loads(max(tables, key=lambda path: path.stat().st_mtime_ns).read_text())["data"]
    assert [step for step, _ in points] == [*range(1 + run.config.memory.config.reading.steps)]
    episodes = list(run.data.val_dataloader())
    wrong = [((one.queries > 0.5) != (one.patterns > 0.5)).flatten(2).sum(2).float().mean() for one in episodes]
    assert points[0][1] == pytest.approx(float(sum(wrong) / len(wrong)), rel=1e-5)
    assert points[-1][1] == pytest.approx(float(rows[-1]["val/error"]), rel=1e-5)
    assert list(folder.glob("artifacts/staging/*")) and not list((tmp_path / "home").rglob("artifacts"))


def started(config):
    """The logger of a run, and the warnings that its start cost."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        logger = loggers.tracker(config)
    return logger, [str(one.message) for one in caught if one.category is UserWarning]


def break_settings(monkeypatch, home):
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".config" / "wandb" / "settings").write_bytes(b"\xff\xfe[[")


def break_netrc(monkeypatch, home):
    monkeypatch.delenv("WANDB_API_KEY")
    (home / ".netrc").write_bytes(b"machine \xff\xfe\nlogin")


def no_home(monkeypatch, home):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.delenv("HOME")

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)


def setting(**environment):
    return lambda monkeypatch, home: [monkeypatch.setenv(*pair) for pair in environment.items()]


@pytest.mark.parametrize(
    "trouble",
    [
        *fast([401, "hangs"], [401, 403, 404, 500, "hangs", "vanishes", "rubbish"]),
        pytest.param(lambda monkeypatch, home: monkeypatch.delenv("WANDB_API_KEY"), id="no key"),
        pytest.param(setting(WANDB_API_KEY="short"), id="bad key", marks=slow),
        pytest.param(setting(WANDB_BASE_URL="http://127.0.0.1:9"), id="nobody listens", marks=slow),
        pytest.param(
            setting(WANDB_HTTP_PROXY="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9"), id="proxy", marks=slow
        ),
        pytest.param(break_settings, id="settings", marks=slow),
        pytest.param(break_netrc, id="netrc", marks=slow),
        pytest.param(no_home, id="no home", marks=slow),
        pytest.param(setting(HOME="/proc/nowhere", WANDB_API_KEY=""), id="unwritable home", marks=slow),
        pytest.param(setting(HOME="", WANDB_API_KEY=""), id="empty HOME", marks=slow),
    ],
)
def test_w_and_b_that_cannot_start_costs_one_warning(tmp_path, monkeypatch, server, trouble):
    if callable(trouble):
        server.behaviour = 401
        trouble(monkeypatch, tmp_path / "home")
    else:
        server.behaviour = trouble
    config = configured(tmp_path, "online")
    logger, messages = started(config)
    assert len(messages) == 1, messages
    assert messages[0].startswith("wandb.mode=online does not work (")
    assert "the run is kept offline, in " in messages[0]
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_line("recall/error", "step", "error", [(0, 1.0)], 0)
    loggers.finish()
    assert logger.works
    assert list(Path(logger.experiment.dir).parent.glob("*.wandb"))


def test_w_and_b_that_cannot_even_work_offline_costs_one_warning(tmp_path, monkeypatch):
    for mode, name in (("online", "WANDB_BASE_URL"), ("offline", "WANDB_INIT_TIMEOUT")):
        monkeypatch.setenv(name, "nonsense")
        logger, messages = started(configured(tmp_path, mode))
        assert logger is None
        assert len(messages) == 1
        assert "the run is not shown in W&B (" in messages[0]


def kill_service():
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    for child in {int(word) for file in children for word in file.read_text().split()}:
        if b"wandb-core" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGKILL)
            return
    pytest.fail("W&B has no service")


@pytest.mark.parametrize("trouble", fast(["hangs"], [500, "hangs", "vanishes", "empty", "killed"]))
def test_w_and_b_that_goes_away_later_costs_a_warning_at_most(tmp_path, server, trouble):
    """`empty` answers end W&B's service, whose author did not expect them."""
    config = configured(tmp_path, "online")
    for _ in range(2 if trouble in ("hangs", "killed") else 1):  # and the next start is as if nothing had been
        server.behaviour = "works"
        logger, messages = started(config)
        assert not messages
        logger.log_metrics({"loss": 1.0}, 0)
        if trouble == "killed":
            kill_service()
            time.sleep(0.2)
        else:
            server.behaviour = trouble
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for step in range(1, 4):
                logger.log_metrics({"loss": 1.0}, step)
            logger.finalize("success")
            loggers.finish()
        told = [str(one.message) for one in caught if "W&B" in str(one.message)]
        assert len(told) == (2 if trouble == "killed" else 1)  # it has noticed at once, or only at the end
        assert told[-1].startswith("W&B did not get everything (")


@pytest.mark.slow
def test_a_command_without_a_key_and_without_a_home_trains(tmp_path):
    (tmp_path / "home").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lightning_ebm", "train", str(DEBUG), f"output={tmp_path}", *TINY]
    done = subprocess.run([*command, "wandb.mode=online"], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("does not work") == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert list(tmp_path.glob("*/checkpoints/best.ckpt")) and list(tmp_path.glob("*/wandb/offline-run-*"))


def test_no_update_is_logged_twice_and_a_damaged_record_of_that_is_made_anew(tmp_path):
    config = configured(tmp_path)
    first, messages = started(config)
    assert not messages
    for step in range(5):
        first.log_metrics({"loss": float(step)}, step)
    loggers.finish()
    assert first.logged.read_text() == "4"
    logged = []
    again = loggers.tracker(config)
    assert again.experiment.id == first.experiment.id == first.logged.parent.name
    again.experiment.log = lambda metrics, **_: logged.append(metrics["loss"])
    for step in range(3, 8):  # the last checkpoint was that of update 3
        again.log_metrics({"loss": float(step)}, step)
    assert logged == [5.0, 6.0, 7.0]
    for content in (b"", b"\xff\xfe", b"4.5", b"4" * 5000):
        first.logged.write_bytes(content)
        with pytest.warns(UserWarning, match=r"wandb-logged is damaged \(.*\) and is rebuilt"):
            anew = loggers.Tracker(again.experiment, first.logged)
        anew.log_metrics({"loss": 8.0}, 8)
        assert first.logged.read_text() == "8"
    first.logged.unlink()
    first.logged.mkdir()
    with pytest.warns(UserWarning, match=r"is damaged \(|W&B stopped working"):
        loggers.Tracker(again.experiment, first.logged).log_metrics({"loss": 9.0}, 9)
    assert logged == [5.0, 6.0, 7.0, *[8.0] * 4, 9.0]


def test_auto_is_online_under_an_agent_only_and_the_agent_names_the_run(tmp_path, monkeypatch):
    config = configured(tmp_path, "auto")
    assert loggers.mode(config) == "disabled"
    assert loggers.tracker(config) is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert loggers.mode(config) == "online"
    assert loggers.mode(configured(tmp_path, "disabled")) == "disabled"
    monkeypatch.delenv("WANDB_SWEEP_ID")
    monkeypatch.setenv("WANDB_RUN_ID", "chosen")
    assert loggers.tracker(configured(tmp_path)).version == "chosen"


def test_experiments_are_grouped_by_their_comparison(tmp_path):
    found = grid(DEBUG)
    assert {one.config.wandb.group for one in found} == {"debug"}
    assert {one.config.wandb.group for one in grid(DEBUG, {"wandb": {"group": "mine"}})} == {"mine"}


@pytest.mark.parametrize("behaviour", [None, pytest.param(403, marks=slow)])
def test_a_table_is_a_run_of_its_own(tmp_path, server, behaviour):
    server.behaviour = behaviour
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        config = configured(tmp_path, "online" if behaviour else "offline")
        loggers.log_table(config, "compare-x", ["memory", "error"], [["EBMM", 1.5], ["MANN", 2.5]])
    assert len([one for one in caught if one.category is UserWarning]) == (behaviour is not None)
    assert "table-file" in json.dumps(inspected(tmp_path))
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/compare/*.json")
    assert json.loads(table.read_text())["data"] == [["EBMM", 1.5], ["MANN", 2.5]]


def test_of_two_processes_one_makes_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "rank", lambda: 1)
    assert loggers.tracker(configured(tmp_path)) is None
    assert not list(tmp_path.iterdir())
