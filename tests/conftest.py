"""What holds for all tests, in each process of pytest."""

import signal

import pytest
import torch

from lightning_ebm.cli import main

# A shell that starts the tests in the background has them ignore Ctrl-C, and all processes that they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seed():
    """Each test begins with the same random numbers, in whatever order tests run."""
    torch.manual_seed(0)


@pytest.fixture
def refused(capsys):
    """Calls the command line, which fails; returns its last line without the `error: ` that begins it."""

    def call(*words):
        assert main([*words]) == 1
        line = capsys.readouterr().out.strip().splitlines()[-1]
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    return call
