"""The one LightningDataModule: an endless stream of training episodes, fixed validation and test episodes."""

import atexit
import multiprocessing
import signal
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, default_convert

from lightning_ebm.config import naming
from lightning_ebm.data.episodes import (
    Distortion,
    Episode,
    EpisodeDataset,
    EpisodeSampler,
    PatternSource,
    Sampling,
    Split,
)
from lightning_ebm.schema import EpisodesConfig
from lightning_ebm.signals import STOP_SIGNALS

WORKER_TIMEOUT = 45.0
"""Seconds that a worker has for a batch before it is given up."""


class EpisodeDataModule(pl.LightningDataModule):
    """Loaders of episode batches for the three splits.

    Training episodes are numbered through, over all processes. A checkpoint has the position in their stream, so that a
    resumed run sees exactly the episodes that an uninterrupted one would have seen. Test episodes may have a distortion
    of their own.

    Raises:
        ValueError: if there are fewer patterns than a training episode may hold, or fewer than its distortion needs.
    """

    def __init__(
        self,
        source: PatternSource,
        distortion: Distortion,
        config: EpisodesConfig,
        test_distortion: Distortion | None = None,
    ) -> None:
        super().__init__()
        self.source, self.distortion, self.episodes = source, distortion, config
        self.test_distortion = test_distortion or distortion
        self.sampling = Sampling(config.classes, config.with_replacement)
        self.curriculum = Curriculum(config) if config.train_patterns_per_episode else None
        self.position = 0
        self.check("train", config.train_patterns_per_episode, "episodes.train_patterns_per_episode")

    def check(self, split: Split, counts: Sequence[int], key: str) -> None:
        """Draws an episode of each number of patterns, which may come late, as the setting `key` has them.

        Raises:
            ValueError: if a split has fewer patterns, or a distortion needs more.
        """
        distortion = self.test_distortion if split == "test" else self.distortion
        for items in counts:
            with naming(key):
                EpisodeDataset(self.source, distortion, items, split, self.episodes.seed, self.sampling)[0]

    def train_dataloader(self) -> DataLoader[Episode]:
        """Batches without end; an epoch begins with the episode after the last one that an update has used."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Episode]:
        """The same validation episodes each time."""
        return self._loader("val", stop=self.episodes.val)

    def test_dataloader(self) -> DataLoader[Episode]:
        """The test episodes, the same for every memory."""
        return self._loader("test", stop=self.episodes.test)

    def _loader(self, split: Split, stop: int | None = None) -> DataLoader[Episode]:
        config, trainer = self.episodes, self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        distortion = self.test_distortion if split == "test" else self.distortion
        items = self.curriculum if self.curriculum and split == "train" else config.patterns_per_episode
        if config.workers:
            prepare_workers(config.workers)
        return DataLoader(
            EpisodeDataset(self.source, distortion, items, split, config.seed, self.sampling),
            batch_sampler=EpisodeSampler(
                config.batch, stop=stop, rank=rank, world=world, used=self.used if split == "train" else None
            ),
            collate_fn=default_convert,  # the batch as it is: the dataset assembles whole ones
            num_workers=config.workers,
            timeout=WORKER_TIMEOUT if config.workers else 0,
            worker_init_fn=leave_signals,
            generator=torch.Generator(),  # torch draws from it at each start, which would move the global one on
        )

    def used(self) -> int:
        """Training episodes that updates have used, also before a restart."""
        if not self.trainer:
            return self.position
        batches = self.trainer.global_step * self.trainer.accumulate_grad_batches
        return max(self.position, batches * self.episodes.batch)

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream: episodes that updates have used, not those that workers have fetched."""
        return {"position": self.used()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes to the position of a checkpoint."""
        self.position = state_dict["position"]


class Curriculum:
    """Draws N, the patterns of a training episode, as `episodes.train_patterns_per_episode` and `curriculum` say.

    N is a pure function of the settings and an episode's index, and the same for all episodes of one update.
    """

    def __init__(self, config: EpisodesConfig) -> None:
        self.config = config
        self.low, self.high = config.train_patterns_per_episode

    def __call__(self, index: int) -> int:
        """N of the episode of this index; all numbers of the range that its update has are equally likely."""
        update = index // self.config.batch
        # the spawn key makes these draws independent of those of `episode_random`
        entropy = np.random.SeedSequence((self.config.seed, 0, update), spawn_key=(1,))
        return int(np.random.default_rng(entropy).integers(self.low, self.upper(update), endpoint=True))

    def upper(self, update: int) -> int:
        """The upper end of the range at an update, rounded down."""
        if update >= self.config.curriculum:
            return self.high
        return self.low + (self.high - self.low) * update // self.config.curriculum


def prepare_workers(workers: int) -> None:
    """Makes sure that workers can be started, and that none that hangs keeps this process from ending."""
    try:
        multiprocessing.Lock()  # a semaphore, which a worker's queues need
    except OSError as error:
        raise ValueError(
            f"episodes.workers={workers}: processes cannot share memory here ({error}); set episodes.workers=0, or make"
            " /dev/shm larger (docker run --shm-size=1g)"
        ) from error
    atexit.unregister(end_workers)
    atexit.register(end_workers)  # before multiprocessing waits for them


def end_workers() -> None:
    """Kills the workers of this process, which ignore anything milder."""
    main_thread = threading.current_thread() is threading.main_thread()
    alive = [child for child in multiprocessing.active_children() if child.daemon]
    quiet = bool(alive) and main_thread and hasattr(signal, "SIGCHLD")
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if quiet else None  # torch's would take it for a mishap
    for child in alive:
        child.kill()
    for child in alive:
        child.join()
    if quiet:
        signal.signal(signal.SIGCHLD, before)


def leave_signals(worker: int) -> None:
    """Makes a worker ignore the signals that ask a run to stop, which may come to all of its processes.

    Otherwise workers would be gone before the trainer has finished its update and saved; it ends them itself.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
