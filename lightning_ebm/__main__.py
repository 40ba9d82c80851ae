"""`python -m lightning_ebm` is the command line."""

import sys

if not sys.flags.safe_path:
    sys.path.pop(0)  # the working folder, where a user's random.py would stand in for the module of that name

from lightning_ebm.cli import main

sys.exit(main())
