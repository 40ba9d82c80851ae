"""The grid of a comparison: its experiments, and that each is done once, whatever happens to the process."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError, read, resolve
from lightning_ebm.experiments import experiment
from lightning_ebm.experiments.compare import compare
from lightning_ebm.experiments.executor import UnfinishedError
from lightning_ebm.experiments.experiment import run_experiments
from lightning_ebm.experiments.grid import grid
from tests.tables import rows_of

BROKEN = {"memory": {"name": "ebmm", "energy": "resnet_conv"}}
"""A row that fails only when its memory is built: its net takes images, and the patterns are bits."""
FAILURE = "memory: energy.channels needs images with sides divisible by 8, got (16,)"


def small(tmp_path, **compare):
    """Two memories on bits that train in a moment: one in two sizes, two seeds, two precisions."""
    return {
        "output": str(tmp_path),
        "data": {"name": "bits", "size": 16},
        "distortion": {"name": "pixels", "amount": 8},
        "episodes": {"patterns_per_episode": 3, "batch": 2, "val": 2, "test": 4},
        "training": {"max_steps": 2, "warmup_steps": 0, "validate_every": 2, "log_images": False},
        "compare": {
            "gallery": 2,
            "seeds": [0, 1],
            "precisions": ["float32", "int4"],
            "rows": {
                "Mixture": {
                    "memory": {"name": "ebmm", "energy": {"name": "mixture"}},
                    "sizes": {f"{n} rows": {"memory": {"energy": {"slots": n}}} for n in (2, 4)},
                },
                "Hopfield": {"memory": {"name": "hopfield"}},
            },
            **compare,
        },
    }


def test_experiments_are_rows_times_sizes_times_variations_times_seeds(tmp_path):
    vary = {"bits": {"few": {"distortion": {"amount": 2}}, "many": {"distortion": {"amount": 12}}}}
    found = grid(small(tmp_path, vary=vary))
    assert [(one.label, one.series, one.variation, one.config.seed) for one in found] == [
        (label, series, variation, seed)
        for label, series in (("Mixture, 2 rows", "Mixture"), ("Mixture, 4 rows", "Mixture"), ("Hopfield", "Hopfield"))
        for variation in ("few", "many")
        for seed in (0, 1)
    ]
    assert {one.config.distortion.config.amount for one in found if one.variation == "few"} == {2}
    assert len({one.folder for one in found}) == len(found)
    assert [one.label for one in grid(small(tmp_path), {"memory": "hop*"})] == ["Hopfield"] * 2


def test_rows_sizes_and_variations_may_name_a_recipe(tmp_path):
    paper = resolve(read({"recipe": "paper"})).training.learning_rate
    recipe = {"recipe": "paper"}
    for row, vary in ((recipe, {}), ({"sizes": {"a": recipe}}, {}), ({}, {"schedule": {"paper": recipe}})):
        (found,) = grid(small(tmp_path, rows={"row": row}, vary=vary, seeds=[]))
        assert found.config.training.learning_rate == paper != resolve({}).training.learning_rate


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        ({"rows": {"a": {"sizes": {"b": 3}}}}, r"compare\.rows\.a\.sizes\.b must hold keys and values, got 3"),
        ({"rows": {"a": {"sizes": [3]}}}, r"compare\.rows\.a\.sizes must hold keys and values, got \[3\]"),
        ({"vary": {"noise": {"b": 3}}}, r"compare\.vary\.noise must map labels to keys and values"),
        ({"vary": {"noise": {"<1": {}, ">1": {}}}}, r"compare\.vary\.noise: labels must differ .* got <1, >1"),
        ({"rows": {"a": {"compare": {"seeds": [3]}}}}, r"compare\.rows\.a must not hold compare, which is the same"),
        (
            {"rows": {"a": {"sizes": {"b": {"analysis": "basin"}}}}},
            r"compare\.rows\.a\.sizes\.b must not hold analysis",
        ),
        ({"vary": {"noise": {}}}, r"compare\.vary\.noise must map labels to keys and values, got \{\}"),
        ({"vary": {"noise": {"b": {"analysis": "basin"}}}}, r"compare\.vary\.noise must not hold analysis"),
        ({"rows": {"a": {"seed": 3}}}, r"compare\.rows\.a: seed must not be given, as compare\.seeds has"),
        ({"vary": {"v": {"b": {"seed": 3}}}}, r"seed must not be given, as compare\.seeds has"),
        (
            {"rows": {"a": {"sizes": {"b": {}}}, "a, b": {"memory": "hopfield"}}},
            r"compare\.rows: two rows are called 'a, b'",
        ),
        ({"rows": {"query itself": {}}}, r"compare\.rows: 'query itself' is the name of a control"),
        ({"rows": {"a, prior state": {}}}, r"compare\.rows: 'a, prior state' is the name of a control"),
        ({"seeds": [0, -1]}, r"compare\.seeds must be at least 0 and at most 4294967295, got \[0, -1\]"),
        ({"precisions": ["int5"]}, r"compare\.precisions must be one of float32, float16, int8, int4, got \['int5'\]"),
        ({"jobs": -1}, r"compare\.jobs must be at least 0"),
        ({"executor": "pbs"}, r"compare\.executor must be one of local, slurm, got 'pbs'"),
    ],
)
def test_mistakes_are_named(tmp_path, compare, message):
    with pytest.raises(ConfigError, match=message):
        grid(small(tmp_path, **compare))


def test_seeds_and_variations_without_rows(tmp_path):
    vary = {"bits": {"few": {"distortion": {"amount": 2}}, "many": {"distortion": {"amount": 12}}}}
    found = grid(small(tmp_path, rows={}, vary=vary), {"memory": "hopfield"})
    assert [(one.label, one.variation, one.config.seed) for one in found] == [
        ("hopfield", variation, seed) for variation in ("few", "many") for seed in (0, 1)
    ]
    (alone,) = grid(small(tmp_path, rows={}, seeds=[]), {"memory": "hopfield", "name": "mine"})
    assert alone.config == resolve(read(small(tmp_path, rows={}, seeds=[]), {"memory": "hopfield", "name": "mine"}))
    with pytest.raises(ConfigError, match=r"^seed must not be given"):
        grid(small(tmp_path, rows={}), {"seed": 3})


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    experiments = grid(small(tmp_path))
    assert run_experiments(experiments) == {}
    found = [one.results() for one in experiments]

    def never(*_args, **_options):
        raise AssertionError("redone")

    monkeypatch.setattr(experiment, "build", never)
    assert run_experiments(experiments) == {}
    assert [one.results() for one in experiments] == found
    lost = experiments[0].path(experiments[0].settings()[1])
    lost.unlink()
    assert run_experiments(experiments) == {0: "AssertionError: redone"}


def test_records_floats_equal_a_recount_and_bits_know_the_precision(tmp_path, capsys):
    """From Python: records are returned, the report is written, and nothing is printed."""
    records = compare({"name": "A grid", **small(tmp_path)})
    assert capsys.readouterr().out == ""
    assert (tmp_path / "compare-a-grid" / "report.html").exists()
    by_label = {(record.label, record.seed): record for record in records}
    for seed, (label, rows) in itertools.product((0, 1), (("Mixture, 2 rows", 2), ("Mixture, 4 rows", 4))):
        exact, rounded = by_label[label, seed], by_label[f"{label}, int4", seed]
        assert exact.floats == rows * 17 == rounded.floats
        assert exact.bits == rows * 17 * 32
        assert rounded.bits == rows * 17 * 4 + 2 * 32  # weights and biases, each with a scale
        assert rounded.series == "Mixture, int4"
        assert len(exact.error) == 4
    assert by_label["Hopfield", 0].floats == 16 * 15 // 2
    state = experiment.build(grid(small(tmp_path))[0].config).memory.write(torch.rand(3, 2, 16).round())
    assert by_label["Mixture, 2 rows", 0].floats == sum(tensor[0].numel() for tensor in state.values())
    rows = [row["label"] for row in rows_of(tmp_path / "compare-a-grid" / "results.csv")]
    assert rows.count("query itself") == 1 and rows.count("Mixture, 2 rows") == 1  # seeds pooled


def test_where_there_is_no_state_there_is_nothing_to_round(tmp_path):
    plain = small(tmp_path, seeds=[], rows={"No memory": {"memory": {"name": "no_memory"}}})
    assert [record.label for record in compare(plain)] == ["No memory", "query itself"]
    assert all(one.is_done() for one in grid(plain))


def test_an_experiment_that_fails_does_not_stop_the_others(tmp_path, capsys):
    plain = small(tmp_path, seeds=[], precisions=["float32"])
    plain["compare"]["rows"]["broken"] = BROKEN
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(plain))
    assert main(["compare", str(path)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert f"broken, seed 0: failed: {FAILURE}" in printed
    assert printed.endswith("error: not finished, see above and log.txt in the run's folder: broken")
    folder = tmp_path / "compare-grid"
    assert {row["memory"] for row in rows_of(folder / "cells.csv")} == {"ebmm", "hopfield", "control"}
    with pytest.raises(UnfinishedError, match="broken") as error:
        compare(path)
    assert {record.memory for record in error.value.found} == {"ebmm", "hopfield", "control"}
    assert f"<dt>broken</dt><dd>{FAILURE}" in (folder / "report.html").read_text()


def test_of_several_seeds_those_that_fail_are_named(tmp_path):
    rows = {"Hopfield": {"memory": {"name": "hopfield"}}, "broken": BROKEN}
    with pytest.raises(UnfinishedError, match="broken, seed 1, broken, seed 2"):
        compare(small(tmp_path, seeds=[1, 2], precisions=["float32"], rows=rows))


def test_in_a_file_each_experiment_that_ends_in_its_own_process_is_a_line(tmp_path, capsys):
    rows = {"Hopfield": {"memory": {"name": "hopfield"}}, "broken": BROKEN}
    plain = small(tmp_path, seeds=[], precisions=["float32"], rows=rows)
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(plain))
    assert main(["compare", str(path), "compare.jobs=2"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert re.search(r"Hopfield, seed 0: done \([12] of 2, \d+ s\)", printed)
    assert re.search(rf"broken, seed 0: failed: {re.escape(FAILURE)}.* \([12] of 2, \d+ s\)", printed)
    assert "running" not in printed  # what a terminal would show in the meantime


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_redoes_nothing(tmp_path):
    """Two processes at a time; the comparison is killed, its children are not and end their experiments alone."""
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
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/results/*") if "partial" not in path.name}
    assert done
    assert subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    experiments = grid(path)
    assert all(one.is_done() for one in experiments)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    for one in experiments:  # each was trained once: one start in the record of each that is trained
        starts = one.folder / "provenance.yaml"
        assert not starts.exists() or len(list(yaml.safe_load_all(starts.read_text()))) == 1


def test_experiments_that_share_a_training_share_a_process(tmp_path):
    """Variations of the test's distortion: one folder, one training. One that fails does not stop the others."""
    amounts = {"few": 2, "too many": 99, "many": 12}
    vary = {"noise": {n: {"test_distortion": {"name": "pixels", "amount": k}} for n, k in amounts.items()}}
    rows = {"Mixture": {"memory": {"name": "ebmm", "energy": {"name": "mixture", "slots": 2}}}}
    plain = small(tmp_path, seeds=[], precisions=["float32"], vary=vary, jobs=2, rows=rows)
    experiments = grid(plain)
    assert len({one.folder for one in experiments}) == 1
    failed = run_experiments(experiments)
    assert list(failed) == [1] and "amount must" in failed[1]
    assert [one.is_done() for one in experiments] == [True, False, True]
    starts = experiments[0].folder / "provenance.yaml"
    assert len(list(yaml.safe_load_all(starts.read_text()))) == 1
    few, many = (experiments[place].results()[-1].mean() for place in (0, 2))
    assert few < many  # the query itself


def test_rows_may_differ_in_how_training_images_are_augmented(tmp_path):
    rows = {str(augment): {"memory": {"name": "no_memory"}, "data": {"augment": augment}} for augment in (False, True)}
    config = small(tmp_path, rows=rows) | {"data": {"name": "glyphs"}, "distortion": {"name": "block"}}
    assert {one.config.data.config.augment for one in grid(config)} == {False, True}
