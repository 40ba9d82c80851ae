"""More patterns than trained on, with memories whose errors are known."""

import csv

import numpy as np

from lightning_ebm.cli import main
from lightning_ebm.experiments.analyses.capacity import Capacity
from tests.experiments.analyses.runs import bits_run


def test_hopfields_error_is_that_of_a_comparison_and_grows():
    answer = Capacity([16, 2]).result({"Hopfield": bits_run("hopfield")})
    few, many = (next(row for row in answer.rows if row[2] == items) for items in (2, 16))
    assert few[3] == 0 and few[6] == 1  # two patterns of 32 bits are recalled exactly
    assert many[3] > 2 and many[6] < 0.5
    assert many[4] <= many[3] <= many[5]
    (axes,) = answer.figure(False).axes
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[2, few[3]], [16, many[3]]])


def test_the_command_writes_table_and_figure(tmp_path, capsys):
    words = [
        "configs/debug.yaml",
        f"output={tmp_path}",
        "memory=hopfield",
        "analysis=capacity",
        "analysis.patterns_per_episode=[2,3]",
    ]
    assert main(["analyse", *words]) == 0
    assert "More patterns than trained on" in capsys.readouterr().out
    folder = tmp_path / "analysis-debug-capacity"
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["memory"], row["trained on"], row["stored"]) for row in rows] == [("Hopfield", "4", n) for n in "23"]
    assert "lightning-ebm" in (folder / "table.md").read_text()
    assert (folder / "figure.png").stat().st_size > 5000 and (folder / "about.json").exists()
