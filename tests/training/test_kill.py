"""Training, killed by SIGKILL at random moments and started again each time, ends as if nothing had been.

Each start is a fork of this process, in which everything is imported already: half a second instead of five, and the
kills fall into training, validating and saving rather than into imports. With `pytest -s` the
test prints where they fell.
"""

import os
import random
import signal
import sys
import time
import warnings
from collections import Counter

import pytest

from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.training import trainer as training
from tests.training.tiny import assert_same_state, config, last, metrics, trained

OVERRIDES = ("training.max_steps=60", "training.validate_every=4", "training.ema_decay=0.9", "episodes.val=2")


def start(folder):
    """Trains in a fork; returns its process id."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            trained(config(folder, *OVERRIDES))
            code = 0
        finally:
            os._exit(code)
    return child


def finish(folder):
    """Trains to the end; returns the seconds it took."""
    began = time.perf_counter()
    assert os.waitstatus_to_exitcode(os.waitpid(start(folder), 0)[1]) == 0
    return time.perf_counter() - began


def moment(folder):
    """What a kill interrupted, as far as the files that it left tell."""
    checkpoints = folder / "checkpoints"
    if list(checkpoints.glob("*.partial")):
        return "while a checkpoint was written"
    if (checkpoints / "last.previous.ckpt").exists() and not (checkpoints / "last.ckpt").exists():
        return "while one was put in place of the one before"
    return "between checkpoints" if (checkpoints / "last.ckpt").exists() else "before the first checkpoint"


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_random_moments_and_started_again_it_ends_as_if_nothing_had_been(tmp_path, kills):
    expected_folder = tmp_path / "whole"
    duration = finish(expected_folder)
    (whole,) = expected_folder.glob("debug-*")
    moments, updates, runs, dice = Counter(), [], 0, random.Random(kills)
    while sum(moments.values()) < kills or runs == 0:
        folder = tmp_path / str(runs)
        while True:
            child = start(folder)
            if sum(moments.values()) == kills:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                break
            time.sleep(dice.uniform(0.05, 0.6) * duration)
            os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if code == 0:  # it was faster
                break
            assert code == -signal.SIGKILL
            (killed,) = folder.glob("debug-*") if folder.exists() else (folder,)
            moments[moment(killed)] += 1
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a kill is no damage: nothing is to be warned of
                record = training.training_record(training.build(config(folder, *OVERRIDES)))
            updates.append(record[0])
        runs += 1
        (killed,) = folder.glob("debug-*")
        assert_same_state(last(whole), last(killed))
        for name in ("best.ckpt", "last.ckpt"):
            assert (killed / "checkpoints" / name).exists()
        assert metrics(killed) == metrics(whole)
        points = read_curve(killed)
        assert [update for update, *_ in points] == list(range(4, 61, 4))
        assert [error for *_, error in points] == [error for *_, error in read_curve(whole)]
        seconds = [second for _, second, _ in points]
        assert seconds == sorted(seconds)
    print(f"\n{sum(moments.values())} kills in {runs} runs of {duration:.1f} s: {dict(moments)}; last saved: {updates}")
