"""The command line: each verb from start to end, and mistakes as one line."""

import csv
import io
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from rich.table import Table

from lightning_ebm.cli import VERBS, console, main, say
from lightning_ebm.training.module import MetaTraining

CONFIGS = Path(__file__).parent.parent / "configs"
DEBUG = str(CONFIGS / "debug.yaml")


def test_train_evaluate_compare_and_show(tmp_path, capsys):
    output = f"output={tmp_path}"
    assert main(["train", DEBUG, output]) == 0
    assert "best.ckpt" in capsys.readouterr().out.replace("\n", "")
    assert main(["evaluate", DEBUG, output]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("debug: testing on 4 episodes of 4 patterns, mask unknown, float32\n")
    assert "query itself" in shown
    assert main(["compare", DEBUG, output]) == 0
    assert "report.html" in capsys.readouterr().out.replace("\n", "")
    folder = tmp_path / "compare-debug"
    with (folder / "results.csv").open() as file:
        rows = {row["label"]: row for row in csv.DictReader(file)}
    assert set(rows) == {
        "EBMM", "EBMM, prior state", "Hopfield", "Memory network", "Memory network, prior state",
        "Pseudo-inverse memory", "Pseudo-inverse memory, prior state",
        "query itself",
    }  # fmt: skip
    assert rows["EBMM"]["floats"] == str((7 + 1) * 16)
    assert rows["Hopfield"]["floats"] == str(1024 * 1023 // 2)
    assert rows["EBMM"]["episodes"] == "4"
    # 256 re-drawn pixels of binary images: half of them are wrong on average
    assert float(rows["query itself"]["error_mean"]) == pytest.approx(128, abs=6)
    assert rows["query itself"]["error_mean"] == rows["query itself"]["corrupted_mean"]
    assert (folder / "report.html").stat().st_size > 10_000
    assert main(["show", DEBUG, output]) == 0
    assert "patterns_per_episode: 4" in capsys.readouterr().out
    assert len(list(tmp_path.glob("debug-*/t*.png"))) == 2


@pytest.mark.slow
def test_rows_that_train_otherwise_are_tested_on_the_same(tmp_path, capsys):
    several = "{name: any_of, of: [half, {name: block, fill: pattern}]}"
    other = f"{{distortion: {several}, episodes: {{train_patterns_per_episode: [2, 5]}}}}"
    rows = f"compare.rows={{block: {{}}, other: {other}}}"
    test = "test_distortion={name: block, size: 8, fill: 0}"
    assert main(["compare", DEBUG, f"output={tmp_path}", rows, test]) == 0
    assert "on glyphs, block (size 8, fill 0)" in " ".join(capsys.readouterr().out.split())
    assert "block (size 8, fill 0)" in (tmp_path / "compare-debug" / "report.html").read_text()
    with (tmp_path / "compare-debug" / "results.csv").open() as file:
        errors = {row["label"]: float(row["error_mean"]) for row in csv.DictReader(file)}
    assert errors["query itself"] < 64  # of a block, of which the glyph is a part


def test_compare_keeps_the_rows_that_are_asked_for(tmp_path, capsys):
    assert main(["compare", DEBUG, f"output={tmp_path}", "memory=hop*"]) == 0
    assert "Memory network" not in capsys.readouterr().out
    assert main(["compare", DEBUG, f"output={tmp_path}", "memory=boltzmann"]) == 1
    assert "the rows are EBMM, Hopfield, Memory network, Pseudo-inverse memory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "missing.yaml"], "cannot read the configuration missing.yaml"),
        (
            ["train", "~nobody-of-that-name/c.yaml"],
            "configuration: '~nobody-of-that-name/c.yaml' names an unknown home",
        ),
        (["train", DEBUG, "[/no mask]=[bold]3[/]"], "unknown key '[/no mask]'."),
        (["train", DEBUG, "recipe=:smile:"], "there is no recipe ':smile:'"),
        (["train", DEBUG, "trainning.max_steps=3"], "Did you mean 'training'"),
        (["train", DEBUG, "episodes.patterns_per_episode=100000"], "episodes.patterns_per_episode must be at most"),
        (["train", DEBUG, "distortion.size=40"], "size"),
        (["train", DEBUG, "distortion=pixels", "distortion.amount=2000"], "amount"),
        (["train", DEBUG, "data=omniglot", "data.root=/nowhere"], "/nowhere"),
        (
            ["train", DEBUG, "memory.energy.code_dim=5000"],
            "energy.code_dim must be at most the 1024 values of a pattern, got 5000",
        ),
        (["train", DEBUG, "memory.writing.steps=0"], "writing.steps must be at least 1"),
        (["train", DEBUG, "data=bits", "distortion=pixels", "memory.energy=resnet_fc"], "needs images"),
        (["evaluate", DEBUG, "output=/nowhere"], "give those that it was trained with"),
        (["evaluate", DEBUG, "checkpoint=/mine.ckpt"], "/mine.ckpt: train this configuration first, or check the path"),
        (
            ["evaluate", DEBUG, "memory=no_memory", "training.max_steps=0", "compare.precisions=[int8]"],
            "compare.precisions: without a state there is nothing to round",
        ),
        (["show", DEBUG, "compare.rows={a: {memry: hopfield}}"], "compare.rows.a: unknown key 'memry'"),
        (["evaluate", DEBUG, "memory=tests.test_registry:Own"], "tests.test_registry:Own must be a subclass of"),
        (["evaluate", DEBUG, "memory=tests.test_registry:Broken"], "cannot be built: KeyError: 'oops'"),
        (
            ["train", DEBUG, "episodes.patterns_per_episode=150", "episodes.batch=1", "episodes.val=1"],
            "episodes.patterns_per_episode: episodes.patterns_per_episode must be at most 100, the val images",
        ),
        (
            ["compare", DEBUG, "compare.patterns_per_episode=[2, 1000]"],
            "compare.patterns_per_episode: episodes.patterns_per_episode must be at most 281, the test images",
        ),
        (["compare", DEBUG, "compare.rows={a: 3}"], "compare.rows.a must hold keys and values"),
        (["compare", DEBUG, "compare.rows={a: {sed: 3}}"], "compare.rows.a: unknown key 'sed'"),
        (["compare", DEBUG, "compare.rows.EBMM.episodes.seed=3"], "episodes.seed must be the same in all rows"),
        (["compare", DEBUG, "compare.rows.Hopfield.data=bits"], "data must be the same in all rows"),
        (["compare", DEBUG, "compare.rows.Hopfield.distortion=half"], "test_distortion (if empty, distortion) must be"),
        (["compare", DEBUG, "compare.rows.Hopfield.test_distortion=half"], "must be the same in all rows"),
        (["train", DEBUG, "test_distortion={name: half, side: up}"], "test_distortion.side must be one of"),
        (["train", DEBUG, "distortion.size=[9, 3]"], "distortion.size must be a range [low, high] that rises, got [9"),
        (
            ["train", DEBUG, "episodes.train_patterns_per_episode=[2, 99999]"],
            "episodes.train_patterns_per_episode: episodes.patterns_per_episode must be at most",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path, refused, arguments, message):
    overrides = [] if any(word.startswith("output=") for word in arguments) else [f"output={tmp_path}"]
    assert message in refused(*arguments, *overrides)


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="needs a machine without GPU"
)
@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps"])
def test_a_missing_accelerator_is_named(tmp_path, refused, accelerator):
    line = refused("train", DEBUG, f"output={tmp_path}", f"trainer.accelerator={accelerator}")
    assert line.startswith(f"trainer.accelerator={accelerator}, trainer.devices=1: ")
    assert line.endswith("This machine has 0 CUDA devices, and its CPU")


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_pictures_are_drawn_at_every_precision(tmp_path, precision):
    few = ["training.max_steps=1", "training.validate_every=1", "trainer.accelerator=cpu"]
    assert main(["train", DEBUG, f"output={tmp_path}", f"trainer.precision={precision}", *few]) == 0
    assert len(list(tmp_path.glob("*/pictures/*.png"))) == 1


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert (stop.value.code, capsys.readouterr().out) == (0, f"lightning-ebm {version('lightning-ebm')}\n")


@pytest.mark.parametrize(("encoding", "seen"), [("latin-1", "fü?"), ("ascii", "f??"), ("utf-8", "füλ")])
def test_what_an_encoding_lacks_is_replaced(monkeypatch, encoding, seen):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["train", "füλ.yaml"]) == main(["train", "\udcff.yaml"]) == 1
    stream.flush()
    first, second = stream.buffer.getvalue().decode(encoding).splitlines()
    assert first.startswith(f"error: cannot read the configuration {seen}.yaml")
    assert second.startswith("error: cannot read the configuration ?.yaml")


def test_a_file_gets_text_as_it_is_and_numbers_whole(capsys):
    table = Table(*(f"column {number}" for number in range(60)))
    table.add_row(*(f"{number}.123456789" for number in range(60)))
    console.print(table)
    say("EBMM [/no mask] [bold]:smile:[/bold] " + "x" * 500)
    *lines, text = capsys.readouterr().out.splitlines()
    assert all(f"{number}.123456789" in lines[3] for number in range(60))
    assert text == "EBMM [/no mask] [bold]:smile:[/bold] " + "x" * 500


def test_results_are_written_before_they_are_printed(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("nobody listens")

    monkeypatch.setattr("lightning_ebm.experiments.compare.terminal_tables", fails)
    assert main(["compare", DEBUG, f"output={tmp_path}", "memory=hop*"]) == 1
    assert {path.name for path in (tmp_path / "compare-debug").iterdir()} >= {"report.html", "results.csv", "cells.csv"}


def test_an_interrupt_is_one_line_and_keeps_the_checkpoint(tmp_path, capsys, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    original = MetaTraining.training_step

    def step(self, batch, batch_index):
        if self.global_step == 3:
            raise KeyboardInterrupt
        return original(self, batch, batch_index)

    monkeypatch.setattr(MetaTraining, "training_step", step)
    assert main(["train", DEBUG, f"output={tmp_path}"]) == 130
    signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith("interrupted; the same command resumes")
    assert len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) == 1
    monkeypatch.undo()
    assert main(["train", DEBUG, f"output={tmp_path}"]) == 0


def test_help_and_mistyped_keys_come_before_torch():
    commands = (["--help"], ["compare", "--help"], ["trian"], ["train", DEBUG, "trainning.max_steps=3"],
                ["compare", DEBUG, "training.max_stepz=3", "memory=hop*"])  # fmt: skip
    run = f"""
import sys
from lightning_ebm.cli import main
for words in {commands}:
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    print(code, *[name for name in ("torch", "pytorch_lightning", "matplotlib", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=100)
    codes = [line for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert codes == ["0", "0", "2", "1", "1"], done.stdout + done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_the_choices(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in ("hopfield", "reconstruction", "omniglot", "any_of", "package.module:Class"):
        assert name in text
