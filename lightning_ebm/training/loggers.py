"""Weights & Biases as a view of a run: curves, pictures, tables. What is in the run's folder is complete without it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_ebm.config import plain, run_folder
from lightning_ebm.schema import RunConfig
from lightning_ebm.signals import process_number

PATIENCE = 60
"""Seconds that the server is waited for at the start; after that the run is kept offline."""


class Tracker(WandbLogger):
    """Lightning's logger, but for two things: a run that starts anew goes on, and no update is logged twice.

    The id of the W&B run is the name of the run's folder, or the one that an agent of a sweep asks for. After a kill
    the updates since the last checkpoint are made again; those that were logged before are left out.

    Args:
        config: the run's configuration.
        offline: whether to keep everything in the run's folder, for `wandb sync`.
    """

    def __init__(self, config: RunConfig, offline: bool) -> None:
        import wandb  # a second and a half, which runs without it need not wait for

        folder = run_folder(config)
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            name=folder.name,
            save_dir=folder,
            offline=offline,
            id=os.environ.get("WANDB_RUN_ID") or folder.name,
            project=config.wandb.project,
            log_model=not offline,
            entity=config.wandb.entity or None,
            group=config.wandb.group or None,
            tags=list(config.wandb.tags),
            config=plain(config),
            resume="allow",
            settings=wandb.Settings(init_timeout=PATIENCE, silent=True),
        )
        self.logged = folder / "wandb-logged"
        self.before = int(self.logged.read_text()) if self.logged.exists() else -1

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs what was not logged before."""
        if step is None or step > self.before:
            super().log_metrics(metrics, step)
            if step is not None:
                self.logged.write_text(str(step))


def mode(config: RunConfig) -> str:
    """disabled, offline or online; auto is online under an agent of a W&B sweep, and disabled otherwise."""
    chosen = config.wandb.mode
    if chosen == "auto":
        chosen = "online" if os.environ.get("WANDB_SWEEP_ID") else "disabled"
    return chosen


def tracker(config: RunConfig) -> Tracker | None:
    """The logger of a run, started in the first process; None if it is disabled.

    A server that does not answer, or does not know the user, costs a warning and not the run: it is kept offline.
    """
    chosen = mode(config)
    if chosen == "disabled":
        return None
    logger = Tracker(config, offline=chosen == "offline")
    if process_number() == 0:
        try:
            _ = logger.experiment
        except Exception as error:  # whatever wandb raises: it is only a view
            warnings.warn(
                f"wandb.mode={chosen} does not work ({' '.join(str(error).split())}); the run is kept offline, in"
                f" {run_folder(config)}, for `wandb sync`",
                stacklevel=2,
            )
            logger = Tracker(config, offline=True)
            _ = logger.experiment
    return logger


def log_table(config: RunConfig, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as a W&B run of its own, in the group of the runs that it sums up.

    Args:
        config: of any of these runs.
        name: of the run.
        columns: heads.
        rows: numbers and words.
    """
    chosen = mode(config)
    if chosen == "disabled":
        return
    import wandb

    settings = wandb.Settings(init_timeout=PATIENCE, silent=True)
    common: dict[str, Any] = {
        **{"project": config.wandb.project, "entity": config.wandb.entity or None, "group": config.wandb.group or None},
        **{"name": name, "job_type": "table", "dir": config.output, "settings": settings},
    }
    try:
        run = wandb.init(mode="offline" if chosen == "offline" else "online", **common)
    except Exception as error:  # as above
        warnings.warn(f"the table is kept offline, W&B does not answer: {' '.join(str(error).split())}", stacklevel=2)
        run = wandb.init(mode="offline", **common)
    run.log({"results": wandb.Table(columns=list(columns), data=[list(row) for row in rows])})
    run.finish()


def finish() -> None:
    """Ends the run of this process, if there is one, so that the next one begins anew."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()
