"""Progress, in a terminal and in a log file; pictures of patterns of any shape."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from lightning_ebm.data.episodes import Episode
from lightning_ebm.reporting.figures.strips import read_path
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


def test_a_picture_is_of_the_first_patterns_of_the_first_episode(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(callbacks, "read_path", lambda recall: drawn.append(recall) or read_path(recall))
    patterns, read = torch.rand(2, 9, 1, 8, 8), torch.rand(3, 2, 9, 1, 8, 8)
    batch = Episode(patterns, 1 - patterns, torch.ones_like(patterns, dtype=torch.bool))
    trainer = SimpleNamespace(is_global_zero=True, global_step=20, loggers=[])
    for index in range(2):  # the second batch is not drawn
        callbacks.Pictures(tmp_path / "pictures").on_validation_batch_end(trainer, None, read, batch, index)
    (recall,) = drawn
    for shown, expected in zip(recall, (patterns[0, :6], 1 - patterns[0, :6], read[:, 0, :6]), strict=False):
        np.testing.assert_array_equal(shown, expected)
    assert [path.name for path in tmp_path.rglob("*.png")] == ["step-0000020.png"]
