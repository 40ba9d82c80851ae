"""The script for a GPU runs from start to end on a CPU, in tiny sizes."""

import json

import pytest
import torch

from benchmarks import gpu
from tests.marks import slow


def traced(**_):
    """Traces and differentiates as the default backend does, and generates no code."""
    return lambda function: torch.compile(function, fullgraph=True, dynamic=False, backend="aot_eager")


@slow
def test_all_tables_are_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "compiler", traced)
    words = ["--device", "cpu", "--quick", "--energies", "mixture", "--output", str(tmp_path / "gpu.json")]
    assert gpu.main([*words, "--seconds", "6000"]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    (experiments,), (row,) = found["compare"], found["energies"]
    assert experiments["updates a second"] > 0
    assert row["energy"] == "mixture"
    assert row["float64 to CPU"] == row["eager difference"] == 0
    assert row["compiled difference"] < 1e-4
    assert row["compiled TFLOP/s"] > 0
    assert "mixture" in capsys.readouterr().out


def test_what_fails_or_is_late_is_told_and_stops_nothing(tmp_path, monkeypatch):
    def broken(name, *_):
        raise RuntimeError("no kernel\nimage")

    monkeypatch.setattr(gpu, "of_energy", broken)
    monkeypatch.setattr(gpu, "side_by_side", lambda count, *_: {"experiments": count})
    words = ["--device", "cpu", "--quick", "--energies", "mixture", "--output", str(tmp_path / "gpu.json")]
    assert gpu.main(words) == 1
    assert json.loads((tmp_path / "gpu.json").read_text())["energies"][0]["failed"] == "no kernel image"
    assert gpu.main([*words, "--seconds", "-1"]) == 1
    assert json.loads((tmp_path / "gpu.json").read_text())["energies"][0]["failed"] == "out of time"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_names_the_way(capsys):
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "there is no CUDA device here; --device cpu --quick tests the script" in capsys.readouterr().err
