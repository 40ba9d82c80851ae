"""`python -m lightning_ebm.experiments FILE` runs the experiments of a file, as a job of the executor.

The exit code is 0; 1 for failures, which the last line names; 75 if asked to stop.
"""

import os
import sys

print(f"started as process {os.getpid()}", flush=True)  # before imports, which may take minutes or hang

from pathlib import Path  # noqa: E402

from lightning_ebm.config import load_yaml, resolve  # noqa: E402
from lightning_ebm.experiments.experiment import Experiment, message_of, run_experiment  # noqa: E402
from lightning_ebm.signals import Exit, stops_on_signal  # noqa: E402

print("imported everything", flush=True)
errors: dict[str, None] = {}
try:
    with stops_on_signal():
        for values in load_yaml(Path(sys.argv[1]).read_bytes(), sys.argv[1]):
            try:
                run_experiment(Experiment(**values | {"config": resolve(values["config"])}), print)
            except Exception as error:  # the others may succeed
                errors[message_of(error)] = None
except Exit as end:
    print(end.words, flush=True)
    sys.exit(end.code)
if errors:
    print(f"error: {'; '.join(errors)}", flush=True)
    sys.exit(1)
