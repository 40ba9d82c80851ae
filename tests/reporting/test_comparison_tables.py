import re

import numpy as np
import pytest

from lightning_ebm.reporting.comparison_tables import items_table, main_table, summary, terminal_tables
from tests.experiments import fakes
from tests.reporting.test_table import printed

# NumPy warns of the infinite error of the memory that diverged, which these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


@pytest.mark.parametrize("results", [fakes.sizes(), fakes.counts()])
def test_the_table_of_a_terminal_fits_and_shows_each_result(results):
    shown = printed(main_table(fakes.comparison(results), brief=True), width=80)
    assert max(len(line) for line in shown.splitlines()) <= 80
    for result in results:
        for errors in (result.error_corrupted, result.error):
            low, high = np.percentile(errors, [5, 95])
            if result.label == "Diverged":
                assert "not finite" in shown
            else:  # the band stands below the mean, so their order in the lines is checked
                assert f" {np.mean(errors):.2f}" in shown
                assert f"[{low:.2f}, {high:.2f}]" in shown
    assert "<script>" in shown  # shown as it is, not taken for markup


def texts(table, label):
    return next([cell.text for cell in row.cells[1:]] for row in table.rows if row.cells[0].text == label)


def test_tables_by_numbers_of_patterns_are_the_papers_table_1():
    made = fakes.comparison(fakes.counts())
    for mask_known in (False, True):
        table = items_table(made, mask_known)
        assert [column.head for column in table.columns] == ["memory", "16", "32", "runs"]
        assert texts(table, "EBMM") == ["1.00", "6.00", "—"] and texts(table, "EBMM, prior state")[0] == "24.00"
        best = {(row.cells[0].text, rank) for row in table.rows for rank, cell in enumerate(row.cells) if cell.best}
        assert best == {("EBMM", 1), ("Hopfield (Hebb)", 2)}
    on_all = terminal_tables(made)
    assert len(on_all) == 2 and texts(on_all[0], "EBMM") == ["1.50", "9.00"]  # without runs, for both masks
    results = [fakes.result("a", "a", 1.0), fakes.result("b", "b", 2.0, items=32)]
    table = items_table(fakes.comparison(results), False)  # what was not measured
    assert texts(table, "a")[:2] == ["1.000", "—"] and texts(table, "b")[:2] == ["—", "2.000"]


def test_markdown_table_has_one_line_for_each_result_and_no_html():
    results = fakes.counts()
    odd = fakes.result(fakes.NASTY + " | x\ny", "b", 9.0)
    lines = main_table(fakes.comparison([*results, odd])).markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(results) + 1
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert cells == {table[0].count("|")}
    assert not any("<script" in line for line in lines)
    low, high = np.percentile(results[0].error_corrupted, [5, 95])
    assert f"**1.00** \\[{low:.2f}, {high:.2f}\\]" in table[2]


def test_summary_of_one_setting_says_how_far_below_the_own_control():
    results = [*fakes.sizes(), fakes.result("EBMM, 2,000, prior state", "control", 25.0)]
    (paragraph,) = summary(fakes.comparison(results))
    assert "“EBMM, 2,000” had the least error on corrupted values: 2.00" in paragraph
    assert "12.5 times lower than the 25.00 of the control “EBMM, 2,000, prior state”" in paragraph
    assert "4,000 bits of state for each pattern" in paragraph
    assert "“MANN, 3,000” came closest with 5.00" in paragraph
    assert "In each of 2 to 40 test episodes, 4 memories (6 variants or sizes) stored 16 patterns" in paragraph
    assert "mask unknown" in paragraph and "not the best" not in paragraph


def test_summary_says_when_ebmm_is_not_the_best():
    results = [fakes.result("EBMM", "ebmm", 6.0), fakes.result("Other", "other", 2.0, 500), *fakes.controls()]
    (paragraph,) = summary(fakes.comparison(results))
    assert "EBMM was not the best: its least error was 6.00, 3.0 times as much" in paragraph
    assert "1,000 floats of state against 500" in paragraph


def test_summary_says_when_no_memory_beats_the_controls():
    (paragraph,) = summary(fakes.comparison([fakes.result("EBMM", "ebmm", 25.0), *fakes.controls()]))
    assert "no better than the 24.00 of the control “EBMM, prior state”" in paragraph


def test_summary_of_zero_error_and_of_nothing():
    (paragraph,) = summary(fakes.comparison([fakes.result("EBMM", "ebmm", 0.0), *fakes.controls()]))
    assert "against the 24.00 of the control" in paragraph
    assert summary(fakes.comparison(fakes.controls())) == ["No memory was compared."]
    (paragraph,) = summary(fakes.comparison([fakes.result("EBMM", "ebmm", 1.0, error_corrupted=[np.nan])]))
    assert paragraph.endswith("No memory had a finite error.")


def test_summary_of_several_settings_names_the_best_of_each():
    done, unknown, known = summary(fakes.comparison(fakes.counts()))
    assert "16 to 32 patterns" in done and "mask known and unknown" in done
    for paragraph, word in ((unknown, "unknown"), (known, "known")):
        assert paragraph.startswith(f"With the mask {word}")
        assert "“EBMM” with 16 patterns (1.00); “Hopfield (Hebb)” with 32 patterns (5.00)" in paragraph
        assert "EBMM was not the best with 32 patterns." in paragraph
