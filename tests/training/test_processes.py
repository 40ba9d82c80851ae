"""Several processes and Lightning's own loops: the same numbers as one process, and no inference-mode trap."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from lightning_ebm.config import read, resolve
from lightning_ebm.training import trainer as training
from lightning_ebm.training.module import MetaTraining

DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"


def train_in_processes(folder, devices, *overrides):
    """Four updates through the command line; returns the last checkpoint and the validation errors."""
    command = [sys.executable, "-m", "lightning_ebm", "train", str(DEBUG), f"output={folder}"]
    command += ["episodes.batch=4", "trainer.precision=64-true", "trainer.accelerator=cpu"]
    subprocess.run(
        [*command, f"trainer.devices={devices}", *overrides],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    (run,) = folder.glob("debug-*")
    with (run / "metrics" / "version_0" / "metrics.csv").open() as file:
        errors = [row["val/error"] for row in csv.DictReader(file) if row["val/error"]]
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True), errors


def test_two_processes_learn_what_one_learns(tmp_path):
    """Four updates: a parameter without a gradient would show in the second, for DDP skips it silently in the first.

    The two processes take their episodes one by one.
    """
    one, errors = train_in_processes(tmp_path / "one", 1)
    two, errors_of_two = train_in_processes(tmp_path / "two", 2, "training.chunk=1")
    assert one["global_step"] == two["global_step"] == 4
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=0, atol=1e-10)
    assert [float(e) for e in errors] == pytest.approx([float(e) for e in errors_of_two], abs=1e-4)


def test_lightnings_own_validate_works_in_inference_mode_too(tmp_path):
    """torch.autograd.grad would fail there; reading uses torch.func."""
    run = training.build(resolve(read(DEBUG, [f"output={tmp_path}"])))
    module = MetaTraining(run.memory, run.data.source.spec, run.config.training)
    errors = []
    for inference_mode in (True, False):
        trainer = pl.Trainer(accelerator="cpu", logger=False, inference_mode=inference_mode, enable_progress_bar=False)
        errors.append(trainer.validate(module, datamodule=run.data, verbose=False)[0]["val/error"])
    assert errors[0] == errors[1] > 0
