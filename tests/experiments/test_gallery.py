import numpy as np
import torch

from lightning_ebm.data.episodes import Episode
from lightning_ebm.experiments.controls import QueryItself
from lightning_ebm.experiments.measure import recall_first
from lightning_ebm.reporting.figures.strips import read_path
from lightning_ebm.reporting.report import gallery_rows
from lightning_ebm.reporting.templates import render
from tests.experiments import fakes


class Distance(QueryItself):
    """Reads in two steps to the first pattern; its energy is the distance from there."""

    def write(self, patterns):
        return {"first": patterns[:, :1]}

    def read(self, state, queries, mask=None):
        first = state["first"].expand_as(queries)
        return torch.stack([(queries + first) / 2, first])

    def energy(self, state, patterns):
        return (patterns - state["first"]).abs().flatten(2).sum(2)


def episode():
    patterns = torch.rand(2, 5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Episode(patterns, 1 - patterns, patterns > 0)


def test_energies_of_pattern_query_and_every_step():
    found, made = recall_first(Distance(), episode(), 3), episode()
    assert found.energies.shape == (4, 3) and found.trajectory.shape == (2, 3, 1, 4, 4)
    first = made.patterns[0, 0]
    for row, points in enumerate((made.patterns[0, :3], made.queries[0, :3])):
        expected = [(point - first).abs().sum() for point in points]
        np.testing.assert_allclose(found.energies[row], expected, rtol=1e-6)
    np.testing.assert_allclose(found.energies[2], found.energies[1] / 2, rtol=1e-5)
    np.testing.assert_allclose(found.energies[3], 0, atol=1e-6)


def test_a_memory_without_an_energy_has_none():
    found = recall_first(QueryItself(), episode(), 2)
    assert found.energies is None
    np.testing.assert_array_equal(found.trajectory[-1], found.queries)


def with_energies(steps: int):
    energies = np.arange(3.0 * (2 + steps)).reshape(2 + steps, 3) + 0.25
    return fakes.gallery(1, steps=steps)["EBMM"]._replace(energies=energies), energies


def test_the_page_has_energies_below_pattern_query_and_steps():
    recall, energies = with_energies(4)
    html = render("gallery.html", rows=gallery_rows({"EBMM": recall}), caption="", command="")
    shown = [part.split("</i>")[0] for part in html.split("<i>")[1:]]
    assert shown == [f"{energy:.4g}" for energy in energies.ravel()]
    assert html.count("<li>") == 6 and "pattern and its energy" in html
    assert not any(step["notes"] for row in gallery_rows(fakes.gallery(1)) for step in row["steps"])


def test_the_figure_has_them_too_and_leaves_out_the_same_steps():
    recall, energies = with_energies(12)
    figure = read_path(recall)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert len(texts) == 3 * len(names) == 30
    assert texts[:2] == ["0.25", "3.25"]
    for name, text in zip(names[2:], texts[2:], strict=False):
        assert float(text) == energies[1 + int(name.removeprefix("read ")), 0]
