import csv
import dataclasses

from lightning_ebm.reporting.figures.curves import learning_curves, read_curve
from lightning_ebm.reporting.report import write_report
from tests.experiments import fakes


def metrics(folder, start, lines):
    path = folder / "metrics" / f"version_{start}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text("epoch,step,train/loss,train/seconds,val/error\n" + "".join(f"0,{line}\n" for line in lines))


def test_a_curve_joins_all_starts_of_a_run(tmp_path):
    metrics(tmp_path, 0, ["49,3.5,,", "99,,2.5,8.0", "199,,5.0,4.0"])
    metrics(tmp_path, 10, ["299,,8.5,1.0"])
    metrics(tmp_path, 2, ["199,,5.5,3.0"])  # done again after a stop: the later start counts
    assert read_curve(tmp_path) == [(100, 2.5, 8.0), (200, 5.5, 3.0), (300, 8.5, 1.0)]


def test_a_row_cut_short_is_left_out(tmp_path):
    metrics(tmp_path, 0, ["99,,2.5,8.0", "199,,5.0,14.0"])
    path = tmp_path / "metrics" / "version_0" / "metrics.csv"
    path.write_text(path.read_text()[:-3])  # 14.0 would be read as 14, or as 1
    assert read_curve(tmp_path) == [(100, 2.5, 8.0)]


def test_no_metrics_no_points(tmp_path):
    assert read_curve(tmp_path) == []


def test_curves_are_written_and_drawn(tmp_path):
    curves = {"a": [(1, 0.5, 8.0), (2, 1.0, 0.0)]}
    write_report(dataclasses.replace(fakes.comparison(fakes.counts()), curves=curves), tmp_path)
    with (tmp_path / "learning_curves.csv").open() as file:
        assert list(csv.reader(file))[1:] == [["a", "1", "0.5", "8"], ["a", "2", "1", "0"]]
    left, right = learning_curves(curves, "wrong bits").axes
    (line,) = left.lines
    assert list(line.get_xdata()) == [1, 2]
    assert list(line.get_ydata()) == [8.0, 0.8]  # no error at all is drawn at a tenth of the least error
    assert list(right.lines[0].get_xdata()) == [0.5, 1.0]
