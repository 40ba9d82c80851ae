"""Which launcher started this process, and which of the run's processes it is.

Launchers say it in environment variables, which a shell, a container or a finished job may leave behind. They count if
all variables of a launcher are there and agree. Others are removed, since Lightning looks at single ones: it would take
this process for the second of several, and wait for the first.
"""

import os
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

SLURM_SHELLS = 0xFFFFFFF0
"""Steps of SLURM from here on are no tasks of srun: the shells of salloc and sbatch among them."""


@dataclass(frozen=True)
class Launcher:
    """A program that starts the processes of a run, and the variables that it sets for each."""

    name: str
    rank: str
    """Variable with the number of the process, from 0."""
    size: str
    """Variable with the number of processes."""
    others: tuple[str, ...] = ()
    package: str = "torch"
    """What Lightning needs to work with it."""

    @property
    def variables(self) -> tuple[str, ...]:
        """All that it sets."""
        return (self.rank, self.size, *self.others)

    def started(self) -> bool:
        """Whether it has started this process as one of several."""
        if not all(name in os.environ for name in self.variables) or find_spec(self.package) is None:
            return False
        rank, size = number(self.rank), number(self.size)
        in_shell = self is SRUN and not 0 <= number("SLURM_STEP_ID") < SLURM_SHELLS
        first = 1 if self is LIGHTNING else 0  # Lightning's first process is the one that starts the others
        return first <= rank < size and size > 1 and not in_shell


TORCHRUN = Launcher("torchrun", "RANK", "WORLD_SIZE", ("LOCAL_RANK", "GROUP_RANK", "TORCHELASTIC_RUN_ID"))
SRUN = Launcher("srun", "SLURM_PROCID", "SLURM_NTASKS", ("SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_ID"))
LSF = ("JSM_NAMESPACE_LOCAL_RANK", "LSB_JOBID", "LSB_DJOB_RANKFILE")
JSRUN = Launcher("jsrun", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", LSF)
OPEN_MPI = Launcher("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", package="mpi4py")
MPICH = Launcher("mpiexec", "PMI_RANK", "PMI_SIZE", package="mpi4py")
LIGHTNING = Launcher("Lightning", "LOCAL_RANK", "WORLD_SIZE", ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT"))
LAUNCHERS = (TORCHRUN, SRUN, JSRUN, OPEN_MPI, MPICH, LIGHTNING)

SHARED = ("LSB_JOBID", "LSB_DJOB_RANKFILE")
"""Variables that say nothing of processes, and that others may need."""
MISREAD = {name for launcher in LAUNCHERS for name in launcher.variables if name not in SHARED}
LOOKED_AT_FIRST = {*TORCHRUN.variables, "NODE_RANK"}
"""Variables that Lightning and torch look at before those of other launchers."""


@dataclass(frozen=True)
class Place:
    """This process among those of the run."""

    launcher: Launcher | None
    """What started it as one of several; None: it is the first, and starts others itself if there are any."""
    rank: int
    size: int
    """How many there are; 1: those that it may start itself are not counted."""


@cache
def here() -> Place:
    """The place of this process, as it was started; variables that no launcher has set are removed, with a warning."""
    launcher = next((launcher for launcher in LAUNCHERS if launcher.started()), None)
    found = Place(launcher, number(launcher.rank), number(launcher.size)) if launcher else Place(None, 0, 1)
    lightning = sys.modules.get("lightning_fabric.utilities.rank_zero")
    if lightning:
        lightning.rank_zero_only.rank = found.rank  # it has read them when it was imported
    if launcher is SRUN:
        os.environ.pop("SLURM_JOB_NAME", None)  # Lightning takes srun for a shell if salloc has named the job
    of_others = LOOKED_AT_FIRST.difference(launcher.variables) if launcher else MISREAD
    ignored = {name: os.environ.pop(name) for name in sorted(of_others & os.environ.keys())}
    if telling := [f"{name}={value}" for name, value in ignored.items() if not means_alone(name, value)]:
        by = f"{launcher.name} started" if launcher else "no launcher started"
        warnings.warn(f"{by} this process as one of several; ignored: {', '.join(telling)}", stacklevel=2)
    return found


def rank() -> int:
    """Number of this process among those of the run, from 0; known before they have met."""
    return here().rank


def launched() -> bool:
    """Whether a launcher has started this command as one of several processes."""
    return here().launcher is not None


def check(devices: int, machines: int) -> None:
    """Refuses a number of processes that would wait for others for ever, or train one run several times.

    Raises:
        ValueError: if it differs from the launcher's, or there is no launcher on several machines.
    """
    found, wanted = here(), f"trainer.devices={devices}, trainer.num_nodes={machines}"
    if found.launcher and found.size != devices * machines:
        raise ValueError(f"{wanted}: {found.launcher.name} started {found.size} processes, not {devices * machines}")
    if machines > 1 and not found.launcher:
        raise ValueError(f"{wanted}: processes on several machines must be started by torchrun or srun")


def number(variable: str) -> int:
    """The value of a variable, if it is a whole number from 0; -1 for any other text."""
    text = os.environ[variable]
    return int(text) if text.isascii() and text.isdigit() else -1


def means_alone(name: str, value: str) -> bool:
    """Whether a variable says what is so anyway: this is process 0, of 1."""
    counts = {launcher.size for launcher in LAUNCHERS}
    return value == ("1" if name in counts else "0") or name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID")
