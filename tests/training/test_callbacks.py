"""Progress, in a terminal and in a log file; pictures of patterns of any shape."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lightning_ebm.training import callbacks
from lightning_ebm.training.trainer import build, train
from tests.training.tiny import config


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_a_line_every_so_often_in_a_file_and_a_bar_in_a_terminal(tmp_path, monkeypatch, terminal):
    out = io.StringIO()
    monkeypatch.setattr("rich.get_console", lambda: Console(file=out, force_terminal=terminal, width=60))
    clock = iter(range(10**6))
    each_look_takes_ten_seconds = SimpleNamespace(monotonic=lambda: 10.0 * next(clock))
    monkeypatch.setattr(callbacks, "time", each_look_takes_ten_seconds)
    train(build(config(tmp_path, "training.max_steps=30", "training.validate_every=10", "name=a[b]c")))
    text = out.getvalue()
    *lines, totals = re.sub(r"\x1b\[\?25[hl]", "", text).strip().splitlines()  # less what hides the cursor
    assert re.fullmatch(r"a\[b\]c: 30 updates, 0:\d\d:\d\d for the last 30 of them, .*val error \d+\.\d\d, .*", totals)
    if terminal:
        assert "30/30" in text
        assert "\r" in text
        return
    assert "\x1b" not in text
    assert "\r" not in text
    done = [re.match(r"a\[b\]c: (\d+) of 30 updates, (.*)0:(\d\d):(\d\d) left$", line) for line in lines]
    assert all(done), lines
    assert 2 < len(done) < 10
    assert "val error" in done[-1][2]
    for line in done:  # each update looks at the clock once, and so takes ten seconds
        updates, minutes, seconds = int(line[1]), int(line[3]), int(line[4])
        assert 60 * minutes + seconds == pytest.approx(10 * (30 - updates), abs=1)


def test_a_picture_has_a_column_for_each_name_and_a_row_for_each_item():
    values = np.random.default_rng(0).random((4, 2, 1, 32, 32))
    columns = {"pattern": values[:, 0], "query": values[:, 1]}
    picture = np.asarray(Image.open(io.BytesIO(callbacks.picture(columns))))
    assert picture.shape == (14 + 2 * (4 * 32 + 3 * 2), 2 * (2 * 32 + 2), 3)  # gaps of two pixels; twice as large
    assert (picture[:14] < 128).any() and (picture[14 + 64 : 14 + 68] == 255).all()
    for item, column in np.ndindex(4, 2):
        tile = picture[14 + 68 * item :, 68 * column :][:64:2, :64:2, 0]
        np.testing.assert_array_equal(tile, (255 * values[item, column, 0]).round())
