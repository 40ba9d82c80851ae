import csv
import dataclasses

import numpy as np
import pytest

from lightning_ebm.reporting.record import COLUMNS, Result, mean_and_band, row, write_csv
from tests.experiments import fakes


def test_band_is_numpys_percentiles():
    values = fakes.errors(3.0, episodes=101)
    expected = (np.mean(values), np.percentile(values, 5), np.percentile(values, 95))
    np.testing.assert_allclose(mean_and_band(values), expected)
    assert mean_and_band([2.0]) == (2.0, 2.0, 2.0)


def test_band_of_a_diverged_memory_is_not_a_number():
    assert np.isnan(mean_and_band([1.0, np.nan])).all()


def test_bits_per_pattern():
    assert fakes.result("a", "b", 1.0, floats=8256).bits_per_pattern == 8256 * 32 / 16


def test_row_holds_every_field_of_a_result():
    made = fakes.result("label", "name", 2.0)
    flat = row(made)
    assert tuple(flat) == COLUMNS
    for field in dataclasses.fields(Result):
        if field.name not in {"error", "error_corrupted", "error_by_seed", "corrupted_by_seed", "mse"}:
            assert flat[field.name] == getattr(made, field.name)
    assert flat["error_mean"] == pytest.approx(3.0) and flat["corrupted_mean"] == pytest.approx(2.0)
    assert flat["psnr"] == pytest.approx(20.0)  # of a mean squared error of 0.01
    assert flat["episodes"] == len(made.error)


def test_csv_round_trip(tmp_path):
    results = fakes.sizes()
    write_csv(results, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines] == [result.label for result in results]
    for line, result in zip(lines, results, strict=True):
        assert int(line["floats_strict"]) == result.floats_strict
        assert line["mask_known"] == str(result.mask_known)
        expected = [np.mean(result.error_corrupted), *np.percentile(result.error_corrupted, [5, 95])]
        found = [float(line[f"corrupted_{name}"]) for name in ("mean", "p5", "p95")]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
