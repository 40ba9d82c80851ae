"""Files of the working folder: the user's own classes are found there, and never stand in for a module of another's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COMMAND = str(Path(sys.executable).parent / "lightning-ebm")
MEMORY = """
from lightning_ebm.experiments.controls import QueryItself
class Mine(QueryItself):
    citation = "mine"
"""


@pytest.fixture
def folder(tmp_path):
    """One with a memory of the user's own, and with files that have the names of modules."""
    (tmp_path / "my_memories.py").write_text(MEMORY)
    for name in ("random", "yaml", "torch", "tempfile", "submitit"):
        (tmp_path / f"{name}.py").write_text("import os; os.write(2, b'a file of the user ran'); os._exit(3)")
    return tmp_path


def run(folder, *words):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_compare_in_processes(folder):
    """`python -m`, the processes of the experiments, and the second one of a training, which Lightning starts."""
    small = {
        "data": {"name": "bits", "size": 16},
        "distortion": {"name": "pixels", "amount": 8},
        "episodes": {"patterns_per_episode": 3, "batch": 2, "val": 2, "test": 2, "workers": 1},
        "training": {"max_steps": 1, "warmup_steps": 0, "validate_every": 1, "log_images": False},
        "trainer": {"accelerator": "cpu"},
        "compare": {"gallery": 0, "jobs": 2, "rows": {
            "mine": {"memory": {"name": "my_memories:Mine"}},
            "two": {"memory": {"energy": {"name": "mixture", "slots": 2}}, "trainer": {"devices": 2}},
        }},
    }  # fmt: skip
    (folder / "small.yaml").write_text(yaml.safe_dump(small))
    run(folder, sys.executable, "-m", "lightning_ebm", "compare", "small.yaml")
    assert (folder / "runs" / "compare-small" / "report.html").exists()


def test_a_sweep_whose_own_program_has_modules_beside_it(folder):
    """Its commands run as the user's shell would run them; only `python -m lightning_ebm` guards itself."""
    (folder / "beside.py").write_text("error = 1.0")
    (folder / "program.py").write_text("""
import beside, pathlib, sys
metrics = pathlib.Path(sys.argv[-1].removeprefix("output=")) / "run" / "metrics" / "version_0"
metrics.mkdir(parents=True)
(metrics / "metrics.csv").write_text(f"step,train/seconds,val/error\\n0,1.0,{beside.error}\\n")
""")
    search = {"method": "grid", "program": "program.py", "parameters": {"x": {"value": 1}}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(search))
    run(folder, COMMAND, "sweep", "mine.yaml")
