"""Metrics as CSV, of which no row is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

COLUMNS = ("epoch", "step", "train/loss", "train/seconds", "val/error", "val/error_corrupted")


class MetricsFile(CSVLogger):
    """Lightning's `metrics/version_<start>/metrics.csv`, one for each start of a run; `step` is the update minus one.

    Each row is on the disk before the checkpoint that follows it, so a run that goes on has all rows up to its
    checkpoint. Those after it are made again: of two rows of one step, that of the later start counts.

    Args:
        folder: the run's.
        name: of the folder in it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name, flush_logs_every_n_steps=1)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Writes a row."""
        if not self.experiment.metrics_keys:  # else the file is written anew when the first validation brings columns
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
