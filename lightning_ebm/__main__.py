"""`python -m lightning_ebm` is the command line."""

import sys

from lightning_ebm.cli import main

sys.exit(main())
