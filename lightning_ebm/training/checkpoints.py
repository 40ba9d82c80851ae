"""Checkpoints: one is whole on the disk before the one before it goes, and none is trusted unchecked."""

import hashlib
import io
import math
import os
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor

from lightning_ebm import pretrained
from lightning_ebm.config import ConfigError
from lightning_ebm.files import atomic_write, sync_names
from lightning_ebm.memory import AssociativeMemory
from lightning_ebm.pretrained import PretrainedError, leaves
from lightning_ebm.signals import reason

CHECKPOINTS = "checkpoints"
"""The folder of a run's checkpoints, within its own."""
GROWING = {"reading.step_decay": [0], "reading.momentum_decay": [0], "writing.learned_rates": [0, 2]}
"""The parameters of which a memory may have more than what it starts from, and along which axes: steps 0, terms 2."""


class DurableCheckpoints(CheckpointIO):
    """Lightning's way to the disk. It saves in the first process only, and loads in all."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See `write`."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """See `read_checkpoint`."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes a checkpoint, the one before it, and their hashes."""
        for file in (Path(path), before(Path(path)), hashes(Path(path))):
            file.unlink(missing_ok=True)


class MovableCheckpoint(ModelCheckpoint):
    """Lightning's, but its state holds no folder: a run that was moved keeps its best checkpoint so far."""

    def state_dict(self) -> dict[str, Any]:
        """Scores, and paths within the folder."""
        return placed(super().state_dict(), "")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them for those in the folder of this start, unless the best checkpoint is gone."""
        state = placed(state_dict, str(self.dirpath))
        best = Path(state["best_model_path"])
        if self.monitor and state["best_model_path"] and not is_whole(best):
            warnings.warn(f"{best} is missing or damaged; the next validation's takes its place", stacklevel=2)
        else:
            super().load_state_dict(state)


def placed(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """The state of a ModelCheckpoint, with all files in `folder`."""

    def place(path: str) -> str:
        return path and os.path.join(folder, os.path.basename(path))

    paths = {key: place(state[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
    scores = {place(path): score for path, score in state["best_k_models"].items()}
    return state | paths | {"dirpath": folder, "best_k_models": scores}


def before(path: Path) -> Path:
    """Where the checkpoint is kept that `path` held before: `last.ckpt` -> `last.previous.ckpt`."""
    return path.with_suffix(".previous.ckpt")


def hashes(path: Path) -> Path:
    """The file with the SHA-256 of a checkpoint and of the one before it, as `sha256sum -c` reads it."""
    return path.with_name(path.name.replace(".previous.", ".")).with_suffix(".sha256")


def write(path: Path, data: bytes) -> None:
    """Puts a checkpoint in its place. Killed at any moment, it leaves a whole one at `path` or at `before(path)`.

    The hashes go first, old and new together: whichever of the two files stands under whichever of the two names, its
    hash is known. What `path` held becomes the one before, but only if it is whole. An OSError leaves all as it was.
    """
    for left in path.parent.glob(f"{path.stem}.*partial"):  # by a kill
        left.unlink(missing_ok=True)
    partial = path.with_suffix(".partial")
    atomic_write(partial, data)
    try:
        kept = next((file for file in (path, before(path)) if is_whole(file)), None)
        lines = [f"{digest(data)}  {path.name}\n"]
        if kept:
            lines.append(f"{digest(kept.read_bytes())}  {before(path).name}\n")
        atomic_write(hashes(path), "".join(lines).encode())
        if kept == path:
            os.replace(path, before(path))
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_names(path.parent)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def is_whole(path: Path) -> bool:
    """Whether the checkpoint that is there was written there; one without a file of hashes (from elsewhere) passes."""
    return path.is_file() and is_known(path.read_bytes(), hashes(path))


def is_known(data: bytes, listed: Path) -> bool:
    """Whether a file of hashes lists that of a checkpoint's content, or is not there."""
    return not listed.exists() or digest(data).encode() in listed.read_bytes().split()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, in host memory. Nothing but tensors and plain values is unpickled.

    Raises:
        ConfigError: if the file is missing, damaged, or no checkpoint of ours; the message names it.
    """
    try:
        data = path.read_bytes()
        if not is_known(data, hashes(path)):
            raise ValueError(f"its SHA-256 is not in {hashes(path).name} (without that file, it is not compared)")
        try:
            saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # whose message advises to load it unsafely
            raise ValueError("it is damaged, no checkpoint, or holds code, which is not run") from None
        check(saved)
    except FileNotFoundError:
        anew = ", or check the path"
        if is_of_a_run(path):
            anew = " (the folder's name stands for its settings: give those that it was trained with)"
            anew = f"; if it was trained, remove {path.parent}" if path.parent.exists() else anew
        raise ConfigError(f"there is no checkpoint {path}: train this configuration first{anew}") from None
    except Exception as error:  # damage can show as almost any
        words = [f"cannot read the checkpoint {path}: {reason(error, 300)}"]
        if before(path).exists():
            words.append(f"take checkpoint={before(path)}")
        if is_of_a_run(path):
            words.append(f"to start over, remove {path.parent}")
        raise ConfigError("; ".join(words)) from error
    return dict(saved)


def is_of_a_run(path: Path) -> bool:
    """Whether a checkpoint lies in the folder that a run makes for its own, and nothing else lies there."""
    return path.parent.name == CHECKPOINTS


def check(saved: Any) -> None:
    """Checks what others than Lightning read of a checkpoint, and that no tensor claims more than the file holds."""
    if not isinstance(saved, dict):
        raise ValueError(f"it holds a {type(saved).__name__} in place of a dict")
    for key, kind in {"state_dict": dict, "global_step": int, "training_seconds": float}.items():
        if not isinstance(saved.get(key), kind):
            raise ValueError(f"{key} must be a {kind.__name__}, got {type(saved.get(key)).__name__}")
    for key in ("global_step", "training_seconds"):
        if not 0 <= saved[key] < math.inf:
            raise ValueError(f"{key} must be from 0, got {saved[key]}")
    for value in leaves(saved):
        if not isinstance(value, Tensor):
            continue
        if value.layout != torch.strided or value.is_meta:
            raise ValueError("it holds a tensor without values")
        # a few bytes, repeated by strides of zero, could fill any memory
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"it holds a tensor of shape {[*value.shape]}, but not its values")
    for name, value in saved["state_dict"].items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"state_dict[{name!r}] must be a tensor, got {type(value).__name__}")
        if value.isnan().any():  # what diverged; a buffer such as a mask of attention may be infinite
            raise ValueError(f"state_dict[{name!r}] is NaN")


def newest(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint at `path` and its content; the one before it, with a warning, if that is damaged. None: neither.

    Raises:
        ConfigError: if there is one, and none that can be read.
    """
    damage = None
    for file in (path, before(path)):
        if file.exists():
            try:
                saved = read_checkpoint(file)
            except ConfigError as error:
                damage = damage or error
                continue
            if damage:
                warnings.warn(f"{damage}; the one before it, {file.name}, is taken", stacklevel=3)
            return file, saved
    if damage:
        raise damage
    return None


def load(memory: AssociativeMemory, checkpoint: Path) -> None:
    """Gives a memory the parameters of a checkpoint.

    Raises:
        ConfigError: if it cannot be read, or is of another memory.
    """
    take(memory, *saved_parameters(checkpoint))


def begin(memory: AssociativeMemory, source: str) -> None:
    """Gives a memory the parameters with which `training.start_from` has it begin; if that is empty, its own stay.

    The memory may have more write steps or read steps than the source, or the gradient term: what the source lacks
    stays as it is. Rates that all write steps of the source share are taken for each of them. The source is a
    checkpoint (….ckpt), or a pretrained memory, by name or path (….safetensors).

    Raises:
        ConfigError: if there is no such file or name, or it is damaged, or of another memory.
    """
    if not source:
        return
    if source.endswith(".ckpt"):
        where, parameters = saved_parameters(Path(source))
    else:
        try:
            where, parameters = f"the pretrained memory {source}", pretrained.read(source).parameters
        except PretrainedError as error:
            also = "" if source.endswith(pretrained.SUFFIX) else ", or of a checkpoint, ….ckpt"
            raise ConfigError(f"training.start_from: {error}{also}") from None
    own = memory.state_dict()
    for name, axes in GROWING.items():
        if name in own and name in parameters:
            parameters[name] = grown(parameters[name], own[name], axes)
    take(memory, where, parameters)


def grown(old: Tensor, fresh: Tensor, axes: list[int]) -> Tensor:
    """`fresh` with `old` in its first entries along these axes, in all rows if it has one; `old` if it does not fit."""
    if old.dim() != fresh.dim():
        return old
    sizes = enumerate(zip(old.shape, fresh.shape, strict=True))
    if not all(had == has or (axis in axes and had < has) for axis, (had, has) in sizes):
        return old
    rows = len(fresh) if len(old) == 1 else len(old)
    fresh = fresh.clone()
    fresh[tuple(slice(size) for size in (rows, *old.shape[1:]))] = old
    return fresh


def saved_parameters(checkpoint: Path) -> tuple[str, dict[str, Tensor]]:
    """What to call a checkpoint in an error, and its memory's `state_dict`.

    If it is damaged, the one before it does not stand in: a table must not show another checkpoint than it says.
    """
    parameters = read_checkpoint(checkpoint)["state_dict"].items()
    mine = {name: value for name, value in parameters if name.startswith("memory.")}
    return f"the checkpoint {checkpoint}", {name.removeprefix("memory."): value for name, value in mine.items()}


def take(memory: AssociativeMemory, where: str, parameters: dict[str, Tensor]) -> None:
    """Gives a memory parameters, which lie where an error says."""
    try:
        memory.load_state_dict(parameters)
    except RuntimeError as error:
        raise ConfigError(f"{where} belongs to another memory: {reason(error, 300)}") from error


class RandomStates(pl.Callback):
    """Keeps the states of the random generators of Python, NumPy and torch in checkpoints, for each process.

    Episodes do not depend on them, but some memories draw from them while training: the Kanerva machines sample
    their latents, and mixtures disturb codes in their auxiliary loss. A process that the run did not have when the
    checkpoint was made keeps the state that the seed gave it.
    """

    def __init__(self) -> None:
        self.saved: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes."""
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
    if not 0 <= state["numpy"][2] <= 624:  # NumPy would read beyond its keys
        raise ValueError("the position of NumPy's random generator is out of range")
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
