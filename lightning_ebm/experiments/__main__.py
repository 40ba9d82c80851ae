"""`python -m lightning_ebm.experiments FILE` runs an experiment from a file, as a job of the executor."""

import os
import sys

print(f"started as process {os.getpid()}", flush=True)  # before imports, which may take minutes or hang

from lightning_ebm.experiments.experiment import main  # noqa: E402

print("imported everything", flush=True)
sys.exit(main(sys.argv[1]))
