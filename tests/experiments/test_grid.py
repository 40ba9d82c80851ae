"""The grid of a comparison: its cells, and that each is done once, whatever happens to the process."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError, read_file
from lightning_ebm.experiments import experiment as cells_of
from lightning_ebm.experiments.compare import compare
from lightning_ebm.experiments.executor import run_cells
from lightning_ebm.experiments.grid import cells

CONFIGS = Path(__file__).parents[2] / "configs"


def small(tmp_path, **compare):
    """Two memories on bits that train in a moment: one in two sizes, two seeds, two precisions."""
    return {
        "output": str(tmp_path),
        "data": {"name": "bits", "size": 16},
        "distortion": {"name": "redrawn_bits", "count": 8},
        "episodes": {"items": 3, "batch": 2, "val": 2, "test": 4},
        "training": {"updates": 2, "warmup": 0, "validate_every": 2, "pictures": False},
        "compare": {
            "gallery": 2,
            "seeds": [0, 1],
            "precisions": ["float32", "int4"],
            "rows": {
                "Mixture": {
                    "memory": {"name": "ebmm", "energy": {"name": "mixture"}},
                    "sizes": {f"{n} rows": {"memory": {"energy": {"components": n}}} for n in (2, 4)},
                },
                "Hopfield": {"memory": {"name": "hopfield"}},
            },
            **compare,
        },
    }


def test_cells_are_rows_times_sizes_times_variations_times_seeds(tmp_path):
    vary = {"bits": {"few": {"distortion": {"count": 2}}, "many": {"distortion": {"count": 12}}}}
    found = cells(small(tmp_path, vary=vary), {})
    assert [(cell.label, cell.series, cell.variation, cell.config.seed) for cell in found] == [
        (label, series, variation, seed)
        for label, series in (("Mixture, 2 rows", "Mixture"), ("Mixture, 4 rows", "Mixture"), ("Hopfield", "Hopfield"))
        for variation in ("few", "many")
        for seed in (0, 1)
    ]
    assert {cell.config.distortion.config.count for cell in found if cell.variation == "few"} == {2}
    assert len({cell.folder for cell in found}) == len(found)
    assert [cell.label for cell in cells(small(tmp_path), {"memory": "hop*"})] == ["Hopfield"] * 2


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        ({"rows": {"a": {"sizes": {"b": 3}}}}, r"compare\.rows\.a\.sizes\.b must hold keys and values, got 3"),
        ({"vary": {"noise": {"b": 3}}}, r"compare\.vary\.noise must map labels to keys and values"),
        ({"seeds": [0, -1]}, r"compare\.seeds must be whole numbers from 0"),
        ({"precisions": ["int5"]}, r"compare\.precisions must be some of float32, float16, int8, int4"),
        ({"jobs": -1}, r"compare\.jobs must be at least 0"),
    ],
)
def test_mistakes_are_named(tmp_path, compare, message):
    with pytest.raises(ConfigError, match=message):
        cells(small(tmp_path, **compare), {})


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    grid, quiet = cells(small(tmp_path), {}), Console(quiet=True)
    assert run_cells(grid, 1, quiet) == {}
    found = [cell.results() for cell in grid]

    def never(*_args, **_options):
        raise AssertionError("redone")

    monkeypatch.setattr(cells_of, "build", never)
    assert run_cells(grid, 1, quiet) == {}
    assert [cell.results() for cell in grid] == found
    lost = grid[0].path(grid[0].settings()[1])
    lost.unlink()
    with pytest.raises(AssertionError, match="redone"):
        run_cells(grid, 1, quiet)


def test_a_tables_floats_equal_a_recount_and_bits_know_the_precision(tmp_path):
    grid = cells(small(tmp_path), {})
    (comparison,) = compare(grid, Console(quiet=True)).values()
    by_label = {result.label: result for result in comparison.results}
    for label, rows in (("Mixture, 2 rows", 2), ("Mixture, 4 rows", 4)):
        assert by_label[label].floats == rows * 17 == by_label[f"{label}, int4"].floats
        assert by_label[label].bits == rows * 17 * 32
        assert by_label[f"{label}, int4"].bits == rows * 17 * 4 + 2 * 32  # weights and biases, each with a scale
        assert by_label[f"{label}, int4"].series == "Mixture, int4"
        assert len(by_label[label].error) == 2 * 4 and len(by_label[label].error_by_seed) == 2
    assert by_label["Hopfield"].floats == 16 * 15 // 2
    assert sum(result.label == "query itself" for result in comparison.results) == 1
    state = cells_of.build(grid[0].config).memory.write(torch.rand(3, 2, 16).round())
    assert by_label["Mixture, 2 rows"].floats == sum(tensor[0].numel() for tensor in state.values())


def test_where_there_is_no_state_there_is_nothing_to_round(tmp_path):
    grid = cells(small(tmp_path, seeds=[], rows={"No memory": {"memory": {"name": "no_memory"}}}), {})
    (comparison,) = compare(grid, Console(quiet=True)).values()
    assert [result.label for result in comparison.results] == ["No memory", "query itself"]
    assert all(cell.is_done() for cell in grid)


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path, capsys):
    plain = small(tmp_path, seeds=[], precisions=["float32"])
    plain["compare"]["rows"]["broken"] = {"memory": {"name": "hopfield", "rule": "hebbb"}}
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(plain))
    assert main(["compare", str(path)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "broken: failed: memory: there is no rule='hebbb'" in printed
    assert printed.endswith("error: not finished, see above and log.txt in the run's folder: broken")
    folder = tmp_path / "compare-grid"
    with (folder / "cells.csv").open() as file:
        assert {row["memory"] for row in csv.DictReader(file)} == {"ebmm", "hopfield", "control"}
    assert "<dt>broken</dt><dd>memory: there is no rule=&#x27;hebbb&#x27;" in (folder / "report.html").read_text()


def test_in_a_file_each_cell_that_ends_in_its_own_process_is_a_line(tmp_path, capsys):
    plain = small(tmp_path, seeds=[], precisions=["float32"])
    rows = plain["compare"]["rows"]
    plain["compare"]["rows"] = {"Hopfield": rows["Hopfield"], "broken": {"memory": {"name": "hopfield", "rule": "x"}}}
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(plain))
    assert main(["compare", str(path), "compare.jobs=2"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert re.search(r"Hopfield, seed 0: done after \d+ s \([12] of 2\)", printed)
    assert re.search(r"broken, seed 0: failed: memory: there is no rule='x'.* \([12] of 2\)", printed)
    assert "running" not in printed  # what a terminal would show in the meantime


def test_killed_at_any_moment_it_goes_on_and_redoes_nothing(tmp_path):
    """Two processes at a time; the comparison is killed, its children are not and end their cells alone."""
    path = tmp_path / "grid.yaml"
    plain = small(tmp_path, jobs=2, precisions=["float32"], gallery=0)
    path.write_text(yaml.safe_dump(plain))
    command = [sys.executable, "-m", "lightning_ebm", "compare", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/results/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/results/*") if "unfinished" not in path.name}
    assert done
    assert subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    grid = cells(read_file(path), {})
    assert all(cell.is_done() for cell in grid)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    for cell in grid:  # each was trained once: one start in the record of each that is trained
        starts = cell.folder / "provenance.yaml"
        assert not starts.exists() or len(list(yaml.safe_load_all(starts.read_text()))) == 1


def test_results_are_whole_or_not_there(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        cells_of.keep(tmp_path / "x", json.dumps([1]).encode())
    assert not (tmp_path / "x").exists()


def test_rows_may_differ_in_how_training_images_are_augmented(tmp_path):
    config = small(tmp_path) | {"data": {"name": "glyphs"}, "distortion": {"name": "noise_block"}}
    config["compare"]["rows"] = {
        name: {"memory": {"name": "no_memory"}, "data": {"augment": augment}}
        for name, augment in {"plain": False, "augmented": True}.items()
    }
    found = cells(config, {})
    assert {cell.config.data.config.augment for cell in found} == {False, True}
