import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from lightning_ebm.config import ConfigError
from lightning_ebm.experiments.compare import compare
from lightning_ebm.memory import PatternSpec
from lightning_ebm.metrics import unit
from lightning_ebm.reporting.comparison_tables import items_table, main_table, terminal_tables
from lightning_ebm.reporting.figures.errors import error_against_items, error_against_size
from lightning_ebm.reporting.published import FOLDER, NAMES, published
from tests.experiments import fakes
from tests.reporting.test_report import Page
from tests.tables import rows_of

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # a memory diverged


def with_published(results, name):
    return dataclasses.replace(fakes.comparison(results), published=published(name))


def test_the_paper_s_numbers():
    table = published("table1")
    assert table.axis == "items" and len(table.lines) == 8
    assert [mean for _, mean, _, _ in table.lines["EBMM"]] == [0.0, 0.0, 0.1, 0.5, 4.2]
    figure = published("figure3-omniglot")
    assert figure.axis == "floats" and figure.items == 64
    assert figure.lines["EBMM conv"][0] == (2308, 19.07, 14.42, 28.23)
    assert all(size % 1154 == 0 for size, *_ in figure.lines["EBMM conv"])  # appendix: 1154 values for each channel
    first = figure.lines["MANN"][0]
    assert first[0] == 1152 and math.isnan(first[1])  # the mean lies outside of the plot
    assert set(published("figure3-cifar").lines) == {"EBMM conv", "MANN", "MemNet"}
    points = [one for name in ("figure3-omniglot", "figure3-cifar") for one in published(name).lines.values()]
    assert len(rows_of(FOLDER / "figure3.csv")) == sum(map(len, points))


def test_numbers_of_one_s_own(tmp_path):
    file = tmp_path / "other.csv"
    file.write_text("memory,8,16\nMine,1.5,\n")
    found = published(str(file))
    assert found.lines["Mine"][0][:2] == (8, 1.5) and math.isnan(found.lines["Mine"][1][1])
    file.write_text("dataset,memory,memory_size,error_mean,error_p5,error_p95\na,M,20,1,0,2\na,M,10,3,1,4\n")
    assert published(str(file)).lines == {"M": [(10, 3.0, 1.0, 4.0), (20, 1.0, 0.0, 2.0)]}
    assert published(str(file)).items == 0 and published(str(file)).source == "other.csv"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("", "cannot read"),
        ("memory,a\nM,3\n", "the columns of .* must be dataset,memory,memory_size"),
        ("memory,8\nM,many\n", "could not convert string to float: 'many'"),
        ("memory,8\nM,1,2\n", "other.csv"),
        (f"memory,8\n{'M' * 200_000},1\n", "field larger than field limit"),
        ("dataset,memory,memory_size,error_mean,error_p5,error_p95\na,M,0,1,0,2\n", "memory_size must be at least 1"),
        ("dataset,memory,memory_size,error_mean,error_p5,error_p95\na,M,1,1,0,2\nb,M,1,1,0,2\n", "one data set only"),
    ],
)
def test_wrong_files_are_named(tmp_path, content, message):
    file = tmp_path / "other.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=message):
        published(str(file))


def test_a_wrong_name_lists_the_right_ones():
    with pytest.raises(ValueError, match=r"must be one of figure3-omniglot, figure3-cifar, table1"):
        published("figure4")
    assert Path(FOLDER / "README.md").read_text().count("arXiv:1910.02720") == 1 and len(NAMES) == 3


def test_lines_over_sizes_are_laid_over_the_error_on_all_values_only():
    comparison = with_published(fakes.sizes(), "figure3-omniglot")
    (axes,) = error_against_size(comparison, measure="error").axes
    drawn = {tuple(line.get_xdata()): line for line in axes.get_lines()}
    line = drawn[2308, 3462, 4616, 9232, 11540, 13848, 16156]
    np.testing.assert_allclose(line.get_ydata(), [19.07, 12.05, 9.25, 4.06, 3.18, 2.32, 1.89])
    assert line.get_linewidth() < 1 and line.get_linestyle() != "-"
    ours = next(line for line in axes.get_lines() if list(line.get_xdata()) == [1000, 2000])
    np.testing.assert_allclose(ours.get_ydata(), [6.0, 3.0])  # fakes: 1.5 times the error on corrupted values
    assert axes.get_xlim()[1] > 17408 and "error on all values" in axes.get_ylabel()
    names = [label.get_text() for label in axes.figure.legends[0].get_texts()]
    assert "EBMM conv, published" in names and "MANN" in names
    (corrupted,) = error_against_size(comparison).axes
    assert not any(len(line.get_xdata()) == 7 for line in corrupted.get_lines())


def test_ratios_to_the_published_are_read_off_unless_an_error_is_zero():
    results = [dataclasses.replace(result, error=[max(e, 0.1) for e in result.error]) for result in fakes.sizes()]
    (axes,) = error_against_size(with_published(results, "figure3-omniglot"), measure="error").axes
    assert axes.get_yscale() == "log" and 0 < axes.get_ylim()[0] < 1.89
    assert error_against_size(fakes.comparison(results), measure="error").axes[0].get_yscale() == "linear"
    results[0].error[:] = [0.0] * (len(results[0].error) - 1) + [8.0]  # its 5th percentile is 0, its mean is not
    (axes,) = error_against_size(with_published(results, "figure3-omniglot"), measure="error").axes
    assert axes.get_yscale() == "log" and 0.05 < axes.get_ylim()[0] < 8 / len(results[0].error)
    results[0].error[:] = [0.0] * len(results[0].error)
    (axes,) = error_against_size(with_published(results, "figure3-omniglot"), measure="error").axes
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] < 0


def test_lines_over_numbers_of_patterns():
    comparison = with_published(fakes.counts(), "table1")
    figure = error_against_items(comparison, "error")
    assert {"EBMM", "EBMM, published"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    for axes in figure.axes:
        lines = [line for line in axes.get_lines() if list(line.get_xdata()) == [16, 32, 48, 64, 96]]
        assert len(lines) == 8
        assert list(axes.get_xticks()) == [16, 32, 48, 64, 96]
    assert all(len(line.get_xdata()) < 5 for axes in error_against_items(comparison).axes for line in axes.get_lines())


def test_rows_in_a_terminal_do_not_compete():
    comparison = with_published(fakes.counts(), "table1")
    table = terminal_tables(comparison)[0]
    row = next(row for row in table.rows if row.cells[0].text == "Hopfield (Hebb), published")
    assert row.kind == "published" and [cell.text for cell in row.cells[1:]] == ["0.40", "5.00"]
    assert not any(cell.best for cell in row.cells) and "whether the mask was known is not stated" in table.caption
    assert not any(row.kind == "published" for row in items_table(comparison, False).rows)  # on corrupted values


def test_rows_of_the_html_tables():
    comparison = with_published(fakes.sizes(), "figure3-omniglot")
    table = main_table(comparison)
    html = str(table.html())
    head, *rows = Page(html).tables[0]
    assert {len(row) for row in rows} == {len(head)} and "These errors are on all values" in table.caption
    found = next(row for row in rows if row[0][1] == "EBMM conv, published")
    assert [value for value, _ in found[:5]] == ["EBMM conv, published", "", "19.07", "2308", "1154.0"]
    assert "[14.42, 28.23]" in found[2][1]
    assert html.count('class="best"') == 1  # of one's own
    comparison = with_published(fakes.counts(), "table1")
    html = str(items_table(comparison, False, "error").html())
    rows = {row[0][1]: [value for value, _ in row[1:]] for row in Page(html).tables[0]}
    assert rows["EBMM, published"] == ["0.0", "0.0", ""] and float(rows["EBMM"][0]) == pytest.approx(1.5)
    several = [*fakes.sizes(), fakes.result("x", "x", 1.0, items=32)]
    html = str(main_table(with_published(several, "figure3-omniglot")).html())
    rows = Page(html).tables[0]
    found = next(row for row in rows if row[0][1] == "EBMM conv, published")
    assert [value for value, _ in found[:3]] == ["EBMM conv, published", "64", "not stated"]
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("figure4", "must be one of figure3-omniglot"),
        ("figure3-omniglot", "its errors are wrong pixels of 1024, and these are wrong bits of 16$"),
    ],
)
def test_numbers_of_other_patterns_are_not_laid_over(tmp_path, name, message):
    """A mistake, found before anything is trained."""
    task = {"data": {"name": "bits", "size": "16"}, "distortion": {"name": "pixels", "amount": "8"}}
    with pytest.raises(ConfigError, match=f"^compare.paper_results: {message}"):
        compare({**task, "output": str(tmp_path), "memory": "hopfield", "compare": {"paper_results": name}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("figure3-omniglot", PatternSpec((1, 32, 32), True)),
        ("figure3-cifar", PatternSpec((3, 32, 32), False)),
        ("table1", PatternSpec((128,), True)),
    ],
)
def test_units_are_those_of_such_patterns(name, spec):
    assert published(name).unit == unit(spec)
