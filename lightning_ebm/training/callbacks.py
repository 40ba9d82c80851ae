"""What is seen during training: a progress line, and pictures of recall."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import rich
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from lightning_ebm.files import atomic_write
from lightning_ebm.metrics import pattern_errors, to_numpy
from lightning_ebm.reporting.figures.strips import read_path
from lightning_ebm.reporting.figures.style import save
from lightning_ebm.reporting.record import Recall
from lightning_ebm.training.loggers import Tracker

SHOWN = {"train/loss": "loss", "val/error": "val error", "val/error_corrupted": "on corrupted"}
"""Metrics that progress shows, and what it calls them."""
EVERY = 60.0
"""Seconds between lines of progress that are not in a terminal; the first one comes sooner."""
SHOWN_PATTERNS = 6
"""Patterns in a picture of a validation."""


class Progress(pl.Callback):
    """Updates done, loss, the last validation's error in the units of the tables, time left; totals at the end.

    In a terminal it is one line that moves; elsewhere, as in a log file, a new line every so often. Where a budget of
    seconds is spent faster than that of updates, what is shown is the share of the updates that it amounts to. The
    number of updates done is also written to the file `path`, for the parent process, about once a second.
    """

    def __init__(self, name: str, updates: int, path: Path) -> None:
        self.name, self.updates, self.path = name, updates, path
        self.console = rich.get_console()  # whoever calls training may have made it quiet
        self.bar: RichProgress | None = None
        self.written = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Starts the line, at the update that training resumes from."""
        self.began, self.first, self.resumed_at = time.monotonic(), self._done(trainer, module), trainer.global_step
        self.next_line = self.began + EVERY / 6
        if trainer.is_global_zero and self.console.is_terminal:
            whole = Column(min_width=len(f"{self.updates}/{self.updates}"))  # a narrow window may cut all else
            self.bar = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                MofNCompleteColumn(table_column=whole),
                TextColumn("{task.fields[numbers]}", markup=False),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.task = self.bar.add_task(self.name, total=self.updates, completed=self.first, numbers="")
            self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Moves the line on, or writes the next one."""
        if not trainer.is_global_zero:
            return
        now, done = time.monotonic(), self._done(trainer, module)
        if self.bar:
            self.bar.update(self.task, completed=done, numbers="  ".join(numbers(trainer)))
        elif now > self.next_line and self.first < done < self.updates:
            self.next_line = now + EVERY
            left = (now - self.began) * (self.updates - done) / (done - self.first)
            self._write(f"{done:,} of {self.updates:,} updates", *numbers(trainer), f"{clock(left)} left")
        if now > self.written + 1:
            self.written = now
            if self.path.parent.exists():  # one that was moved away is not made again, so that training sees it
                atomic_write(self.path, str(done).encode())

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Shows the new errors at once."""
        if self.bar:
            self.on_train_batch_end(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Totals."""
        if trainer.is_global_zero:
            self._stop()
            seconds, updates = clock(time.monotonic() - self.began), trainer.global_step
            spent = f"{seconds} for the last {updates - self.resumed_at:,} of them"
            self._write(f"{updates:,} updates", spent, *numbers(trainer))

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Leaves the line as it stands, after an error too."""
        self._stop()

    def _done(self, trainer: pl.Trainer, module: Any) -> int:
        return min(self.updates, int(module.position(trainer.global_step)))

    def _write(self, *words: str) -> None:
        self.console.print(f"{self.name}: {', '.join(words)}", markup=False, highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None


def numbers(trainer: pl.Trainer) -> list[str]:
    """The metrics that there are so far, with their names."""
    metrics = trainer.progress_bar_metrics
    return [f"{label} {metrics[key]:.2f}" for key, label in SHOWN.items() if key in metrics]


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, 1:02:03, and days before them."""
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def progress_as_in(console: Console) -> Iterator[None]:
    """Within it, progress is shown if the console shows anything."""
    shown = rich.get_console()
    was_quiet, shown.quiet = shown.quiet, console.quiet
    try:
        yield
    finally:
        shown.quiet = was_quiet


class Pictures(pl.Callback):
    """At each validation, `step-<update>.png`: pattern, query and read steps of a few patterns of one episode."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int, *_: Any
    ) -> None:
        """Draws the first batch."""
        if batch_index or not trainer.is_global_zero:
            return
        some = slice(SHOWN_PATTERNS)
        patterns, queries, steps = map(to_numpy, (batch.patterns[0, some], batch.queries[0, some], outputs[:, 0, some]))
        path = self.folder / f"step-{trainer.global_step:07d}.png"
        save(read_path(Recall(patterns, queries, steps)), path.with_suffix(""))
        for tracker in trackers(trainer):
            tracker.log_image("recall/patterns", [str(path)], trainer.global_step - 1)


class ErrorByReadStep(pl.Callback):
    """Logs the error of the query and after each read step to W&B, averaged over the validation episodes."""

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Starts the sums of a validation."""
        self.sums: Any = 0.0

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_index: int, *_: Any
    ) -> None:
        """Adds the error of every pattern."""
        sums = torch.stack([pattern_errors(x, batch.patterns, module.spec).sum() for x in (batch.queries, *outputs)])
        self.sums = self.sums + torch.cat([sums, sums.new_tensor([batch.patterns.shape[:2].numel()])])

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Logs their means over all processes."""
        *sums, patterns = trainer.strategy.reduce(self.sums, reduce_op="sum").tolist()
        points = [(step, value / patterns) for step, value in enumerate(sums)]
        for tracker in trackers(trainer):
            tracker.log_line("recall/error_by_read_step", "read step", "error", points, trainer.global_step - 1)


class MovingAverage(EMAWeightAveraging):
    """Lightning's, of parameters only, which begins anew where training sets some of them instead of learning them.

    An average that had to follow what is set, such as a rate that was zero, would be far from it for many updates.
    Buffers are what they are in the module: an average of whole numbers would be cut off to whole numbers.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay, use_buffers=False)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *rest: Any) -> None:
        """Adds the parameters after an update to the average, or takes them for it."""
        if module.parameters_set and self._average_model is not None:
            self._average_model.n_averaged.zero_()
        super().on_train_batch_end(trainer, module, *rest)


def trackers(trainer: pl.Trainer) -> list[Tracker]:
    """The trainer's loggers that are W&B's."""
    return [logger for logger in trainer.loggers if isinstance(logger, Tracker)]
