"""docs/tutorial.ipynb: its cells run in order, their outputs are committed, and say what they said."""

import contextlib
import io
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

PATH = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"
CELLS = [cell for cell in json.loads(PATH.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
SMALLER = {"range(60)": "range(3)", "range(10)": "range(2)"}


def test_it_is_committed_with_its_pictures():
    assert PATH.stat().st_size < 300_000
    pictures = [1 for cell in CELLS for output in cell["outputs"] if "image/png" in output.get("data", {})]
    assert len(pictures) == 4
    assert not [output for cell in CELLS for output in cell["outputs"] if output["output_type"] == "error"]
    text = "".join("".join(output.get("text", "")) for cell in CELLS for output in cell["outputs"])
    wrong = {
        label.strip(): float(value) for label, value in re.findall(r"^(.{27}) *([\d.]+) +\d+%", text, re.MULTILINE)
    }
    assert len(wrong) == 4
    assert wrong["EBMM"] < wrong["Delta rule"] < wrong["No memory: the query"]


@pytest.mark.slow
def test_cells_run(monkeypatch):
    monkeypatch.setattr(plt, "show", plt.close)
    names: dict = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, cell in enumerate(CELLS):
            code = "".join(cell["source"])
            for old, new in SMALLER.items():
                code = code.replace(old, new)
            exec(compile(code, f"cell {number}", "exec"), names)
    assert "4,096 floats of state for 16,384 pixels, 5 read steps" in printed.getvalue()
    assert names["steps"].shape == (5, 1, 16, 1, 32, 32)
    stored = names["memory"].energy(names["state"], names["patterns"])
    assert stored.max() < names["memory"].energy(names["state"], names["queries"]).min()
