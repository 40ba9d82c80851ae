"""The wheel, installed into an empty environment and used from an empty folder: the checkout is out of reach."""

import csv
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
SMALL = (
    "episodes.batch=2", "episodes.val=2", "episodes.test=4", "training.max_steps=2", "training.pretrain_steps=1",
    "training.warmup_steps=0", "training.validate_every=2", "trainer.threads=1", "trainer.accelerator=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of the commands of an environment that has the wheel, and other packages from where they are."""
    top = tmp_path_factory.mktemp("wheel")
    for name in ("lightning_ebm", "baselines"):
        shutil.copytree(ROOT / name, top / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, top / "source")
    pip = [sys.executable, "-m", "pip"]
    wheel = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", top, top / "source"]
    subprocess.run(wheel, check=True, timeout=300)
    shutil.rmtree(top / "source")
    venv.create(top / "venv")
    python = top / "venv" / "bin" / "python"
    packages = next((top / "venv" / "lib").glob("python*/site-packages"))
    (packages / "shared.pth").write_text(str(Path(torch.__file__).parents[1]))
    (file,) = top.glob("*.whl")
    install = [*pip, "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", file]
    subprocess.run(install, check=True, timeout=300)
    return python.parent


@pytest.fixture
def run(installed, tmp_path):
    def command(*words, name="lightning-ebm"):
        done = subprocess.run(
            [installed / name, *words], cwd=tmp_path, capture_output=True, text=True, timeout=500,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return command


def test_it_is_the_wheel_that_runs(run, installed):
    where = run(
        "-c", "import lightning_ebm, baselines; print(lightning_ebm.__file__, baselines.__file__)", name="python"
    )
    assert all(Path(path).is_relative_to(installed.parent) for path in where.split())
    assert (
        run("--version").split()[1]
        == run("-c", "from importlib.metadata import version; print(version('lightning-ebm'))", name="python").strip()
    )
    assert "glyphs-rate" in run("list", "sweeps")


def test_the_demo(run, tmp_path):
    run("compare", "demo", *SMALL, "compare.jobs=1", "compare.gallery=2")
    assert (tmp_path / "runs" / "compare-demo" / "report.html").stat().st_size > 10_000
    with (tmp_path / "runs" / "compare-demo" / "cells.csv").open() as file:
        floats = {row["label"]: row["floats"] for row in csv.DictReader(file)}
    assert floats["EBMM, measured mixture, 4096 floats"] == "4096"


def test_a_pretrained_memory_recalls_a_drawing(run, tmp_path):
    drawing = np.full((64, 64), 255, np.uint8)
    drawing[20:24, 10:50] = drawing[10:50, 30:34] = 0
    Image.fromarray(drawing).save(tmp_path / "cross.png")
    assert "report" in run("recall", "--memory", "glyphs-4096", "cross.png")
    assert list(tmp_path.glob("runs/*/*.html"))


def test_a_published_row(run):
    assert "reproduced" in run("evaluate", "--memory", "glyphs-4096", "trainer.threads=1")


def test_a_sweep_of_the_users(run, tmp_path):
    search = {
        "command": ["${env}", "${interpreter}", "-m", "lightning_ebm", "train", "images", "${args_no_hyphens}"],
        "method": "grid",
        "metric": {"name": "val/error", "goal": "minimize"},
        "parameters": {key: {"value": value} for key, value in (word.split("=") for word in SMALL)}
        | {"training.learning_rate": {"values": [0.01, 0.02]}, "episodes.patterns_per_episode": {"value": 4}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(search))
    run("sweep", "mine.yaml")
    with (tmp_path / "runs" / "sweep-mine" / "sweep.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
