"""Checkpoints: one is whole on the disk before the one before it goes, and none is trusted unchecked."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO

from lightning_ebm.config import ConfigError, one_line
from lightning_ebm.files import write_through
from lightning_ebm.memory import AssociativeMemory


class DurableCheckpoints(CheckpointIO):
    """Lightning's way to the disk, through `write` and `read_checkpoint`.

    Lightning saves in the first process only, and loads in all.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint; an error leaves the ones before as they were."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Reads a checkpoint into host memory; always with weights_only."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes a checkpoint, the one before it, and their hashes."""
        for file in (Path(path), before(Path(path)), hashes(Path(path))):
            file.unlink(missing_ok=True)


def before(path: Path) -> Path:
    """Where the checkpoint is kept that `path` held before: `last.ckpt` -> `last.previous.ckpt`."""
    return path.with_suffix(".previous.ckpt")


def hashes(path: Path) -> Path:
    """The file with the SHA-256 of `path` and of the one before it, as `sha256sum -c` reads it."""
    return path.with_suffix(".sha256")


def write(path: Path, data: bytes) -> None:
    """Puts a checkpoint in its place. Killed at any moment, it leaves a whole one at `path` or at `before(path)`.

    The hashes go first, old and new together: whichever of the two files stands under whichever of the two names, its
    hash is known. What `path` held becomes the one before, but only if it is whole.

    Args:
        path: a checkpoint's; its folder is made if there is none.
        data: all of it.

    Raises:
        OSError: if it cannot be written; what was there is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = next((file for file in (path, before(path)) if file.is_file() and is_whole(path, file.read_bytes())), None)
    lines = [f"{digest(data)}  {path.name}\n"]
    if kept:
        lines.append(f"{digest(kept.read_bytes())}  {before(path).name}\n")
    partial, partial_hashes = path.with_suffix(".partial"), hashes(path).with_suffix(".sha256.partial")
    try:
        write_through(partial, data)
        write_through(partial_hashes, "".join(lines).encode())
        os.replace(partial_hashes, hashes(path))
        if kept == path:
            os.replace(path, before(path))
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        partial_hashes.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the names too, not only what they stand for
    finally:
        os.close(folder)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def is_whole(path: Path, data: bytes) -> bool:
    """Whether a checkpoint that stands at `path` or before it is one that was written there.

    One without a file of hashes (copied from elsewhere) passes.
    """
    return not hashes(path).exists() or digest(data) in hashes(path).read_text(encoding="utf-8").split()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, in host memory. Nothing but tensors and plain values is unpickled.

    Raises:
        ConfigError: if the file is missing or damaged; the message names it.
    """
    written_as = path.with_name(path.name.replace(".previous.", "."))
    try:
        data = path.read_bytes()
        if not is_whole(written_as, data):
            raise EOFError(f"its SHA-256 is not in {hashes(written_as).name}")
        saved: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"there is no checkpoint {path}: train this configuration first") from None
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        why = one_line(error) if str(error) else type(error).__name__
        raise ConfigError(f"cannot read the checkpoint {path}: {why}. To begin anew, remove {path.parent}") from error
    return saved


def last_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The last checkpoint in a folder and its content; the one before, with a warning, if the last is damaged.

    Returns:
        None if there is neither.

    Raises:
        ConfigError: if there is one, and none that can be read.
    """
    last = folder / "last.ckpt"
    damage: ConfigError | None = None  # the first
    for path in (last, before(last)):
        if path.exists():
            try:
                saved = read_checkpoint(path)
            except ConfigError as error:
                damage = damage or error
            else:
                if damage:
                    warnings.warn(f"{last} is damaged; the one before it, {path.name}, is taken", stacklevel=2)
                return path, saved
    if damage:
        raise damage
    return None


def load(memory: AssociativeMemory, checkpoint: Path) -> None:
    """Gives a memory the parameters of a checkpoint.

    Raises:
        ConfigError: if the file is missing, damaged, or of another memory.
    """
    saved = read_checkpoint(checkpoint)["state_dict"]
    mine = {name.removeprefix("memory."): value for name, value in saved.items() if name.startswith("memory.")}
    try:
        memory.load_state_dict(mine)
    except RuntimeError as error:
        raise ConfigError(f"the checkpoint {checkpoint} is of another memory: {one_line(error)}") from error


class RandomStates(pl.Callback):
    """Keeps the states of the random generators of Python, NumPy and torch in checkpoints, for each process.

    Nothing of ours draws from them while training, but a memory of yours may. A process that the run did not have
    when the checkpoint was made keeps the state that the seed gave it.
    """

    def __init__(self) -> None:
        self.saved: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes, as tensors and plain values."""
        states: list[Any] = [random_state()]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            states *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, random_state())
        return {"processes": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them from a checkpoint."""
        self.saved = state_dict["processes"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Sets them when all that comes before training is done."""
        if trainer.global_rank < len(self.saved):
            set_random_state(self.saved[trainer.global_rank])


def random_state() -> dict[str, Any]:
    """The state of each random generator of this process, as tensors and plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)
    state = {"python": random.getstate(), "numpy": (name, list(map(int, keys)), *rest), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Puts the generators of this process into the states that `random_state` gave."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
