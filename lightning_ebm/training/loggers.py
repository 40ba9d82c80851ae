"""What a run logs: metrics as CSV, without losing a row, and Weights & Biases as a view of them."""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_ebm.config import identity, plain, run_folder
from lightning_ebm.files import atomic_write
from lightning_ebm.launcher import rank
from lightning_ebm.schema import RunConfig
from lightning_ebm.signals import Stopped, reason

COLUMNS = ("epoch", "step", "train/loss", "train/seconds", "val/error", "val/error_corrupted")
WANDB_DEFAULTS = {
    "WANDB_INIT_TIMEOUT": "60",  # seconds that the server has to answer at the start, or the run is kept offline
    "WANDB_FINISH_TIMEOUT": "30",  # seconds that it has for the rest at the end
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
    "WANDB_SILENT": "true",
}
"""W&B's own environment variables, where the user has not set them."""


class MetricsFile(CSVLogger):
    """Lightning's `metrics/version_<start>/metrics.csv` of a run, one for each start; `step` is the update minus one.

    Each row is on the disk before the checkpoint that follows it, so a run that resumes has all rows up to its
    checkpoint. Later steps are repeated: of two rows of one step, the later start's counts.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "metrics", flush_logs_every_n_steps=1)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Writes a row."""
        if not self.experiment.metrics_keys:  # else the file is rewritten when the first validation adds columns
            self.experiment.metrics_keys = list(COLUMNS)
        super().log_metrics(metrics, step)

    @rank_zero_only
    def save(self) -> None:
        """Waits until all rows are on the disk."""
        super().save()
        path = Path(self.log_dir, "metrics.csv")
        if path.exists():
            with path.open("a") as file:
                os.fsync(file.fileno())


class Tracker(WandbLogger):
    """Lightning's logger of a W&B run, but no update is logged twice, and after an error nothing more is sent.

    Only the first process of a run has one. The file `logged`, in the run's folder, has the last update that was
    logged. W&B shows a section of panels for each word before the slash in names of metrics: train, val and recall.
    """

    def __init__(self, run: Any, logged: Path) -> None:
        super().__init__(experiment=run, log_model=not run.offline)
        self.logged, self.works = logged, True
        self.attempt(define_metrics, run)
        self.before = -1
        try:
            self.before = int(logged.read_bytes()) if logged.exists() else -1
        except (OSError, ValueError) as error:
            warnings.warn(f"{logged} is damaged ({reason(error)}) and is rebuilt", stacklevel=2)

    def attempt(self, work: Callable[..., None], *arguments: Any, **options: Any) -> None:
        """Does something that may fail without stopping the run; a warning the first time, nothing from then on."""
        if self.works:
            try:
                with staged_in(self.logged.parent):
                    work(*arguments, **options)
            except Exception as error:  # any error of wandb: logging must not stop a run
                self.works = False
                warnings.warn(f"W&B stopped working and gets nothing more of this run ({reason(error)})", stacklevel=2)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs what was not logged before."""
        if step is None or step > self.before:
            self.attempt(super().log_metrics, metrics, step)
            if step is not None:
                self.attempt(atomic_write, self.logged, str(step).encode())

    def log_image(self, key: str, images: list[Any], step: int | None = None, **options: Any) -> None:
        """Logs pictures."""
        self.attempt(super().log_image, key, images, step, **options)

    def log_line(self, key: str, x: str, y: str, points: Iterable[tuple[float, float]], step: int) -> None:
        """Logs a line plot, with the table of its points; of several runs, W&B draws a line each.

        The title is the last part of the key; `x` and `y` name the numbers of each point.
        """

        def plot() -> None:
            import wandb

            title = key.rpartition("/")[2].replace("_", " ")
            table = wandb.Table(columns=[x, y], data=[list(point) for point in points])
            plots: Any = {key: wandb.plot.line(table, x, y, title=title)}
            self.log_metrics(plots, step)

        self.attempt(plot)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Remembers a checkpoint, for the end."""
        self.attempt(super().after_save_checkpoint, checkpoint_callback)

    def finalize(self, status: str) -> None:
        """Sends the best checkpoint."""
        self.attempt(super().finalize, status)


def define_metrics(run: Any) -> None:
    """Says how W&B shows metrics: over updates, and by their least value where that sums up a run."""
    axis: dict[str, Any] = {"step_metric": "trainer/global_step", "step_sync": True}
    for name in ("epoch", "trainer/global_step", "train/seconds"):  # the axes of others, which need no panel
        run.define_metric(name, hidden=True)
    run.define_metric("*", **axis)
    for name in ("train/loss", "val/error", "val/error_corrupted"):
        run.define_metric(name, summary="min", **axis)


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Within it, W&B keeps tables and checkpoints that it will upload in this run's folder: the home may be read-only.

    A user's own WANDB_DATA_DIR comes first. W&B looks for the home's data folder in any case, and fails without a home.
    """
    own = {name: str(folder / "wandb") for name in ("WANDB_DATA_DIR", "XDG_DATA_HOME") if name not in os.environ}
    with patch.dict(os.environ, own):
        yield


def mode(config: RunConfig) -> str:
    """disabled, offline or online; auto is online under an agent of a W&B sweep, and disabled otherwise."""
    automatic = "online" if os.environ.get("WANDB_SWEEP_ID") else "disabled"
    return automatic if config.wandb.mode == "auto" else config.wandb.mode


def start(config: RunConfig, folder: Path, /, **options: Any) -> Any:
    """Starts a W&B run with files in `folder` and options of `wandb.init`. A failure costs a warning, never the run.

    Returns:
        The W&B run: as `wandb.mode` says or, where that fails, offline and without the user's settings of W&B. None if
        W&B is disabled or cannot even do that.
    """
    chosen = mode(config)
    if chosen == "disabled":
        return None
    for name, value in WANDB_DEFAULTS.items():
        os.environ.setdefault(name, value)
    chosen_by_user = {name: getattr(config.wandb, name) or None for name in ("project", "entity", "group")}
    without_home = {"WANDB_CONFIG_DIR": str(folder / "wandb"), "NETRC": os.devnull}
    failures: list[str] = []
    run: Any = None
    for attempt, variables in ((chosen, {}), ("offline", without_home)):
        try:
            import wandb  # a second and a half, which runs without it need not wait for

            folder.mkdir(parents=True, exist_ok=True)
            with patch.dict(os.environ, variables):
                run = wandb.init(**{"mode": attempt, "dir": folder, **chosen_by_user, **options})
        except Exception as error:  # any error of wandb: logging must not stop a run
            failures.append(reason(error))
            end_service()
        else:
            break
    if failures:
        instead = f"kept offline, in {folder}, for `wandb sync`" if run else f"not shown in W&B ({failures[-1]})"
        warnings.warn(f"wandb.mode={chosen} does not work ({failures[0]}); the run is {instead}", stacklevel=3)
    return run


def tracker(config: RunConfig) -> Tracker | None:
    """The W&B logger of a run, in its first process; None in others, and where W&B is disabled or cannot start.

    The id of the W&B run is the name of the run's folder, or the one that an agent of a sweep asks for, so a run that
    is started again resumes it. W&B's lists and legends call it `glyphs, ebmm, seed 0 (1a2b3c4d)`.
    """
    folder = run_folder(config)
    run_id = os.environ.get("WANDB_RUN_ID") or folder.name
    # the configuration's name, memory and data as far as they say more, and the end of its folder
    words = dict.fromkeys((config.name, config.memory.name, config.data.name, f"seed {config.seed}"))
    name = f"{', '.join(words)} ({identity(config)})"
    options = {"name": name, "tags": list(config.wandb.tags), "config": plain(config)}
    run = None if rank() else start(config, folder, id=run_id, resume="allow", **options)
    return Tracker(run, folder / "wandb-logged") if run else None


def log_table(config: RunConfig, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as a W&B run of its own, in the group of the runs that it sums up; the configuration is any of theirs."""
    run = start(config, Path(config.output), name=name, job_type="table")
    if run:
        import wandb

        try:
            with staged_in(Path(config.output)):
                run.log({"compare/results": wandb.Table(columns=list(columns), data=[list(row) for row in rows])})
        except Exception as error:  # as above
            warnings.warn(f"the table is not shown in W&B ({reason(error)})", stacklevel=2)
        finish()


def finish() -> None:
    """Ends the W&B run of this process, if there is one, so that the next run starts a new one."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        try:
            wandb.finish()
        except Exception as error:  # as above
            warnings.warn(f"W&B did not get everything ({reason(error)}); `wandb sync` sends the rest", stacklevel=2)
            end_service()


def end_service() -> None:
    """Ends W&B's service after a failure: it keeps a run that could not start, and takes no other of the same id."""
    wandb = sys.modules.get("wandb")
    try:
        if wandb is not None:
            wandb.teardown()
    except Stopped:
        raise
    except (Exception, SystemExit):  # what was to be ended has ended already; it exits with the code of its service
        pass
