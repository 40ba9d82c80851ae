"""From a configuration to a trained memory: build, fit, and a run folder that says all about it."""

import functools
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_ebm.config import ConfigError, chosen, distortion_in_test, identity, naming, plain, run_folder, to_yaml
from lightning_ebm.data.datamodule import EpisodeDataModule
from lightning_ebm.data.episodes import DataError
from lightning_ebm.files import LockedError, atomic_write, lock
from lightning_ebm.launcher import check, launched, rank
from lightning_ebm.memory import AssociativeMemory, is_trainable
from lightning_ebm.registry import datasets, digest_of_file, distortions, memories
from lightning_ebm.schema import RunConfig
from lightning_ebm.signals import Exit, reason
from lightning_ebm.training.callbacks import ErrorByReadStep, MovingAverage, Pictures, Progress
from lightning_ebm.training.checkpoints import (
    CHECKPOINTS,
    DurableCheckpoints,
    MovableCheckpoint,
    RandomStates,
    begin,
    load,
    newest,
)
from lightning_ebm.training.compilation import Compilation, is_compiled
from lightning_ebm.training.loggers import MetricsFile, finish, mode, tracker
from lightning_ebm.training.module import MetaTraining, NonFiniteLossError
from lightning_ebm.training.preemption import EndTogether, StopOnSignal, explained, known_failure


@dataclass(frozen=True)
class Run:
    """A configuration and what was built from it."""

    config: RunConfig
    folder: Path
    """Where the run keeps everything."""
    data: EpisodeDataModule
    memory: AssociativeMemory

    @property
    def checkpoints(self) -> Path:
        """Folder of its checkpoints: `best.ckpt`, of least error in validation, and `last.ckpt`."""
        return self.folder / CHECKPOINTS

    @property
    def device(self) -> torch.device:
        """Where its memory is tested: the GPU that it trains on, but for Apple's, which have no float64."""
        wanted = self.config.trainer.accelerator
        on_gpu = wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        if wanted in ("gpu", "cuda") and not on_gpu:
            raise ConfigError(f"trainer.accelerator={wanted} needs a GPU that torch can use; there is none here")
        return torch.device("cuda" if on_gpu and is_trainable(self.memory) else "cpu")


def build(config: RunConfig) -> Run:
    """Builds data and memory. Parameters depend on `config.seed` only.

    Raises:
        ConfigError: if a setting does not fit; the message names the key.
        DataError: if a data file is missing or damaged.
    """
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
        os.environ["OMP_NUM_THREADS"] = str(config.trainer.threads)  # else Lightning sets its own number of threads
    torch.set_float32_matmul_precision(config.trainer.matmul_precision)
    torch.backends.cudnn.allow_tf32 = config.trainer.matmul_precision != "highest"  # convolutions too
    source = datasets.build(config.data)
    with naming("distortion"):
        distortion = distortions.build(config.distortion, source.spec)
    with naming("test_distortion"):
        test_distortion = distortions.build(distortion_in_test(config), source.spec)
    data = EpisodeDataModule(source, distortion, config.episodes, test_distortion)
    data.check("test", config.compare.patterns_per_episode, "compare.patterns_per_episode")
    pl.seed_everything(config.seed, verbose=False)
    with naming("memory"):
        memory = memories.build(config.memory, source.spec)
        if not isinstance(memory, AssociativeMemory):
            raise ValueError(f"{config.memory.name} must be a subclass of lightning_ebm.AssociativeMemory")
    if config.training.max_steps == 0 and is_trainable(memory):  # else `fit` does, unless it resumes
        begin(memory, config.training.start_from)
    return Run(config, run_folder(config), data, memory)


def train(run: Run) -> Path | None:
    """Meta-trains the run's memory, from where it stopped; leaves it in evaluation mode with the best parameters found.

    Returns:
        The best checkpoint (least error on validation episodes); None if the memory has nothing to train.

    Raises:
        ConfigError: if the run exists and `resume` is never, or validation episodes do not divide.
        NonFiniteLossError: if the loss is NaN or infinite; checkpoints made before are kept.
        TrainingFailureError: if memory or disk do not suffice, or another process is gone; they are kept too.
        Stopped: if a signal of `STOP_SIGNALS` came; a checkpoint of the last update is made.
        Exit: see `held`.
    """
    warn_of_changed_code(run.config, run.folder)
    if not is_trainable(run.memory) or run.config.training.max_steps == 0:
        return None
    if updates_left(run) or run.config.resume == "never":
        with explained(run.config, run.folder), held(run.folder):
            last = newest(run.checkpoints / "last.ckpt")
            if last and run.config.resume == "never":
                raise ConfigError(
                    f"{run.folder} holds a run of this configuration, and resume=never. Choose another name=…"
                )
            if updates_left(run):  # else another process has made them meanwhile
                record_run(run)
                fit(run, last[0] if last else None)
    if run.config.trainer.precision in ("64-true", "bf16-true"):
        run.memory.float()  # these have changed it; patterns are float32
    load(run.memory.eval(), run.checkpoints / "best.ckpt")
    return run.checkpoints / "best.ckpt"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a run's folder; waits, with a message, for one that is in it.

    The first process of a group holds it for all. The others of a group that a launcher started do not see that it
    waits, and would continue without it: such a group ends instead, by `Exit`.
    """
    try:
        with nullcontext() if rank() else lock(folder / "lock", wait=not launched()):
            yield
    except LockedError as error:
        raise Exit(1, str(error)) from None


def fit(run: Run, checkpoint: Path | None) -> None:
    """Makes the updates that are left. Errors of training pass.

    Raises:
        ConfigError: if the checkpoint cannot be resumed from; the message names it.
        ValueError: if validation episodes cannot hold as many patterns as configured.
    """
    run.data.check("val", [run.config.episodes.patterns_per_episode], "episodes.patterns_per_episode")
    if checkpoint is None:
        begin(run.memory, run.config.training.start_from)
    module = MetaTraining(run.memory, run.data.source.spec, run.config.training, plain(run.config))
    try:
        make_trainer(run).fit(module, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
    except (ConfigError, DataError, NonFiniteLossError):
        raise
    except MisconfigurationException as error:
        devices = f"trainer.accelerator={run.config.trainer.accelerator}, trainer.devices={run.config.trainer.devices}"
        here = f"This machine has {torch.cuda.device_count()} CUDA devices, and its CPU"
        raise ConfigError(f"{devices}: {reason(error, 300)} {here}") from error
    except Exception as error:  # what Lightning restores can be wrong in any way, and may show in the first update
        if checkpoint is None or module.updated or known_failure(error, run.config, run.folder):
            raise
        why = f"{type(error).__name__}: {reason(error, 300)}"
        raise ConfigError(f"cannot resume from the checkpoint {checkpoint}: {why}") from error
    finally:
        finish()


def make_trainer(run: Run) -> pl.Trainer:
    """The Lightning trainer of a run."""
    config, training = run.config, run.config.training
    options: Any = {"enable_version_counter": False, "save_on_train_epoch_end": False}
    together = EndTogether()
    callbacks: list[Callback] = [
        MovableCheckpoint(run.checkpoints, "best", monitor="val/error", **options),
        MovableCheckpoint(run.checkpoints, "last", **options),  # after `best`, so that it holds what that one knows
        # after `last`, so that a validation's checkpoint is made before
        StopOnSignal(run.checkpoints / "last.ckpt"),
        *(RandomStates(), together, Progress(config.name, training.max_steps, run.folder / "progress")),
    ]
    if mode(config) != "disabled":  # in all processes, though only the first one has W&B's logger
        callbacks.append(ErrorByReadStep())
    if training.log_images:
        callbacks.append(Pictures(run.folder / "pictures"))
    if is_compiled(config):
        callbacks.append(Compilation(config))
    if training.ema_decay:
        callbacks.append(MovingAverage(training.ema_decay))
    check(config.trainer.devices, config.trainer.num_nodes)
    strategy: Any = "auto"
    if config.trainer.devices * config.trainer.num_nodes > 1:
        # while single patterns are coded, what writes and reads gets no gradient, and a detector that a known mask
        # replaces gets none; what a class of the user's own leaves without one is not known
        own = any(":" in one.name for one in chosen(config))
        unused = training.pretrain_steps > 0 or training.mask or own
        strategy = DDPStrategy(timeout=timedelta(seconds=config.trainer.timeout), find_unused_parameters=unused)
    trainer = pl.Trainer(
        strategy=strategy,
        plugins=[DurableCheckpoints()],
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        num_nodes=config.trainer.num_nodes,
        precision=config.trainer.precision,  # type: ignore[arg-type]
        max_steps=training.max_steps,
        max_epochs=-1,
        val_check_interval=min(training.validate_every, training.max_steps),
        check_val_every_n_epoch=None,
        gradient_clip_val=training.clip or None,
        logger=[logger for logger in (MetricsFile(run.folder), tracker(config)) if logger],
        callbacks=callbacks,
        inference_mode=False,  # reading differentiates, in evaluation too
        use_distributed_sampler=False,  # the episode sampler shares episodes out by itself
        num_sanity_val_steps=0,
        log_every_n_steps=min(50, training.max_steps),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    together.watch_start(trainer)
    return trainer


def training_record(run: Run) -> tuple[int, float]:
    """Updates done and seconds spent on them, as the run's last checkpoint says; zeros if there is none."""
    last = newest(run.checkpoints / "last.ckpt") if is_trainable(run.memory) else None
    return (int(last[1]["global_step"]), float(last[1]["training_seconds"])) if last else (0, 0.0)


def updates_left(run: Run) -> int:
    """Updates that training may still make; none when there is nothing to train, or the budget of seconds is spent."""
    training, (updates, seconds) = run.config.training, training_record(run)
    spent = training.max_seconds and seconds >= training.max_seconds
    return 0 if spent or not is_trainable(run.memory) else max(0, training.max_steps - updates)


def warn_of_changed_code(config: RunConfig, folder: Path) -> None:
    """Warns if the file of a class of the user's own has changed since the run began, whose results are of the old one.

    The configuration names such a class, but does not hold its code. The first call keeps what the files are then.
    """
    digests = {one.name: digest_of_file(one.name) for one in chosen(config) if ":" in one.name}
    path = folder / "code.json"
    if not digests or rank():
        return
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        atomic_write(path, json.dumps(digests).encode())
        return
    if changed := [name for name, digest in digests.items() if kept.get(name) != digest]:
        warnings.warn(
            f"the code of {', '.join(changed)} has changed since {folder} was begun; what is there is of the old code:"
            " choose another name=…, or remove the folder",
            stacklevel=2,
        )


def record_run(run: Run) -> None:
    """Keeps the configuration, and adds to provenance.yaml, which has one document for each start of the run."""
    if rank():
        return
    atomic_write(run.folder / "config.yaml", to_yaml(run.config).encode())
    path = run.folder / "provenance.yaml"
    earlier = path.read_bytes() if path.exists() else b""
    if earlier and not earlier.endswith(b"\n"):  # cut off
        earlier += b"\n"
    start = yaml.safe_dump(provenance(run.config), sort_keys=False, explicit_start=True)
    atomic_write(path, earlier + start.encode())


def provenance(config: RunConfig) -> dict[str, str]:
    """What a number depends on besides its configuration: versions, commit, hardware, command, time."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    return {
        "command": " ".join(["lightning-ebm", *sys.argv[1:]]),
        "identity": identity(config),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "device": f"{device}, {torch.get_num_threads()} threads",
        "compiled": "yes" if is_compiled(config) else "no",
        **versions("pytorch-lightning", "lightning-ebm"),
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, torch and these packages, by name; "not installed" where one is not."""
    # torch's with the build, +cpu or +cu130, which the package's own number may lack
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@functools.cache  # every row of a table asks for it
def commit() -> str:
    """The commit of the code, with a mark if files were changed since; "unknown" outside a git checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
