import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from lightning_ebm import pretrained
from lightning_ebm.config import ConfigError
from lightning_ebm.reporting.record import (
    COLUMNS,
    EXACT,
    PRIOR,
    QUERY,
    Record,
    best,
    by_setting,
    mean_and_band,
    pooled,
    read_csv,
    row,
    spread,
    students_t,
    write_cells,
    write_csv,
)
from tests.experiments import fakes
from tests.tables import rows_of

RESULTS = Path(__file__).parents[2] / "results"


def test_band_is_numpys_percentiles():
    values = fakes.errors(3.0, episodes=101)
    expected = (np.mean(values), np.percentile(values, 5), np.percentile(values, 95))
    np.testing.assert_allclose(mean_and_band(values), expected)
    assert mean_and_band([2.0]) == (2.0, 2.0, 2.0)
    assert np.isnan(mean_and_band([1.0, np.nan])).all()  # a memory that diverged


def test_students_t_is_scipys_for_any_number_of_seeds():
    for freedom in (*range(1, 41), 99, 100, 1000):
        for probability in (0.5, 0.95, 0.999):
            expected = scipy.stats.t.ppf((1 + probability) / 2, freedom)
            assert students_t(freedom, probability) == pytest.approx(expected, rel=1e-9)
    assert spread([0.0] * 10 + [11.0]) == pytest.approx(2.228 * math.sqrt(11.0) / math.sqrt(11), rel=1e-3)
    assert math.isnan(spread([1.0]))


def test_pooled_seeds_are_one_row_whose_interval_is_students():
    made = [fakes.result("EBMM", "ebmm", mean, seed=seed, ssim=mean / 10) for seed, mean in enumerate((2.0, 3.0, 4.0))]
    (one,) = pooled(made)
    assert (one.seeds, one.episodes) == (3, 120)
    assert one.mean() == pytest.approx(3.0) and one.ssim == pytest.approx(0.3)
    assert one.spread() == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)  # t of 2, standard deviation 1
    assert math.isnan(made[0].spread())
    assert len(pooled([*made, dataclasses.replace(made[0], distortion="other")])) == 2


def test_a_file_holds_every_field_and_what_is_derived():
    made = fakes.result("label", "name", 2.0)
    flat = row(made)
    assert tuple(flat) == COLUMNS
    for field in dataclasses.fields(Record):
        if field.name not in ("error", "error_corrupted"):
            assert flat[field.name] == getattr(made, field.name)
    assert flat["error_mean"] == pytest.approx(3.0) and flat["corrupted_mean"] == pytest.approx(2.0)
    assert flat["psnr"] == pytest.approx(20.0)  # of a mean squared error of 0.01
    assert flat["episodes"] == 40 and flat["bits_per_pattern"] == 1000 * 32 / 16


def test_csv_round_trip(tmp_path):
    records = fakes.sizes()
    write_cells(records, tmp_path)
    lines = rows_of(tmp_path / "cells.csv")
    for line, back, record in zip(lines, read_csv(tmp_path / "cells.csv"), records, strict=True):
        expected = [np.mean(record.error_corrupted), *np.percentile(record.error_corrupted, [5, 95])]
        found = [float(line[f"corrupted_{name}"]) for name in ("mean", "p5", "p95")]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose(back.mean(), record.mean(), rtol=1e-5)
        means = {"error": back.error, "error_corrupted": back.error_corrupted}
        assert back == dataclasses.replace(record, **means)


def test_json_round_trip_also_of_what_older_versions_wrote():
    made = fakes.result("a", "ebmm", 1.0, ssim=math.inf)
    assert Record.from_plain(json.loads(json.dumps(made.to_plain()))) == made
    for name in pretrained.names():
        records = [Record.from_plain(fields) for fields in pretrained.read(name).rows]
        roles = [record.role for record in records]
        assert roles[: roles.index(QUERY) + 1] in (["", PRIOR, QUERY], ["", PRIOR, EXACT, QUERY])
    older = made.to_plain() | {"role": PRIOR}
    for name in ("label", "series", "cell", "seeds"):
        del older[name]
    assert Record.from_plain(older).role == PRIOR
    with pytest.raises(TypeError, match="colour"):
        Record.from_plain(older | {"colour": 1})


def test_all_published_results_can_be_read():
    files = sorted(RESULTS.glob("**/cells.csv"))
    assert len(files) >= 9
    for path in files:
        records = read_csv(path)
        assert {record.role for record in records} == {"", PRIOR, QUERY}
        for line, record in zip(rows_of(path), records, strict=True):
            assert (record.label, str(record.mask_known)) == (line["label"], line["mask_known"])
            assert [record.mean("error")] == [float(line["error_mean"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot read .*cells\.csv: No such file"),
        (b"label,memory\na,b\n", r"must be a cells\.csv with the columns cell, corrupted_mean"),
        (b"", r"must be a cells\.csv"),
        (b"\xff\xfe\x00", "cannot read"),
        ("cut", r"must be a cells\.csv"),
        ("items=many", r"cells\.csv, line 3: invalid literal for int\(\) with base 10: 'many'"),
        ("items=-3", r"cells\.csv, line 3: items must be at least 1 and floats at least 0, got -3"),
        ("mask_known=maybe", r"cells\.csv, line 3: mask_known must be true or false, got 'maybe'"),
    ],
)
def test_files_that_are_none_are_named(tmp_path, content, message):
    path = tmp_path / "cells.csv"
    write_csv(fakes.controls(), path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif isinstance(content, str):
        change(path, *content.split("="))
    elif content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_csv(path)


def change(path, column, text):
    """Writes text into a column of the second record."""
    lines = rows_of(path)
    lines[1][column] = text
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)


@pytest.mark.parametrize("text", ["TRUE", "true", "yes", "1"])
def test_a_spreadsheet_may_write_true_in_its_way(tmp_path, text):
    path = tmp_path / "cells.csv"
    write_csv(fakes.controls(), path)
    change(path, "mask_known", text)
    assert [record.mask_known for record in read_csv(path)][1]


def test_settings_put_the_unknown_mask_first():
    groups = by_setting(fakes.counts())
    assert list(groups) == [(16, False), (32, False), (16, True), (32, True)]
    assert groups[32, True] == fakes.counts()[-6:]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_best_ignores_controls_and_diverged_memories_and_keeps_ties():
    records = fakes.sizes()
    assert [record.label for record in best(records)] == ["EBMM, 2,000"]
    zeros = [fakes.result("a", "a", 0.0), fakes.result("b", "b", 0.0), fakes.result("c", "control", 0.0)]
    assert [record.label for record in best(zeros)] == ["a", "b"]
    diverged = [record for record in records if record.label == "Diverged"]
    assert best(diverged) == [] and best([]) == []
