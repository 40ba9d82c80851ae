import dataclasses
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import matplotlib
import numpy as np
import pytest

from lightning_ebm.reporting.figures import style
from lightning_ebm.reporting.figures.errors import error_against_items, error_against_size, error_lines, looks
from lightning_ebm.reporting.figures.strips import (
    as_picture,
    contact_sheet,
    grid,
    mosaic,
    read_path,
    recall_gallery,
    shown_steps,
)
from lightning_ebm.reporting.record import Recall, has_size_sweep
from tests.experiments import fakes


def lines(axes) -> dict[str, np.ndarray]:
    """Drawn lines by the colour and marker that tell them apart; their data, (points, 2)."""
    return {line.get_label(): np.column_stack(line.get_data()).astype(float) for line in axes.get_lines()}


def bars(axes) -> list[np.ndarray]:
    return [np.array(segment) for collection in axes.collections for segment in collection.get_segments()]


def test_error_against_size_joins_sizes_and_draws_means_and_bands():
    results = fakes.sizes()
    figure = error_against_size(fakes.comparison(results))
    (axes,) = figure.axes
    drawn = [line.get_xydata() for line in axes.get_lines() if line.get_marker() != "None"]
    assert any(np.allclose(points, [[1000, 4.0], [2000, 2.0]]) for points in drawn)
    assert any(np.allclose(points, [[1000, 8.0], [3000, 5.0]]) for points in drawn)
    found = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert found == {"EBMM", "MANN", fakes.NASTY, "Diverged"}
    low, high = np.percentile(results[1].error_corrupted, [5, 95])
    assert any(np.allclose(bar, [[2000, low], [2000, high]]) for bar in bars(axes))
    assert axes.get_xscale() == "log" and "wrong <bits> of 128" in axes.get_ylabel()
    assert axes.get_ylim()[1] >= 32


@pytest.mark.parametrize(("smallest", "scale"), [(0.3, "log"), (0.5, "linear"), (0.0, "linear")])
def test_errors_that_differ_much_are_told_apart(smallest, scale):
    results = [fakes.result("EBMM, 1,000", "ebmm", 1.0), fakes.result("MANN, 1,000", "mann", 8.0)]
    results[0].error_corrupted[:] = [smallest] * 40
    (axes,) = error_against_size(fakes.comparison(results)).axes
    assert axes.get_yscale() == scale
    assert scale == "linear" or 0 < axes.get_ylim()[0] < smallest


@pytest.mark.parametrize(("memories", "drawn"), [(6, 12), (7, 7)])
def test_rounded_states_are_left_out_where_lines_are_too_many(memories, drawn):
    results = [
        fakes.result(f"{number}{kept}, {floats}", "ebmm", 4.0, floats, series=f"{number}{kept}", precision=precision)
        for number in range(memories)
        for precision, kept in (("float32", ""), ("int8", ", int8"))
        for floats in (1000, 2000)
    ]
    figure = error_against_size(fakes.comparison(results))
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert len(names) == drawn
    assert names >= {str(number) for number in range(memories)}


def test_controls_are_horizontals_of_which_the_best_prior_state_is_kept():
    (axes,) = error_against_size(fakes.comparison(fakes.sizes())).axes
    levels = {round(float(line.get_ydata()[0]), 6) for line in axes.get_lines() if line.get_marker() == "None"}
    assert levels == {32.0, 24.0}
    assert {text.get_text() for text in axes.texts} == {"query itself", "prior state"}


def test_a_memory_without_a_state_is_a_horizontal_too():
    results = [*fakes.sizes(), fakes.result("No memory", "no_memory", 20.0, 0)]
    figure = error_against_size(fakes.comparison(results))
    (axes,) = figure.axes
    assert "No memory" in {text.get_text() for text in axes.texts}
    assert any(np.allclose(line.get_ydata(), 20.0) for line in axes.get_lines() if line.get_marker() == "None")
    assert "No memory" not in {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    error_against_size(fakes.comparison(results[-1:]))  # nothing with a size


def test_rows_of_other_series_are_not_joined():
    results = [fakes.result(f"Hopfield ({rule})", "hopfield", 2.0, 100) for rule in ("Hebb", "Storkey")]
    results += [fakes.result("EBMM K=5", "ebmm", 2.0, 100), fakes.result("EBMM K=10", "ebmm", 1.0, 100)]
    figure = error_against_size(fakes.comparison(results))
    found = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert found == {result.label for result in results}
    assert not has_size_sweep(results)
    assert has_size_sweep(fakes.sizes())


def test_points_of_one_size_stand_apart_and_lie_within_the_limits():
    results = [fakes.result(name, name, 10.0 * (1 + rank)) for rank, name in enumerate("abc")]
    (axes,) = error_against_size(fakes.comparison(results)).axes
    places = [line.get_transform().transform(line.get_xydata())[0] for line in axes.get_lines()]
    assert len({round(x) for x, _ in places}) == 3
    assert axes.get_ylim()[1] >= np.percentile(results[2].error_corrupted, 95)


def test_a_mean_outside_of_its_band_can_be_drawn():
    rare = [0.0] * 99 + [500.0]
    error_against_size(fakes.comparison([fakes.result("a", "b", 1.0, error_corrupted=rare)]))


def test_one_panel_for_each_setting():
    figure = error_against_size(fakes.comparison(fakes.counts()))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [f"{n} patterns, mask {mask}" for n in (16, 32) for mask in ("unknown", "known")]


def test_error_against_items_follows_each_label():
    figure = error_against_items(fakes.comparison(fakes.counts()))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mask unknown", "mask known"]
    for axes in figure.axes:
        drawn = lines(axes)
        np.testing.assert_allclose(drawn["EBMM"], [[16, 1.0], [32, 6.0]])
        np.testing.assert_allclose(drawn["Hopfield (Hebb)"], [[16, 2.0], [32, 5.0]])
        np.testing.assert_allclose(drawn["prior state"], [[16, 24.0], [32, 24.0]])
        assert {text.get_text() for legend in figure.legends for text in legend.get_texts()} == set(drawn)
        colours = {line.get_label(): line.get_color() for line in axes.get_lines()}
        assert colours["Hopfield (Hebb)"] == colours["Hopfield (Storkey)"] != colours["EBMM"]
        styles = {line.get_linestyle() for line in axes.get_lines() if "Hopfield" in str(line.get_label())}
        assert len(styles) == 2  # the same memory twice: told apart by the dashes


@pytest.mark.parametrize("channels", [1, 3])
def test_gallery_shows_patterns_queries_and_answers(channels):
    gallery = fakes.gallery(channels)
    (axes,) = recall_gallery(gallery).axes
    picture = axes.get_images()[0].get_array()
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["pattern", "query", "EBMM", fakes.NASTY]
    step = (picture.shape[0] + 2) // len(names)
    first = gallery["EBMM"]
    for row, values in enumerate((first.patterns, first.queries, first.trajectory[-1])):
        shown = picture[row * step : row * step + 32, :32, :3]
        np.testing.assert_allclose(shown, np.broadcast_to(np.moveaxis(values[0], 0, -1), (32, 32, 3)))


def test_read_path_has_a_column_for_each_step_up_to_eight():
    random = np.random.default_rng(0)
    patterns, trajectory = random.random((2, 128)), random.random((12, 2, 128))
    (axes,) = read_path(Recall(patterns, 1 - patterns, trajectory)).axes
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names[:3] == ["pattern", "query", "read 1"] and names[-1] == "read 12" and len(names) == 10
    picture = axes.get_images()[0].get_array()
    np.testing.assert_allclose(picture[:8, :16, 0], patterns[0].reshape(8, 16))
    np.testing.assert_allclose(picture[-8:, -16:, 0], trajectory[-1, -1].reshape(8, 16))


def test_shown_steps_keep_both_ends():
    assert shown_steps(1) == [0] and shown_steps(5) == [0, 1, 2, 3, 4]
    assert shown_steps(100)[0] == 0 and shown_steps(100)[-1] == 99 and len(shown_steps(100)) == 8


@pytest.mark.parametrize(("size", "shape"), [(128, (8, 16)), (64, (8, 8)), (1, (1, 1)), (127, (11, 12)), (2, (1, 2))])
def test_vectors_fill_a_near_square_grid(size, shape):
    assert grid(size) == shape
    picture = as_picture(np.ones(size))
    assert picture.shape == (*shape, 4) and picture[..., 3].sum() == size  # what is left is transparent


def test_pictures_of_every_shape():
    assert as_picture(np.zeros((5, 7))).shape == (5, 7, 4)
    assert as_picture(np.zeros((2, 5, 7))).shape == (5, 14, 4)
    assert as_picture(np.zeros((3, 5, 7))).shape == (5, 7, 4)
    np.testing.assert_array_equal(as_picture(np.array([np.nan, -1.0, 2.0, 0.25]))[..., 0], [[0.5, 0.0], [1.0, 0.25]])
    assert mosaic(np.zeros((2, 3, 1, 8, 8))).shape == (2 * 8 + 2, 3 * 8 + 2 * 2, 4)


def test_files_are_valid_and_reproducible(tmp_path):
    made = fakes.comparison(fakes.sizes())
    first, second = (style.svg(error_against_size(made)) for _ in range(2))
    assert first == second
    assert ElementTree.fromstring(first).tag.endswith("svg")
    style.save(error_against_size(made), tmp_path / "a.b")
    assert (tmp_path / "a.b.png").read_bytes().startswith(b"\x89PNG")


def test_themes_differ_and_leave_no_trace():
    before = dict(matplotlib.rcParams)
    made = fakes.comparison(fakes.sizes())
    light = style.svg(error_against_size(made))
    assert dict(matplotlib.rcParams) == before
    dark = style.on_dark(light)
    for colour, other in style.ON_DARK.items():
        assert dark.count(other) == light.count(colour) and colour not in dark
    assert style.BACKGROUND in light and style.INK in light and style.COLOURS[0] in light


@pytest.mark.parametrize("results", [fakes.controls(), [dataclasses.replace(fakes.sizes()[5])]])
def test_nothing_but_controls_or_diverged_memories(results):
    for draw in (error_against_size, error_against_items):
        assert style.svg(draw(fakes.comparison(results)))


def test_a_contact_sheet_has_a_row_of_queries_below_each_row_of_patterns():
    patterns = np.random.default_rng(0).random((33, 1, 4, 4))
    (axes,) = contact_sheet(patterns, 1 - patterns, "glyphs").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["pattern", "query"] * 2
    picture = axes.get_images()[0].get_array()
    for row, values in enumerate((patterns[0, 0], 1 - patterns[0, 0], patterns[16, 0], 1 - patterns[16, 0])):
        np.testing.assert_allclose(picture[row * 6 : row * 6 + 4, :4, 0], values)


def test_no_two_memories_look_alike_even_where_colours_come_again():
    styles = looks({f"row {i}": [fakes.result(f"row {i}", f"memory {i}", 1.0)] for i in range(18)}).values()
    assert len({(style["color"], style["marker"]) for style in styles}) == 18


@pytest.mark.parametrize("places", [[8, 16, 24, 32, 48, 64, 96], [513, 522, 1025, 1034, 1042, 2050], range(1, 400, 3)])
def test_labels_of_lines_do_not_overlap(places):
    points = [(float(place), 1.0, 0.0, 2.0) for place in places]
    figure = error_lines({"some": points[::2], "others": points[1::2]}, "bits", "wrong bits", xscale="log")
    figure.canvas.draw()
    labels = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.x0)
    inside = [box for box in boxes if figure.axes[0].bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= figure.axes[0].bbox.x1 + 1]
    assert len(inside) >= 3
    assert all(left.x1 < right.x0 for left, right in pairwise(inside))
