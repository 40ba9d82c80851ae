"""What can happen to a training that is nobody's mistake: no memory, no disk, a process gone; each said in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lightning_ebm.schema import RunConfig

KEPT = "the last checkpoint is kept, and the same command goes on from it"


class TrainingFailureError(RuntimeError):
    """Training ended before its time; the message says why, what to do, and what is kept."""


@contextmanager
def explained(config: RunConfig, folder: Path) -> Iterator[None]:
    """Turns failures of memory, disk and other processes within it into one line.

    Args:
        config: of the run; its keys are named.
        folder: where the run writes.

    Raises:
        TrainingFailureError: for these; any other error passes as it is.
    """
    try:
        yield
    except MemoryError as error:
        raise TrainingFailureError(out_of_memory(config)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full, or your quota of it"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            reason = "it cannot be written to"
        elif error.errno == errno.ENOENT and not folder.exists():
            reason = "the folder is gone"
        else:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise TrainingFailureError(
            f"{folder}: {reason}{where}; make room, or choose another output=…; {KEPT}"
        ) from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise TrainingFailureError(out_of_memory(config)) from error
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            raise TrainingFailureError(
                f"another process of this run is gone, or did not answer for trainer.timeout={config.trainer.timeout:g}"
                f" seconds; its own message says why; {KEPT}"
            ) from error
        raise


def out_of_memory(config: RunConfig) -> str:
    """What makes an update smaller: only more processes leave what is learned as it is."""
    return (
        f"out of memory. More processes (trainer.devices, now {config.trainer.devices}) share the episodes of an update"
        f" out; a smaller episodes.batch (now {config.episodes.batch}), episodes.items (now {config.episodes.items}) or"
        f" memory makes it smaller, as another run; {KEPT}"
    )
