"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people; read from the authors' zips."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lightning_ebm.data.archive import Archive, open_archive
from lightning_ebm.data.cache import Arrays, cached
from lightning_ebm.data.download import Remote, find_or_fetch
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import ImageSet, ImageSplit, decode, shrink, without_shared
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import did_you_mean
from lightning_ebm.settings import Settings, setting

SIDE = 105  # of the drawings, in pixels
HOME = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
PUBLISHED = (
    Remote(f"{HOME}/images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
    Remote(f"{HOME}/images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
)
FOLDERS = ("omniglot/", "omniglot-py/", "")
CURE = "get it from https://github.com/brendenlake/omniglot, folder python, or with data.download=true"
HELD_OUT = ("Alphabet_of_the_Magi", "Anglo-Saxon_Futhorc", "Burmese_(Myanmar)", "Korean", "Syriac_(Estrangelo)")
"""Background alphabets for validation: 146 of the 964 characters."""


@dataclass(frozen=True)
class OmniglotConfig(Settings):
    """Settings of `Omniglot`."""

    root: str = setting("", path=True)
    """Folder that holds the zips, or folders of what they hold, or holds these in a folder `omniglot` or `omniglot-py`;
    empty: $LIGHTNING_EBM_DATA."""
    size: int = setting(32, at_least=28, at_most=SIDE)  # below, many drawings become equal, even across splits
    """Side of an image in pixels."""
    validation: list[str] = setting(list(HELD_OUT))
    """Names of the background alphabets that are held out of training."""
    download: bool = False
    """Whether to fetch the zips if they are missing."""
    augment: bool = False
    """Whether images of the train split are shifted by up to 2 pixels and mirrored or turned, at random."""


class Omniglot(ImageSet):
    """Handwritten characters; train, val and test are different alphabets.

    Test is the evaluation set, val the held-out alphabets of the background set, train its rest. Patterns of an episode
    are drawn uniformly without repetition, as in the EBMM paper; two of them may be drawings of one character. Classes
    are alphabets. Ink is 1 and paper 0, the reverse of the files.
    """

    config = OmniglotConfig
    dark_is_one = True
    turnable = True
    citation = (
        "Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program"
        " induction. Science 350(6266), 2015"
    )

    def __init__(self, config: OmniglotConfig = OmniglotConfig()) -> None:
        self.augment, size = config.augment, config.size
        self.spec = PatternSpec((1, size, size), binary=True)
        background, evaluation = (
            find_or_fetch(zipped, config, FOLDERS, (zipped.name, zipped.name.removesuffix(".zip")), CURE)
            for zipped in PUBLISHED
        )
        images, alphabets = load(background, size)
        held_out = np.isin(alphabets, np.array(config.validation, dtype=str))
        if unknown := sorted(set(config.validation) - set(alphabets[held_out])):
            hint = did_you_mean(unknown[0], set(alphabets.tolist()))
            raise DataError(f"data.validation: {background} has no alphabet {unknown[0]!r}.{hint}")
        parts: dict[Split, tuple[np.ndarray, np.ndarray]] = {
            "test": load(evaluation, size),
            "val": (images[held_out], alphabets[held_out]),
            "train": (images[~held_out], alphabets[~held_out]),
        }
        self.splits = without_shared(
            {split: ImageSplit(ink, np.unique(names, return_inverse=True)[1]) for split, (ink, names) in parts.items()}
        )


def load(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The images and alphabets that `read_zip` finds, from the cache if they have been read before."""
    archive = open_archive(path, f"remove {path}, and {CURE}")
    key = {"files": archive.fingerprint(), "size": size, "format": 2}  # another format when what is stored changes
    stored = cached(f"omniglot-{size}", key, lambda: read_zip(archive, size))
    return stored["images"], stored["alphabets"]


def read_zip(archive: Archive, size: int) -> Arrays:
    """Decodes and shrinks all drawings of a zip, or of a folder of what it holds, in the order of their names.

    Returns:
        `images`: (count, 1, size, size), uint8, ink 1 and paper 0; `alphabets`: (count,), strings.
    """
    names = [name for name in archive.names if len(PurePosixPath(name).parts) >= 3 and name.lower().endswith(".png")]
    if not names:
        raise DataError(f"{archive.path} has no images <alphabet>/<character>/<drawing>.png: {archive.cure}")
    images = []
    for first in range(0, len(names), 1000):  # a thousand at a time, to save memory
        drawings = (
            decode(archive.read(name), archive.where(name), archive.cure, SIDE) for name in names[first : first + 1000]
        )
        ink = np.stack([np.asarray(drawing.convert("L")) < 128 for drawing in drawings])
        images.append(shrink(ink, size)[:, None].view(np.uint8))
    alphabets = [PurePosixPath(name).parts[-3] for name in names]
    return {"images": np.concatenate(images), "alphabets": np.array(alphabets)}
