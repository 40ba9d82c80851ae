"""Figures of matplotlib: errors, learning curves, recalled patterns, and their common look."""

import contextlib
import os
import sys

if "matplotlib" not in sys.modules:
    # It cannot be imported where MPLBACKEND names a backend that is not installed, as of the notebook that started this
    # process. Our figures need none; to others, the variable still means what it did.
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
