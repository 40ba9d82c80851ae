import re

import numpy as np
import pytest
from lightning_ebm.reporting.pages.summary import summary
from rich.console import Console

from lightning_ebm.reporting import tables
from tests.experiments import fakes

# NumPy warns of the infinite error of the memory that diverged, which these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


def text(table, width: int = 100) -> str:
    console = Console(width=width, record=True, file=None, quiet=False, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_settings_put_the_unknown_mask_first():
    assert tables.settings(fakes.counts()) == [(16, False), (32, False), (16, True), (32, True)]


def test_best_ignores_controls_and_diverged_memories_and_keeps_ties():
    results = fakes.sizes()
    assert [result.label for result in tables.best(results)] == ["EBMM, 2,000"]
    zeros = [fakes.result("a", "a", 0.0), fakes.result("b", "b", 0.0), fakes.result("c", "control", 0.0)]
    assert [result.label for result in tables.best(zeros)] == ["a", "b"]
    diverged = [result for result in results if result.label == "Diverged"]
    assert tables.best(diverged) == [] and tables.best([]) == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "—"), (0.01234, "0.0123"), (1.2, "1.20"), (12.34, "12.3"), (123456, "123,456"), (np.nan, "not finite")],
)
def test_short_numbers(value, shown):
    assert tables.short(value) == shown


def test_all_errors_have_the_same_decimals():
    assert tables.decimals(fakes.comparison(fakes.sizes())) == 2
    assert tables.decimals(fakes.comparison([fakes.result("a", "b", 0.004)])) == 6
    assert tables.decimals(fakes.comparison([fakes.result("a", "b", 0.0)])) == 2


@pytest.mark.parametrize("results", [fakes.sizes(), fakes.counts()])
def test_rich_table_fits_and_shows_each_result(results):
    shown = text(tables.rich_table(fakes.comparison(results)), width=80)
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


def test_labels_are_not_rich_markup():
    shown = text(tables.rich_table(fakes.comparison([fakes.result("[bold red]a[/]", "a", 1.0)])))
    assert "[bold red]a[/]" in shown


def test_wide_table_is_the_papers_table_1():
    results = fakes.counts()
    shown = text(tables.wide_table(fakes.comparison(results)))
    head = next(line for line in shown.splitlines() if line.startswith("memory"))
    assert head.split() == ["memory", "16", "32"]
    rows = [line.split()[-2:] for line in shown.splitlines() if line.startswith("EBMM ") and "nothing" not in line]
    assert rows == [["1.00", "6.00"], ["1.00", "6.00"]]  # one row for each mask setting
    everywhere = text(tables.wide_table(fakes.comparison(results), measure="error"))
    assert "1.50" in everywhere and "9.00" in everywhere


def test_wide_table_marks_what_was_not_measured():
    results = [fakes.result("a", "a", 1.0), fakes.result("b", "b", 2.0, items=32)]
    shown = text(tables.wide_table(fakes.comparison(results)))
    assert re.search(r"a +1\.000? +—", shown) and re.search(r"b +— +2\.000?", shown)


def test_markdown_table_has_one_line_for_each_result_and_no_html():
    results = fakes.counts()
    lines = tables.markdown_table(
        fakes.comparison([*results, fakes.result(fakes.NASTY + " | x\ny", "b", 9.0)])
    ).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(results) + 1
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert cells == {table[0].count("|")}
    assert not any("<script" in line for line in lines)
    low, high = np.percentile(results[0].error_corrupted, [5, 95])
    assert f"**1.00 [{low:.2f}, {high:.2f}]**" in table[2]


def test_summary_of_one_setting_says_how_far_below_the_own_control():
    results = [*fakes.sizes(), fakes.result("EBMM, 2,000, nothing written", "control", 25.0)]
    (paragraph,) = summary(fakes.comparison(results))
    assert "“EBMM, 2,000” had the least error on corrupted values: 2.00" in paragraph
    assert "12.5 times lower than the 25.00 of the control “EBMM, 2,000, nothing written”" in paragraph
    assert "4,000 bits of state for each pattern" in paragraph
    assert "“MANN, 3,000” came closest with 5.00" in paragraph
    assert "In each of 2 to 40 test episodes, 4 memories (6 variants or sizes) stored 16 patterns" in paragraph
    assert "not told which values were corrupted" in paragraph and "not the best" not in paragraph


def test_summary_says_when_ebmm_is_not_the_best():
    results = [fakes.result("EBMM", "ebmm", 6.0), fakes.result("Other", "other", 2.0, 500), *fakes.controls()]
    (paragraph,) = summary(fakes.comparison(results))
    assert "EBMM was not the best: its least error was 6.00, 3.0 times as much" in paragraph
    assert "1,000 floats of state against 500" in paragraph


def test_summary_says_when_no_memory_beats_the_controls():
    (paragraph,) = summary(fakes.comparison([fakes.result("EBMM", "ebmm", 25.0), *fakes.controls()]))
    assert "no better than the 24.00 of the control “EBMM, nothing written”" in paragraph


def test_summary_of_zero_error_and_of_nothing():
    (paragraph,) = summary(fakes.comparison([fakes.result("EBMM", "ebmm", 0.0), *fakes.controls()]))
    assert "against the 24.00 of the control" in paragraph
    assert summary(fakes.comparison(fakes.controls())) == ["No memory was compared."]
    (paragraph,) = summary(fakes.comparison([fakes.result("EBMM", "ebmm", 1.0, error_corrupted=[np.nan])]))
    assert paragraph.endswith("No memory had a finite error.")


def test_summary_of_several_settings_names_the_best_of_each():
    done, unknown, known = summary(fakes.comparison(fakes.counts()))
    assert "16 to 32 patterns" in done and "both told and not told" in done
    for paragraph, word in ((unknown, "unknown"), (known, "known")):
        assert paragraph.startswith(f"With the mask {word}")
        assert "“EBMM” with 16 patterns (1.00); “Hopfield (Hebb)” with 32 patterns (5.00)" in paragraph
        assert "EBMM was not the best with 32 patterns." in paragraph
