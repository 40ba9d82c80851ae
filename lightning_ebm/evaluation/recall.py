"""A user's own images, stored in a pretrained memory and recalled: `lightning-ebm recall --memory NAME IMAGES…`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lightning_ebm.config import ConfigError, build, distortion_in_test, merge, parse_overrides, plain
from lightning_ebm.data.episodes import Episode
from lightning_ebm.data.own_images import as_pattern, read_image
from lightning_ebm.evaluation.analysis import Answer
from lightning_ebm.evaluation.evaluate import count_floats
from lightning_ebm.evaluation.gallery import recalled
from lightning_ebm.evaluation.metrics import pattern_errors, unit
from lightning_ebm.evaluation.reproduce import published, run_config
from lightning_ebm.evaluation.results import CONTROL
from lightning_ebm.evaluation.strips import read_path
from lightning_ebm.memory import image_shape
from lightning_ebm.pretrained import Pretrained
from lightning_ebm.registry import choice, datasets, distortions

MASKS = ("known", "unknown")


@dataclass
class RecallConfig:
    """Settings of `recall`.

    Attributes:
        distortion: how the images are damaged, by name, with its settings; as the memory was tested, if not given.
        seed: of the damage, a whole number from 0.
        mask: whether the memory is told which values were damaged, known or unknown; empty: as in its published row.
        invert: whether images are stored as their negatives: for bright ink on dark paper.
        output: folder that the report's folder is made in.
    """

    distortion: Any = choice(distortions, "noise_block")
    seed: int = 0
    mask: str = ""
    invert: bool = False
    output: str = "runs"


@dataclass(frozen=True)
class Recalled:
    """What a memory made of a user's images.

    Attributes:
        answer: table and figure.
        images: the images as they were given, by the name they are shown under.
        steps: pattern, query and each read step of each image, (2 + steps, images, *shape), values in [0, 1].
        energies: of the same, (2 + steps, images); None without an energy.
        floats: of the state that held them all.
        config: the settings.
    """

    answer: Answer
    images: dict[str, Image.Image]
    steps: np.ndarray
    energies: np.ndarray | None
    floats: int
    config: RecallConfig


def settings(saved: Pretrained, words: Sequence[str]) -> RecallConfig:
    """The settings of key=value words, over the distortion that the memory was tested with.

    Raises:
        ConfigError: on an unknown key or a value that is not allowed; the message names the key.
    """
    tested = {"distortion": plain(distortion_in_test(run_config(saved)))}
    config: RecallConfig = build(RecallConfig, merge(tested, parse_overrides(words)), "")
    if config.mask not in ("", *MASKS):
        raise ConfigError(f"mask must be one of {', '.join(MASKS)}, or empty, got {config.mask!r}")
    if config.seed < 0:
        raise ConfigError(f"seed must be at least 0, got {config.seed}")
    return config


def recall(saved: Pretrained, files: Sequence[Path], words: Sequence[str] = ()) -> Recalled:
    """Writes images into a memory, all together, and reads each back from a damaged copy.

    Args:
        saved: the memory's file.
        files: the images.
        words: key=value words, see `RecallConfig`.

    Raises:
        ConfigError: if there are no images, or a setting is not allowed.
        DataError: if a file is missing or no image.
        ValueError: if the memory does not store images, or the distortion does not fit.
    """
    if not files:
        raise ConfigError("recall needs images: one file or more")
    config, source = settings(saved, words), datasets.load(run_config(saved).data.name)
    try:
        image_shape(saved.spec)
    except ValueError as error:
        raise ConfigError(f"{saved.name} {error}") from None
    images = {f"{rank}. {path.name}": read_image(path) for rank, path in enumerate(files, start=1)}
    dark_is_one = getattr(source, "dark_is_one", False)
    patterns = np.stack([as_pattern(image, saved.spec, dark_is_one) for image in images.values()])
    patterns = 1 - patterns if config.invert else patterns
    distort = distortions.build(config.distortion, saved.spec)
    queries, mask = distort(patterns, np.random.default_rng(config.seed))
    episode = Episode(*(torch.from_numpy(values)[None] for values in (patterns, queries, mask)))
    first = next(result for result in published(saved) if result.memory != CONTROL)
    mask_known = first.mask_known if not config.mask else config.mask == "known"
    memory = saved.build()
    found = recalled(memory, episode, len(files), mask_known)
    if not np.isfinite(found["trajectory"]).all():
        raise ValueError(f"{saved.name} recalled values that are not finite")
    floats, _ = count_floats(memory, memory.initial_state(1))
    steps = np.concatenate([patterns[None], queries[None], found["trajectory"]])
    energies = found.get("energies")
    answer = Answer(
        title=f"What {saved.name} recalls of {len(files)} image{'s' if len(files) > 1 else ''}",
        caption=(
            f"All were written together, into {floats:,} floats, and each was read from a copy damaged by"
            f" {config.distortion}, mask {MASKS[not mask_known]}. Errors: {unit(saved.spec)}."
        ),
        columns=("image", *COLUMNS, *(ENERGIES if energies is not None else ())),
        rows=rows(list(images), saved, episode, torch.from_numpy(found["trajectory"][-1])[None], energies),
        figure=lambda dark: read_path(patterns, queries, found["trajectory"], dark, energies),
    )
    return Recalled(answer, images, steps, energies, floats, config)


COLUMNS = ("error of the query", "error on corrupted values", "error on all values")
ENERGIES = ("energy of the pattern", "of the query", "of the answer")


def rows(
    labels: Sequence[str], saved: Pretrained, episode: Episode, answer: torch.Tensor, energies: np.ndarray | None
) -> list[list[Any]]:
    """The table: label, errors and, where there are some, energies of each image.

    Args:
        labels: what the images are called.
        saved: the memory's file.
        episode: the images, as one episode.
        answer: what was recalled, (1, images, *shape).
        energies: as in `Recalled`.
    """
    patterns, queries, mask = episode
    errors = [
        pattern_errors(queries, patterns, saved.spec)[0],
        pattern_errors(answer, patterns, saved.spec, mask)[0],
        pattern_errors(answer, patterns, saved.spec)[0],
    ]
    columns = [error.tolist() for error in errors]
    if energies is not None:
        columns += [energies[0].tolist(), energies[1].tolist(), energies[-1].tolist()]
    return [list(row) for row in zip(labels, *columns, strict=True)]
