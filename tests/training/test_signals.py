"""Several processes and Lightning's own loops: the same numbers as one process, no hang, no inference-mode trap."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from lightning_ebm.config import read, resolve
from lightning_ebm.signals import REQUEUE
from lightning_ebm.training import trainer as training
from lightning_ebm.training.module import MetaTraining
from tests.tables import rows_of
from tests.training.tiny import DEBUG, config, metrics

COMMAND = ("-m", "lightning_ebm")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *COMMAND)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def launch(launcher, verb, folder, *overrides, **options):
    arguments = [verb, str(DEBUG), f"output={folder}", "trainer.accelerator=cpu", *overrides]
    return subprocess.Popen([sys.executable, *launcher, *arguments], env=ENVIRONMENT, **options)


def rows(folder):
    timed, table = ("write_ms", "read_ms", "train_seconds"), rows_of(folder / "compare-debug" / "results.csv")
    return [{key: parsed(value) for key, value in row.items() if key not in timed} for row in table]


def parsed(cell):
    """The number in a cell of a table, or its text."""
    try:
        return float(cell)
    except ValueError:
        return cell


def errors(run):
    return {step: error for (step, key), error in metrics(run).items() if key == "val/error"}


def is_running(process):
    """Whether a process is there, and no zombie that nobody has asked for its exit code."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def second_of(first, folder):
    """The process that Lightning started from the first, once there is a checkpoint."""
    for _ in range(1200):
        if list(folder.glob("*/checkpoints/last.ckpt")):
            break
        time.sleep(0.1)
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first.pid)], capture_output=True, text=True).stdout
    (second,) = [int(pid) for pid in children.split()]
    return second


SEARCH = "compare.rows.EBMM.training={pretrain_steps: 2, pretrain_objective: keys}"  # then rates are searched
FIVE = ("training.max_steps=5", "training.validate_every=5", "compare.gallery=0", "trainer.precision=64-true", SEARCH)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    assert launch(COMMAND, "compare", folder, *FIVE).wait(300) == 0
    return folder


@pytest.mark.parametrize(
    "launcher", [TORCHRUN, pytest.param(COMMAND, marks=pytest.mark.slow)], ids=["torchrun", "lightning"]
)
def test_two_processes_learn_and_measure_what_one_does(tmp_path, alone, launcher):
    """Five updates of EBMM and of two comparators, in float64, where nothing but a mistake makes a difference.

    A parameter without a gradient would show in the second update, for DDP skips it silently in the first.
    """
    assert launch(launcher, "compare", tmp_path, *FIVE, "trainer.devices=2").wait(300) == 0
    runs = [path.parent.name for path in alone.glob("*/checkpoints")]
    assert len(runs) == 3
    for run in runs:
        one, other = (
            torch.load(folder / run / "checkpoints" / "last.ckpt", weights_only=True) for folder in (alone, tmp_path)
        )
        assert one["global_step"] == other["global_step"] == 5
        for key, value in one["state_dict"].items():
            torch.testing.assert_close(other["state_dict"][key], value, rtol=0, atol=1e-9)
        assert errors(tmp_path / run) == errors(alone / run)
        assert len(other["callbacks"]["RandomStates"]["processes"]) == 2
    # numbers of tables have six digits, the last of which may be rounded otherwise
    for one, other in zip(rows(alone), rows(tmp_path), strict=True):
        for column, value in one.items():
            expected = pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
            assert other[column] == expected, column


@pytest.mark.parametrize("killed", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_other_within_a_minute_and_both_go_on(tmp_path, killed):
    """The first process is the one that Lightning starts the other from."""
    overrides = ("training.max_steps=100000", "training.validate_every=4", "trainer.devices=2")
    first = launch(COMMAND, "train", tmp_path, *overrides, stdout=subprocess.PIPE, text=True)
    second = second_of(first, tmp_path)
    began = time.monotonic()
    os.kill((first.pid, second)[killed], signal.SIGKILL)
    output, _ = first.communicate(timeout=60)  # until both have closed it
    while is_running(second) and time.monotonic() - began < 60:
        time.sleep(0.1)  # it may have closed its output, and still be on its way out
    assert time.monotonic() - began < 60
    assert first.returncode == (-signal.SIGKILL, 1)[killed]
    assert not is_running(second)
    assert "error" in output
    assert "resumes from" in output


def test_a_process_that_is_stopped_while_it_starts_ends_the_one_that_waits_for_it(tmp_path):
    """The first waits in C++, where it hears of no signal."""
    first = launch(COMMAND, "train", tmp_path, "trainer.devices=2", stdout=subprocess.PIPE, text=True)
    children, started = Path(f"/proc/{first.pid}/task/{first.pid}/children"), []
    while not started:  # git, which is asked for the commit, is no process of the run
        time.sleep(0.05)
        with contextlib.suppress(OSError):
            known = {child: Path(f"/proc/{child}/environ").read_bytes() for child in children.read_text().split()}
            started = [int(child) for child, environment in known.items() if b"LOCAL_RANK=1" in environment]
    os.kill(started[0], signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == REQUEUE
    assert output.endswith("stopped by a signal while its processes started\n")


@pytest.mark.slow
def test_a_signal_to_the_second_process_stops_both_after_the_same_update(tmp_path):
    overrides = ("training.max_steps=100000", "training.validate_every=20", "trainer.devices=2")
    first = launch(COMMAND, "train", tmp_path, *overrides, stdout=subprocess.PIPE, text=True)
    os.kill(second_of(first, tmp_path), signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == REQUEUE
    assert "stopped by SIGTERM; the same command resumes" in output
    (path,) = tmp_path.glob("*/checkpoints/last.ckpt")
    assert torch.load(path, weights_only=True)["global_step"] >= 20


def test_lightnings_own_validate_works_in_inference_mode_too(tmp_path):
    """torch.autograd.grad would fail there; reading uses torch.func."""
    run = training.build(resolve(read(DEBUG, [f"output={tmp_path}"])))
    module = MetaTraining(run.memory, run.data.source.spec, run.config.training)
    errors = []
    for inference_mode in (True, False):
        trainer = pl.Trainer(accelerator="cpu", logger=False, inference_mode=inference_mode, enable_progress_bar=False)
        errors.append(trainer.validate(module, datamodule=run.data, verbose=False)[0]["val/error"])
    assert errors[0] == errors[1] > 0


def test_threads_and_matrix_precision_are_set(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    try:
        for name in ("high", "medium", "highest"):
            overrides = [f"output={tmp_path}", "trainer.threads=2", f"trainer.matmul_precision={name}"]
            training.build(resolve(read(DEBUG, overrides)))
            assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, name)
            assert torch.backends.cudnn.allow_tf32 == (name != "highest")
            assert os.environ["OMP_NUM_THREADS"] == "2"  # Lightning would set its own number otherwise
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions


def test_bf16_mixed_gives_nearly_the_meta_gradient_of_float32(tmp_path, monkeypatch):
    gradients = {}
    for precision in ("32-true", "bf16-mixed"):
        run = training.build(config(tmp_path / precision, "training.max_steps=1", f"trainer.precision={precision}"))

        def keep(module, optimizer, precision=precision, memory=run.memory):
            gradients[precision] = torch.cat([p.grad.flatten() for p in memory.parameters()])

        monkeypatch.setattr(MetaTraining, "on_before_optimizer_step", keep)
        training.train(run)
    full, mixed = gradients["32-true"], gradients["bf16-mixed"]
    assert not torch.equal(full, mixed)
    assert torch.nn.functional.cosine_similarity(full, mixed, dim=0) > 0.99
