"""Training as one call: a configuration in, a trained memory out."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lightning_ebm.config import Overrides, Source, read, resolve
from lightning_ebm.memory import is_trainable
from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.reporting.terminal import QUIET
from lightning_ebm.schema import RunConfig
from lightning_ebm.training import trainer
from lightning_ebm.training.callbacks import progress_as_in
from lightning_ebm.training.checkpoints import load


@dataclass(frozen=True)
class TrainedRun(trainer.Run):
    """A run after training: its memory has the best parameters found, those of least error in validation."""

    checkpoint: Path | None
    """Holds these parameters; None if the memory has none."""
    updates: int
    """Steps of meta-training, all starts of the run together."""
    seconds: float
    """Seconds of meta-training, likewise."""
    validations: list[tuple[int, float, float]]
    """Step, seconds until then, and `val/error` of each validation."""


def restore(config: RunConfig, checkpoint: str = "") -> trainer.Run:
    """A run whose memory, if it is trained, has the parameters of a checkpoint, or the best ones of the configuration.

    Raises:
        ConfigError: if it was not trained, or its checkpoint is damaged.
    """
    run = trainer.build(config)
    if is_trainable(run.memory) and (checkpoint or config.training.max_steps):
        load(run.memory.eval(), Path(checkpoint or run.checkpoints / "best.ckpt"))
    return run


def train(source: Source, overrides: Overrides = (), console: Console = QUIET) -> TrainedRun:
    """Meta-trains the memory of a configuration, or resumes its training; what is done is not done again.

        run = lebm.train("demo", {"seed": 1})
        state = run.memory.write(patterns)

    The random generators of Python, NumPy and torch are seeded with `seed`, and settings of torch that `trainer` has,
    such as the number of threads, stay as it sets them.

    Args:
        source: the configuration: a YAML file, the name of one in the package, or a mapping.
        overrides: settings laid over it: key=value words or a mapping.
        console: shows progress, and where the best parameters are.

    Raises:
        ConfigError: if the configuration is wrong.
        NonFiniteLossError, TrainingFailureError, Stopped: as `trainer.train`.
    """
    run = trainer.build(resolve(read(source, overrides)))
    with progress_as_in(console):
        best = trainer.train(run)
    done = f"best checkpoint: {best}"
    if best is None:
        what = ": training.max_steps=0" if is_trainable(run.memory) else " has no parameters to train"
        done = f"{run.config.memory.name}{what}; use evaluate or compare"
    console.print(done, markup=False, soft_wrap=True)
    record, curve = trainer.training_record(run), read_curve(run.folder)
    return TrainedRun(run.config, run.folder, run.data, run.memory, best, *record, curve)
