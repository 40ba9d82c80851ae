"""Photographs: small crops of the colour photographs that scikit-image and scikit-learn install: no download."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from lightning_ebm.data.archive import read_whole
from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import ImageSet, ImageSplit, cached_splits, decode, without_shared
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

CURE = "pip install 'lightning-ebm[photographs]' brings them"
DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
PHOTOGRAPHS: dict[Split, tuple[str, ...]] = {
    "test": ("skimage/data/coffee.png", "sklearn/datasets/images/china.jpg"),
    "val": ("skimage/data/chelsea.png", "skimage/data/rocket.jpg"),
    "train": (
        *("skimage/data/astronaut.png", "skimage/data/hubble_deep_field.jpg", "skimage/data/motorcycle_left.png"),
        *("sklearn/datasets/images/flower.jpg", "skimage/data/brick.png", "skimage/data/camera.png"),
        *("skimage/data/coins.png", "skimage/data/grass.png", "skimage/data/gravel.png"),
    ),
}
"""Which photograph is in which split; the last five are grey."""

SHORT = 128
"""Shorter side, in pixels, that a photograph is shrunk to before it is cut: so that a crop shows some thing."""
EVERY = 4
"""Pixels from one crop to the next, down and across."""


@dataclass(frozen=True)
class PhotographsConfig(Settings):
    """Settings of `Photographs`."""

    size: int = setting(32, at_least=8, at_most=96)
    """Side of a crop in pixels."""
    augment: bool = False
    """Whether images of the train split are shifted by up to 2 pixels and mirrored left to right, at random."""


class Photographs(ImageSet):
    """Crops (3, size, size) of photographs, values in [0, 1]; classes are the photographs.

    Every split has other photographs. The crops of one photograph lie on a grid and overlap, so that two patterns of an
    episode may share a part.
    """

    config = PhotographsConfig
    citation = "van der Walt et al.: scikit-image: image processing in Python. PeerJ 2:e453, 2014"

    def __init__(self, config: PhotographsConfig = PhotographsConfig()) -> None:
        self.augment, size = config.augment, config.size
        self.spec = PatternSpec((3, size, size), binary=False)
        files = {path: read_photograph(path) for paths in PHOTOGRAPHS.values() for path in paths}
        sums = [hashlib.sha256(content).hexdigest() for content in files.values()]
        key = {"files": sums, "size": size, "pillow": PIL.__version__, "format": 1}
        self.splits = cached_splits(f"photographs-{size}", key, lambda: cut_all(files, size))


def read_photograph(path: str) -> bytes:
    """The file of a photograph, by its path below the folder that packages are installed in."""
    package, _, rest = path.partition("/")
    found = importlib.util.find_spec(package)  # does not import it
    if found is None or found.origin is None:
        raise DataError(f"the photographs of {DISTRIBUTIONS[package]} are missing: {CURE}")
    return read_whole(Path(found.origin).parent / rest, 2**24, anew(path))


def anew(path: str) -> str:
    """How to replace a photograph of an installed package; ends an error message."""
    return f"pip install --force-reinstall {DISTRIBUTIONS[path.partition('/')[0]]}"


def cut_all(files: dict[str, bytes], size: int) -> dict[Split, ImageSplit]:
    """The crops of all photographs, from their files' contents by path."""
    splits: dict[Split, ImageSplit] = {}
    for split, paths in PHOTOGRAPHS.items():
        crops = [cut(decode(files[path], path, anew(path)), size) for path in paths]
        labels = np.repeat(np.arange(len(crops)), [len(part) for part in crops])
        splits[split] = ImageSplit(np.concatenate(crops), labels)
    return without_shared(splits)  # blank sky is blank sky


def cut(photograph: Image.Image, size: int) -> np.ndarray:
    """The crops of one photograph: (crops, 3, size, size), uint8."""
    scale = SHORT / min(photograph.size)
    width, height = (round(scale * side) for side in photograph.size)
    values = np.asarray(photograph.resize((width, height), Image.Resampling.LANCZOS))
    windows = sliding_window_view(values, (size, size), axis=(0, 1))[::EVERY, ::EVERY]
    return windows.reshape(-1, 3, size, size)
