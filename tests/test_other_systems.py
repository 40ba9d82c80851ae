"""Where the signals, modules and calls of Unix are missing, as on Windows, every module can still be imported."""

import subprocess
import sys

import pytest

IMPORT_ALL = """
import importlib, os, pkgutil, signal, sys
import matplotlib.pyplot, PIL.Image, pytorch_lightning, rich.live, torch, wandb  # other people's affair
for name in ("SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGKILL", "SIGHUP", "SIGALRM", "SIGQUIT", "pthread_sigmask"):
    delattr(signal, name)
for name in ("fork", "waitid", "WNOWAIT", "getuid", "O_DIRECTORY"):
    delattr(os, name)
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None  # importing it is an ImportError
import baselines, lightning_ebm
for package in (lightning_ebm, baselines):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__") and ".contenders." not in found.name:  # which need optional packages
            importlib.import_module(found.name)
from lightning_ebm.signals import STOP_SIGNALS, stops_on_signal
with stops_on_signal():
    print(*(number.name for number in STOP_SIGNALS))
"""


@pytest.mark.slow
def test_every_module_can_be_imported_where_unix_is_missing():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["SIGTERM"]
