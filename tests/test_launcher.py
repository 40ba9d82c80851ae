"""Launchers are known by all that they set; what else says the like is ignored, with a warning."""

import os
import signal
import subprocess
import sys
import warnings

import pytest

from lightning_ebm import launcher
from lightning_ebm.signals import REQUEUE, Stopped
from tests.training.tiny import DEBUG, TINY

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "none"}
SRUN = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_STEP_ID": "0"}
CHILD = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "4000"}
JSRUN = {
    **{"JSM_NAMESPACE_RANK": "2", "JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_LOCAL_RANK": "0"},
    **{"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/f"},
}
SHELL = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "interactive"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """The environment of a plain shell, and a process that has not looked at it yet."""
    for name in (*launcher.MISREAD, *JSRUN, "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    launcher.here.cache_clear()
    yield
    launcher.here.cache_clear()


def without(variables, *names):
    return {name: value for name, value in variables.items() if name not in names}


@pytest.mark.parametrize(
    ("environment", "name", "rank"),
    [
        ({}, None, 0),
        (TORCHRUN, "torchrun", 3),
        (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0"}, "torchrun", 0),
        (TORCHRUN | SRUN, "torchrun", 3),  # srun starts a torchrun on each machine
        (SRUN, "srun", 5),
        (SRUN | SHELL, "srun", 5),  # from the shell of an allocation
        (SRUN | {"MASTER_ADDR": "node1", "MASTER_PORT": "4000"}, "srun", 5),  # the user chose where they meet
        (JSRUN, "jsrun", 2),
        (CHILD, "Lightning", 1),
    ],
)
def test_a_launcher_is_known_by_all_that_it_sets(monkeypatch, environment, name, rank):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert launcher.rank() == rank
    assert launcher.launched() == (name is not None)
    assert name is None or launcher.here().launcher.name == name
    # Lightning kills all of its own when one ends with another code than 0
    assert Stopped(signal.SIGTERM).code == (0 if name == "Lightning" else REQUEUE)
    assert environment.items() - {("SLURM_JOB_NAME", "interactive")} <= os.environ.items()


LEFT_OVER = [
    *({name: value} for variables in (TORCHRUN, SRUN, CHILD) for name, value in variables.items()),
    *({"JSM_NAMESPACE_RANK": "1"}, {"OMPI_COMM_WORLD_RANK": "1"}, {"PMI_RANK": "1"}),
    *({"RANK": "first"}, {"WORLD_SIZE": ""}, {"LOCAL_RANK": "-1"}),
    {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},  # Lightning needs mpi4py, which is not here
    {"PMI_RANK": "1", "PMI_SIZE": "2"},
    CHILD | {"LOCAL_RANK": "0"},  # of the process that started the others
    *(without(TORCHRUN, name) for name in TORCHRUN if name != "LOCAL_RANK"),
    without(TORCHRUN, "LOCAL_RANK") | {"WORLD_SIZE": "1", "RANK": "0"},
    TORCHRUN | {"RANK": "4"},
    without(SRUN, "SLURM_STEP_ID") | {"SLURM_PROCID": "0"} | SHELL,  # salloc and sbatch
    SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290"},  # salloc, whose shell is a step of its own
    SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967291"},  # sbatch
    SRUN | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"},  # srun --pty bash
]


@pytest.mark.parametrize("environment", LEFT_OVER, ids=lambda variables: ",".join(variables))
def test_what_no_launcher_has_set_is_ignored(monkeypatch, environment):
    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.utilities import rank_zero

    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(rank_zero.rank_zero_only, "rank", 3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert launcher.rank() == 0
        assert launcher.rank() == 0
    assert not launcher.launched()
    told = " ".join(str(one.message) for one in caught)
    assert len(caught) <= 1
    for name, value in environment.items():
        alone = value == ("1" if name in ("WORLD_SIZE", "SLURM_NTASKS") else "0")
        says_nothing = name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID") or name.startswith("SLURM_JOB")
        assert (f"{name}={value}" in told) == (not alone and not says_nothing)
    assert rank_zero.rank_zero_only.rank == 0
    assert not TorchElasticEnvironment.detect()
    assert not SLURMEnvironment.detect()
    assert not LightningEnvironment().creates_processes_externally
    assert LightningEnvironment().node_rank() == LightningEnvironment().local_rank() == 0


@pytest.mark.parametrize("environment", [{"RANK": "1"}, {"TORCHELASTIC_RUN_ID": "x", "LOCAL_RANK": "2"}])
def test_a_launcher_is_not_misread_for_what_another_has_left(monkeypatch, environment):
    """Lightning looks at torchrun's variables before those of srun."""
    for variable, value in {**SRUN, **environment}.items():
        monkeypatch.setenv(variable, value)
    with pytest.warns(UserWarning, match="srun started this process as one of several; ignored: "):
        assert launcher.rank() == 5
    assert not environment.keys() & os.environ.keys()


@pytest.mark.parametrize(
    ("environment", "devices", "machines", "message"),
    [
        (SRUN, 4, 2, None),
        (SRUN, 1, 1, "trainer.devices=1, trainer.num_nodes=1: srun started 8 processes, not 1"),
        (TORCHRUN, 2, 1, "torchrun started 4 processes, not 2"),
        (CHILD, 2, 1, None),
        ({}, 8, 1, None),
        ({}, 1, 2, "processes on several machines must be started by torchrun or srun"),
        ({"NODE_RANK": "1"}, 1, 2, "must be started by torchrun or srun"),
    ],
)
@pytest.mark.filterwarnings("ignore:no launcher started")
def test_the_number_of_processes_is_the_launchers(monkeypatch, environment, devices, machines, message):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    if message is None:
        launcher.check(devices, machines)
    else:
        with pytest.raises(ValueError, match=message):
            launcher.check(devices, machines)


@pytest.mark.slow
def test_a_command_with_all_that_may_be_left_over_trains_alone(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **CHILD, **SRUN, "RANK": "3"}
    environment = without(environment, "SLURM_STEP_ID", "MASTER_PORT")
    command = [sys.executable, "-m", "lightning_ebm", "train", str(DEBUG), f"output={tmp_path}", *TINY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "best checkpoint: " in done.stdout
    assert done.stderr.count("no launcher started this process as one of several; ignored: ") == 1
    assert all(f"{name}=" in done.stderr for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "MASTER_ADDR"))
