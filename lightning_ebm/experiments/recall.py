"""A user's own images, stored in a pretrained memory and recalled: `lightning-ebm recall --memory NAME IMAGES…`."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lightning_ebm.config import ConfigError, build, distortion_in_test, merge, parse_overrides, plain
from lightning_ebm.data.episodes import DataError, Episode
from lightning_ebm.data.images import as_pattern, is_drawing, read_image
from lightning_ebm.experiments.analysis import AnalysisResult
from lightning_ebm.experiments.measure import count_floats, recall_first
from lightning_ebm.experiments.pretrained import published, run_config
from lightning_ebm.memory import PatternSpec, image_shape
from lightning_ebm.metrics import pattern_errors, unit
from lightning_ebm.pretrained import Pretrained
from lightning_ebm.registry import choice, datasets, distortions
from lightning_ebm.reporting.figures.strips import read_path
from lightning_ebm.reporting.figures.style import save
from lightning_ebm.reporting.record import Recall
from lightning_ebm.reporting.report import origin, picture, short, strip, write_page
from lightning_ebm.reporting.table import write_rows
from lightning_ebm.reporting.templates import render
from lightning_ebm.settings import Settings, setting

GLYPHS = range(16, 65)  # pixels a side that glyphs can be drawn in
DRAWINGS, PHOTOGRAPHS = "omniglot-4608-any", "cifar10-9216-any"
"""The memories that `recall` takes if none is named, of any damage."""
THUMBNAIL = 128  # pixels of the longer side of an image as it was given


@dataclass(frozen=True)
class RecallConfig(Settings):
    """Settings of `recall`."""

    distortion: Any = choice(distortions, "block")
    """How the images are corrupted, by name, with its settings; default: as in the memory's test."""
    company: Any = choice(datasets, "")
    """Data set, by name, with its settings. Its test patterns are stored together with the images, up to the fewest
    patterns that the memory is published with: one that is trained with 16 patterns may fail on two. Default: glyphs
    for binary images, because they need no files, otherwise the memory's own data; empty: none."""
    seed: int = setting(0, at_least=0)
    """Seed of corruption and company."""
    mask: str | None = setting(None, one_of=("known", "unknown"))
    """Whether the memory gets the mask; empty: as in its published row."""
    invert: bool = False
    """Whether images are stored as their negatives: for bright ink on dark paper."""
    output: str = setting("runs", path=True)
    """Folder that the report's folder is made in."""


@dataclass(frozen=True)
class Recalled:
    """What a memory recalled of a user's images."""

    answer: AnalysisResult
    """Table and figure."""
    images: dict[str, Image.Image]
    """The images as they were given, by the name they are shown under."""
    steps: np.ndarray
    """Pattern, query and each read step of each image, (2 + steps, images, *shape), values in [0, 1]."""
    energies: np.ndarray | None
    """Of the same, (2 + steps, images); None without an energy."""
    config: RecallConfig


def default_memory(files: Sequence[Path]) -> str:
    """The name of the pretrained memory that fits images: of photographs, unless all are drawings.

    Raises:
        DataError: if a file is missing or no image.
    """
    return DRAWINGS if all(is_drawing(read_image(path)) for path in files) else PHOTOGRAPHS


def recall(saved: Pretrained, files: Sequence[Path], words: Sequence[str] = ()) -> Recalled:
    """Writes images into a memory, all together, and reads each back from a corrupted copy.

    The key=value `words` are for `RecallConfig`, over what is known from the memory's own configuration.

    Raises:
        ConfigError: if there are no images, or a setting is not allowed.
        DataError: if a file is missing or no image, or the company's files are missing.
        ValueError: if the memory does not store images, or the distortion does not fit.
    """
    if not files:
        raise ConfigError("recall needs at least one image file")
    try:
        image_shape(saved.spec)
    except ValueError as error:
        raise ConfigError(f"the pretrained memory {saved.name} cannot store images: it {error}") from None
    trained = run_config(saved)
    drawn = saved.binary and saved.shape[-1] in GLYPHS
    others = {"name": "glyphs", "size": saved.shape[-1]} if drawn else plain(trained.data)
    default = {"distortion": plain(distortion_in_test(trained)), "company": others}
    config: RecallConfig = build(RecallConfig, merge(default, parse_overrides(words)), "")
    random = np.random.default_rng(config.seed)
    dark_is_one = getattr(datasets.load(trained.data.name), "dark_is_one", False)
    images = {f"{rank}. {path.name}": read_image(path) for rank, path in enumerate(files, start=1)}
    own = np.stack([as_pattern(image, saved.spec, dark_is_one) for image in images.values()])
    stored = company(saved, config, len(own), random)
    patterns = np.concatenate([1 - own if config.invert else own, stored])
    queries, mask = distortions.build(config.distortion, saved.spec)(patterns, random)
    episode = Episode(*(torch.from_numpy(values)[None] for values in (patterns, queries, mask)))
    first = next(result for result in published(saved) if not result.is_control)
    mask_known = config.mask == "known" if config.mask else first.mask_known
    memory = saved.build()
    found = recall_first(memory, episode, len(own), mask_known)
    if not np.isfinite(found.trajectory).all():
        raise ValueError(f"{saved.name} recalled values that are not finite")
    columns = {"image": list(images)} | errors(saved.spec, Episode(*(part[:, : len(own)] for part in episode)), found)
    with_others = f", together with {len(stored)} patterns of {config.company}," if len(stored) else ""
    answer = AnalysisResult(
        title=f"What {saved.name} recalls of {len(own)} image{'s' * (len(own) > 1)}",
        caption=(
            f"The images were written{with_others} into {count_floats(memory, memory.initial_state(1))[0]:,} floats,"
            f" and each was read from a copy corrupted by {config.distortion}, mask {'un' * (not mask_known)}known."
            f" Errors: {unit(saved.spec)}."
        ),
        columns=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        figure=read_path(found),
    )
    steps = np.concatenate([found.patterns[None], found.queries[None], found.trajectory])
    return Recalled(answer, images, steps, found.energies, config)


def company(saved: Pretrained, config: RecallConfig, count: int, random: np.random.Generator) -> np.ndarray:
    """Patterns stored together with `count` images, (patterns, *shape); none if there are enough images."""
    missing = min(row.items for row in published(saved)) - count
    if missing <= 0 or not config.company:
        return np.empty((0, *saved.shape), np.float32)
    try:
        source = datasets.build(config.company)
    except ValueError as error:
        raise DataError(f"company: {error} (choose another set, or company= for none)") from error
    if source.spec != saved.spec:
        raise ConfigError(f"company must have patterns like those of {saved.name}, {saved.spec}, got {source.spec}")
    return np.asarray(source.draw("test", missing, random))


def errors(spec: PatternSpec, episode: Episode, found: Recall) -> dict[str, list[float]]:
    """Head of a column -> a number for each image of an episode, of which `found` was recalled."""
    patterns, queries, mask = episode
    answer = torch.from_numpy(found.trajectory[-1])[None]
    columns = {
        "error of the query": pattern_errors(queries, patterns, spec)[0].tolist(),
        "error on corrupted values": pattern_errors(answer, patterns, spec, mask)[0].tolist(),
        "error on all values": pattern_errors(answer, patterns, spec)[0].tolist(),
    }
    if found.energies is not None:
        heads = ("energy of the pattern", "of the query", "of the answer")
        columns |= {head: found.energies[step].tolist() for head, step in zip(heads, (0, 1, -1), strict=True)}
    return columns


def write_report(saved: Pretrained, found: Recalled) -> Path:
    """Writes report.html, table.csv and recall.png to `<output>/recall-<name>-<hash>`. Returns the page's path.

    The hash is that of images and settings, so that other images do not take the place of a report.
    """
    told = hashlib.sha256(json.dumps(plain(found.config)).encode() + found.steps[0].tobytes()).hexdigest()[:8]
    folder = Path(found.config.output) / f"recall-{saved.name}-{told}"
    table = found.answer.table()
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "table.csv", found.answer.columns, found.answer.rows)
    save(found.answer.figure, folder / "recall")
    command = " ".join(["lightning-ebm", *sys.argv[1:]])
    caption = "Each image as it was given; below it, what was stored, the corrupted copy, and every read step."
    if found.energies is not None:
        caption += " Numbers are energies: what is stored should lie lower than the corrupted copy."
    numbers = {"figure": None, "anchor": "numbers", "caption": table.caption, "table": table}
    sections = [
        ("Recalled images", render("gallery.html", rows=pictures(found), caption=caption, command=command)),
        ("In numbers", render("analysis.html", command=command, **numbers)),
        origin(command, saved.made, {"": saved.config}),
    ]
    row = next(row for row in published(saved) if not row.is_control)  # the others are kinder or harder tests
    lead = [
        found.answer.caption,
        f"On its own test episodes, {row.items} patterns of {row.data} corrupted by {row.distortion}, the memory is"
        f" published with a mean error of {row.mean():.4g} on corrupted values and {row.mean('error'):.4g} on all"
        " values of a pattern.",
    ]
    return write_page(folder / "report.html", table.title, "Recall from a pretrained memory", lead, sections)


def pictures(found: Recalled) -> list[dict[str, Any]]:
    """Each image as it was given, and the way from its pattern to the answer, for the template of the gallery."""
    rows = []
    for place, (label, image) in enumerate(found.images.items()):
        small = image.copy()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        given = picture(small, small.width, small.width, f"{label}, as it was given")
        names = ["pattern", "query", *(f"read {step}" for step in range(1, len(found.steps) - 1))]
        notes = [names] if found.energies is None else [names, short(found.energies[:, place])]
        walk = strip(found.steps[:, place], f"{label}: what was stored, the query, and each read step")
        as_given = {"name": f"as given, {image.width}x{image.height} pixels", "picture": given, "notes": ()}
        read = {"name": "stored, corrupted, recalled", "picture": walk, "notes": notes}
        rows.append({"label": label, "picture": None, "steps": [as_given, read]})
    return rows
