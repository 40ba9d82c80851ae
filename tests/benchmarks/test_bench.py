"""The benchmark from start to end: what fails or is wrong is told, and stops nobody else."""

import csv
import math

import numpy as np
import pytest

from benchmarks import config as bench_config
from benchmarks import growth, run
from benchmarks.__main__ import main
from benchmarks.cases import CASES
from benchmarks.config import BenchConfig, resolve
from benchmarks.contenders import CONTENDERS
from benchmarks.process import ContenderError, Process
from benchmarks.worker import Result
from lightning_ebm.config import ConfigError
from tests.benchmarks.tiny import TINY
from tests.marks import slow


@pytest.fixture(autouse=True)
def tiny_cases(monkeypatch):
    for name, case in TINY.items():
        monkeypatch.setitem(CASES, name, case)


@pytest.fixture
def fakes(monkeypatch):
    """Capitalised names are the contenders of `fakes.py`; a process takes an import path for a name."""
    original = Process.__init__

    def start(self, name, *arguments):
        module = "no_such_package" if name == "Absent" else "tests.benchmarks.fakes"
        original(self, f"{module}:{name}" if name[0].isupper() else name, *arguments)

    monkeypatch.setattr(Process, "__init__", start)


def read(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@slow
def test_the_verb_writes_all_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(growth, "VALUES", {"items": (16, 32)})
    words = ["cases=[mlp]", "settings=[second_order]", "contenders=[ours,autograd_loop]", "rounds=2", "growth=true"]
    assert main([*words, f"output={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "mlp, second order" in out
    assert "slope" in out
    rows = read(tmp_path / "bench.csv")
    assert [row["contender"] for row in rows] == ["ours", "autograd_loop"]
    for row in rows:
        assert (row["status"], row["reason"], row["rounds"]) == ("ok", "", "2")
        texts = ("case", "setting", "contender", "status", "reason")
        numbers = {key: float(value) for key, value in row.items() if key not in texts}
        assert all(math.isfinite(value) for value in numbers.values()), numbers
        assert 0 < numbers["low_s"] <= numbers["median_s"] <= numbers["high_s"]
        assert 0 < numbers["share_of_peak"] < 1
    assert float(rows[1]["ratio_to_best_peer"]) == 1
    assert {(row["contender"], row["size"]) for row in read(tmp_path / "growth.csv")} == {
        ("ours", "items"), ("autograd_loop", "items"),
    }  # fmt: skip
    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    for words in ("## mlp, second order", "- commit: ", "- threads: 1", "GFLOP/s"):
        assert words in text
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_what_goes_wrong_is_told_and_the_others_are_timed(fakes):
    contenders = ["Failing", "ours", "FailingInFloat32", "Wrong", "Absent"]
    config = BenchConfig(cases=["mlp"], settings=["second_order"], contenders=contenders, rounds=1)
    rows = {row.contender: row for row in run.run(config, lambda rows: None)}
    assert {name: row.status for name, row in rows.items()} == {
        "Failing": "failed", "ours": "ok", "FailingInFloat32": "failed", "Wrong": "wrong", "Absent": "not installed",
    }  # fmt: skip
    assert rows["Failing"].reason == "ValueError: no such luck"
    assert rows["FailingInFloat32"].reason == "ValueError: too rough"
    assert rows["Wrong"].reason.startswith("differs from autograd_loop by 1.0e-03 in float64")
    assert [len(row.times) for row in rows.values()] == [0, 1, 0, 0, 0]


def test_a_silent_or_dead_process_is_given_up(fakes):
    with Process("Silent", 1, 20) as process:
        process.timeout = 1
        with pytest.raises(ContenderError, match=r"failed: no answer to 'prepare' in 1 s"):
            process.ask("prepare", TINY["mlp"], "float32", "cpu")
    with Process("ours", 1, 20) as process:
        process.process.kill()
        with pytest.raises(ContenderError, match=r"its process ended, exit code -9"):
            process.ask("prepare", TINY["mlp"], "float32", "cpu")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("cases=[mpl]", "cases: there is no 'mpl'. Did you mean 'mlp'? Known: gated_rnn, mlp, resnet_conv"),
        ("contenders=[jaxx_scan]", "Did you mean 'jax_scan'? Known: autograd_loop, higher, jax_scan"),
        ("settings=[first_order]", "Known: second_order, third_order"),
        ("device=tpu", "device must be one of cpu, cuda, got 'tpu'"),
        ("rounds=0", "rounds must be at least 1, got 0"),
        ("timeout=0", "timeout must be above 0"),
        ("round=3", "unknown key 'round'. Did you mean 'rounds'?"),
        ("rounds=many", "rounds"),
        ("rounds", "'rounds' is not of the form key=value"),
    ],
)
def test_mistakes_are_one_line(word, message, capsys):
    assert main([word]) == 1
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_default_contenders_are_those_of_the_device(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="there is no CUDA device here"):
        resolve(["device=cuda"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert resolve([]).contenders == [name for name in CONTENDERS if name != "ours_compiled"]
    assert resolve(["device=cuda"]).contenders == ["ours", "ours_by_episode", "autograd_loop", "ours_compiled"]
    assert resolve(["contenders=[ours_compiled]"]).contenders == ["ours_compiled"]


def test_steps_are_those_of_the_case_or_the_ones_asked_for():
    assert bench_config.case_of(resolve([]), "mlp", "third_order").write_steps == TINY["mlp"].write_steps
    case = bench_config.case_of(resolve(["steps=7"]), "mlp", "second_order")
    assert (case.write_steps, case.read_steps, case.gradient_term) == (7, 7, False)


def test_difference_is_relative_to_each_tensor_and_sees_nan():
    def result(loss, **gradients):
        return Result(0.0, loss, {name: np.array(values) for name, values in gradients.items()})

    expected = result(2.0, large=[100.0, 0.0], small=[1e-3], none=[0.0])
    assert run.difference(expected, expected) == 0
    assert run.difference(result(2.1, **expected.gradients), expected) == pytest.approx(0.05)
    assert run.difference(result(2.0, large=[100.0, 1.0], small=[1.1e-3], none=[0.0]), expected) == pytest.approx(0.1)
    assert run.difference(result(2.0, large=[100.0, 0.0], small=[1e-3], none=[1e-15]), expected) < 1e-9
    assert math.isnan(run.difference(result(2.0, large=[math.nan, 0.0], small=[1e-3], none=[0.0]), expected))
    assert run.difference(result(2.0, large=[100.0, 0.0]), expected) == math.inf


def test_slope_of_a_power_law():
    values = (2, 4, 8, 16)
    assert growth.slope(values, [3 * value**1.5 for value in values]) == pytest.approx(1.5)
