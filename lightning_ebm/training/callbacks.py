"""What is seen during training: a progress line, and pictures of recall."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)
from rich.table import Column

from lightning_ebm.files import atomic_write
from lightning_ebm.metrics import to_numpy
from lightning_ebm.reporting.figures.strips import read_path
from lightning_ebm.reporting.figures.style import png


class Progress(pl.Callback):
    """One line: updates done, loss, the last validation's error in the units of the tables, time left.

    About once a second, the updates done are also put into a file, for whoever waits for this process. Where a budget
    of seconds is spent faster than that of updates, bar and file show what share of the updates it amounts to.

    Args:
        name: begins the line.
        updates: updates in all.
        path: the file.
    """

    def __init__(self, name: str, updates: int, path: Path) -> None:
        self.name, self.updates, self.path = name, updates, path
        self.written = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Starts the line, at the update that training resumes from."""
        whole = Column(min_width=len(f"{self.updates}/{self.updates}"))  # a narrow window may cut all else
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(table_column=whole),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            disable=not trainer.is_global_zero,
        )
        self.task = self.bar.add_task(self.name, total=self.updates, completed=self._done(trainer, module), numbers="")
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Moves the line on."""
        metrics = trainer.progress_bar_metrics
        shown = {"train/loss": "loss", "val/error": "val error", "val/error_corrupted": "on corrupted"}
        numbers = "  ".join(f"{label} {metrics[key]:.2f}" for key, label in shown.items() if key in metrics)
        done = self._done(trainer, module)
        self.bar.update(self.task, completed=done, numbers=numbers)
        if trainer.is_global_zero and time.monotonic() > self.written + 1:
            self.written = time.monotonic()
            if self.path.parent.exists():  # one that was moved away is not made again, so that training sees it
                atomic_write(self.path, str(done).encode())

    def _done(self, trainer: pl.Trainer, module: Any) -> int:
        return min(self.updates, int(module.position(trainer.global_step)))

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Shows the new errors at once."""
        self.on_train_batch_end(trainer, module)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Leaves the line as it stands, after an error too."""
        if hasattr(self, "bar"):
            self.bar.stop()


class Pictures(pl.Callback):
    """A picture at each validation: pattern, query, and each read step, for a few patterns of the first episode.

    Args:
        folder: where `step-<update>.png` files are put.
        items: patterns shown.
    """

    def __init__(self, folder: Path, items: int = 6) -> None:
        self.folder, self.items = folder, items

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_index: int,
        *_: Any,
    ) -> None:
        """Draws the first batch."""
        if batch_index or not trainer.is_global_zero:
            return
        with torch.no_grad():
            memory: Any = module.memory
            trajectory = memory.read(memory.write(batch.patterns[:1]), batch.queries[:1, : self.items])
        patterns, queries = (to_numpy(x[0, : self.items]) for x in (batch.patterns, batch.queries))
        figure = read_path(patterns, queries, to_numpy(trajectory[:, 0]))
        path = self.folder / f"step-{trainer.global_step:07d}.png"
        atomic_write(path, png(figure))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("recall", [str(path)], trainer.global_step)
