import dataclasses
import math

import pytest

from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError
from lightning_ebm.reporting.comparison_tables import error_table
from lightning_ebm.reporting.record import write_cells, write_csv
from lightning_ebm.reporting.summarise import write_summary
from tests.experiments import fakes

TASK = {"unit": "wrong bits of 128", "data": "bits", "distortion": "pixels (amount 64, fill noise)"}


def made(label, memory, means, items=16, floats=1000, **changes):
    """Results of several seeds, whose means on corrupted values are those given; on all values, 1.5 times as much."""
    return [
        fakes.result(
            label, memory, mean, floats, items=items, seed=seed, **(TASK | {"cell": f"{label}-{seed}"}), **changes
        )
        for seed, mean in enumerate(means)
    ]


def by_items():
    return [
        *made("EBMM_1", "ebmm", (1.0, 2.0, 3.0)),
        *made("EBMM_1", "ebmm", (5.0, 5.0, 5.0), items=32),
        *made("EBMM_1, prior state", "control", (0.5,)),
        *made("query itself", "control", (32.0, 32.0)),
        *made("Hop & field", "hopfield", (2.5,)),
        *made("Hop & field", "hopfield", (4.0,), items=32),
    ]


MARKDOWN = """\
bits, pixels (amount 64, fill noise), mask unknown: error on corrupted values (wrong bits of 128), mean over test \
episodes ± half the 95 % interval over seeds. Controls are in italics. Best in bold. Columns: patterns stored.

| memory | 16 | 32 |
| --- | ---: | ---: |
| EBMM\\_1 | **2.00 ± 2.48** | 5.00 ± 0.00 |
| Hop &amp; field | 2.50 | **4.00** |
| *EBMM\\_1, prior state* | *0.50* | — |
| *query itself* | *32.00* | — |
"""
LATEX = r"""\begin{table}
\centering
\caption{bits, pixels (amount 64, fill noise), mask unknown: error on corrupted values (wrong bits of 128), mean over test episodes $\pm$ half the 95 \% interval over seeds. Controls are in italics. Best in bold.}
\begin{tabular}{lrr}
\toprule
& \multicolumn{2}{c}{patterns stored} \\
\cmidrule(lr){2-3}
memory & 16 & 32 \\
\midrule
EBMM\_1 & \textbf{2.00 $\pm$ 2.48} & 5.00 $\pm$ 0.00 \\
Hop \& field & 2.50 & \textbf{4.00} \\
\textit{EBMM\_1, prior state} & \textit{0.50} & --- \\
\textit{query itself} & \textit{32.00} & --- \\
\bottomrule
\end{tabular}
\end{table}
"""  # noqa: E501


def written(paths, words):
    folder, _ = write_summary(paths, words)
    return (folder / "summary.md").read_text(encoding="utf-8")


def test_numbers_of_patterns_as_columns(tmp_path):
    # 2.48 is 4.303 (Student's t of two degrees of freedom) times the deviation, 1, over the root of 3 seeds
    assert 4.303 / math.sqrt(3) == pytest.approx(2.48, abs=0.005)
    write_cells(by_items(), tmp_path)
    folder, _ = write_summary([tmp_path])
    assert folder == tmp_path
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == MARKDOWN
    assert (tmp_path / "summary.tex").read_text(encoding="utf-8") == LATEX


def test_sizes_as_columns_and_a_memory_without_size_in_all_of_them(tmp_path):
    results = [
        *made("EBMM, small", "ebmm", (3.0,), series="EBMM"),
        *made("EBMM, large", "ebmm", (1.0,), series="EBMM", floats=8256),
        *made("MANN", "mann", (2.0,), series="MANN", floats=8256),
        *made("query itself", "control", (32.0, 32.0), series="query itself", floats=0),
    ]
    write_csv(results, tmp_path / "some.csv")
    text = written([tmp_path / "some.csv"], ["error=all"])
    assert text.splitlines()[2:] == [
        "| memory | 1,000 | 8,256 |",
        "| --- | ---: | ---: |",
        "| EBMM | **4.50** | **1.50** |",
        "| MANN | — | 3.00 |",
        "| *query itself* | *48.00* | *48.00* |",
    ]
    assert "error on all values" in text and "16 patterns, mask unknown" in text and "Columns: floats of state" in text


def test_published_rows_count_all_values_and_do_not_compete(tmp_path):
    write_cells(by_items(), tmp_path)
    text = written([tmp_path], ["paper_results=table1", f"output={tmp_path / 'out'}"])
    lines = text.splitlines()
    assert lines[2] == "| memory | 16 | 32 | 48 | 64 | 96 |"
    assert "| EBMM\\_1 | **3.00 ± 3.73** | 7.50 ± 0.00 | — | — | — |" in lines
    assert "| *EBMM, published* | *0.00* | *0.00* | *0.10* | *0.50* | *4.20* |" in lines
    assert "error on all values" in text and "mask not stated" in text
    assert (tmp_path / "out" / "summary.tex").exists()


def test_cells_in_several_files_count_once_and_tasks_have_tables_of_their_own(tmp_path):
    write_csv(by_items(), tmp_path / "one.csv")
    write_csv([dataclasses.replace(result, write_ms=9.0) for result in by_items()], tmp_path / "two.csv")
    write_csv([dataclasses.replace(result, mask_known=True) for result in by_items()], tmp_path / "three.csv")
    files = [tmp_path / f"{name}.csv" for name in ("one", "two", "three")]
    text = written(files, [])
    assert text == MARKDOWN + "\n" + MARKDOWN.replace("unknown", "known")


def test_two_runs_of_one_name_are_not_taken_for_seeds(tmp_path):
    results = by_items()
    write_csv([*results, dataclasses.replace(results[0], cell="other")], tmp_path / "cells.csv")
    with pytest.raises(ConfigError, match="'EBMM_1' of seed 0 was measured twice, in EBMM_1-0 and other"):
        write_summary([tmp_path])


def test_diverged_memories_and_nothing():
    rows = {"a": ("", {1: [math.nan]}), "b": ("", {1: [2.0, math.inf]}), "c": ("", {})}
    table = error_table("none.", "patterns stored", rows)
    assert [line.split(" | ")[1] for line in table.markdown().splitlines()[4:]] == ["not finite |"] * 2 + ["— |"]
    assert "a & not finite \\\\" in table.latex() and "c & --- \\\\" in table.latex()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["columns=rows"], "columns must be one of items, floats, got 'rows'"),
        (["error=some"], "error must be one of corrupted, all"),
        (["eror=all"], "Did you mean 'error'"),
        (["paper_results=table1", "error=corrupted"], "error must be all where paper_results is given"),
    ],
)
def test_wrong_settings_are_named(words, message):
    with pytest.raises(ConfigError, match=message):
        write_summary([], words)


def test_what_cannot_be_summarised_is_named(tmp_path, capsys):
    write_cells(by_items(), tmp_path)
    with pytest.raises(ConfigError, match="paper_results=figure3-cifar: needs columns=floats, got items"):
        write_summary([tmp_path], ["paper_results=figure3-cifar", "columns=items"])
    with pytest.raises(ConfigError, match="paper_results=figure3-omniglot: its errors are wrong pixels of 1024, and"):
        write_summary([tmp_path], ["paper_results=figure3-omniglot"])
    assert main(["summarise", "columns=items"]) == 1
    assert "summarise needs a cells.csv" in capsys.readouterr().out
    assert main(["summarise", str(tmp_path)]) == 0
    assert "2.00 ± 2.48" in capsys.readouterr().out
