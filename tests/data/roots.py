"""Small data roots: every set that is read from files, in its own layout, with made-up images; equality of episodes."""

import gzip
import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lightning_ebm.data.episodes import Episode

REAL = Path(os.environ.get("LIGHTNING_EBM_DATA", ""))


def same(a: Episode, b: Episode) -> bool:
    """Whether two batches of episodes are equal, bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def picture(seed: int, *shape: int) -> np.ndarray:
    """Values that no other seed gives, smooth enough for JPEG to keep apart."""
    coarse = np.random.default_rng(seed).integers(256, size=(4, 4, *shape[2:]), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def encoded(values: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_tree(path: Path, members: dict[str, bytes]) -> None:
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def omniglot(root: Path) -> None:
    for part, alphabets in [("background", ("Greek", "Korean", "Latin")), ("evaluation", ("Tibetan", "Glagolitic"))]:
        members = {
            f"images_{part}/{alphabet}/character01/0001_{d:02}.png": encoded(
                np.random.default_rng((d, place, len(part), part == "background")).random((105, 105)) < 0.5, "PNG"
            )
            for place, alphabet in enumerate(alphabets)
            for d in range(6)
        }
        write_zip(root / "omniglot" / f"images_{part}.zip", members)


def batch(count: int, seed: int, **changes) -> dict:
    """What is pickled in a batch of CIFAR-10."""
    data = np.random.default_rng(seed).integers(256, size=(count, 3072), dtype=np.uint8)
    whole = {b"data": data, b"labels": [n % 10 for n in range(count)], b"batch_label": b"made up", b"filenames": []}
    return whole | {key.encode(): value for key, value in changes.items()}


def cifar10(root: Path, count: int = 40) -> None:
    folder = root / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for seed, name in enumerate(["data_batch_1", "data_batch_3", "test_batch"]):
        (folder / name).write_bytes(pickle.dumps(batch(count, seed), protocol=2))


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def mnist(root: Path) -> None:
    (root / "mnist").mkdir(parents=True)
    for seed, (kind, count) in enumerate([("t10k", 40), ("train", 60)]):
        digits = np.random.default_rng(seed).integers(256, size=(count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        (root / "mnist" / f"{kind}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(digits)))
        (root / "mnist" / f"{kind}-labels-idx1-ubyte").write_bytes(idx(labels))


def imagenet_files() -> dict[str, bytes]:
    files = {
        f"some/{folder}/n{kind:02}/n{kind:02}_{number}.JPEG": encoded(
            picture(1000 * (folder == "val") + 10 * kind + number, 90, 110, 3), "JPEG"
        )
        for folder, kinds, count in [("train", 12, 4), ("val", 4, 3)]
        for kind in range(kinds)
        for number in range(count)
    }
    files["some/train/n03/n03_0.JPEG"] = encoded(picture(7777, 100, 80), "JPEG")  # grey
    return files


def imagenet(root: Path) -> None:
    write_zip(root / "imagenet_made_up" / "some.zip", imagenet_files())


def tiny_imagenet_files() -> dict[str, bytes]:
    top = "tiny-imagenet-200"
    files = {
        f"{top}/train/n{kind:02}/images/n{kind:02}_{number}.JPEG": encoded(
            picture(10 * kind + number, 64, 64, 3), "JPEG"
        )
        for kind in range(12)
        for number in range(4)
    }
    for number in range(9):
        files[f"{top}/val/images/val_{number}.JPEG"] = encoded(picture(999 + number, 64, 64), "JPEG")
    lines = [f"val_{number}.JPEG\tn{number:02}\t0\t0\t62\t62\n" for number in range(9)]
    return files | {f"{top}/val/val_annotations.txt": "".join(lines).encode(), f"{top}/wnids.txt": b"n00\n"}


def tiny_imagenet(root: Path) -> None:
    write_zip(root / "tiny_imagenet" / "tiny-imagenet-200.zip", tiny_imagenet_files())


def folder(root: Path) -> None:
    files = {
        f"{place}/{number}.{kind}": encoded(picture(100 * rank + number, 40 + number, 50, 3), kind.upper())
        for rank, (place, kind) in enumerate([("cats", "png"), ("dogs/small", "jpeg"), ("dogs", "bmp")])
        for number in range(30)
    }
    write_tree(root, files | {"notes.txt": b"no image"})


@dataclass(frozen=True)
class Known:
    """What tests know of a data set.

    Attributes:
        recorded: images, and the hash of three episodes: of train, val, test.
        write: makes a small root; None for a set that needs no files.
        settings: that the small root needs.
        real: settings that the recorded files need.
    """

    recorded: list[tuple[int, str]]
    write: Callable[[Path], None] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    real: dict[str, Any] = field(default_factory=dict)


SETS = {
    "folder": Known(
        [(797, "c8d3116fffaf0ac2"), (108, "b434dfbaee9cce7f"), (94, "8c7f7b7921e4c253")],
        folder,
        real={"root": str(REAL / "imagenet_sample" / "imagenet-sample-128.zip")},
    ),
    "glyphs": Known([(1528, "78c168dd7aa5ec2c"), (100, "7b51357b192dd001"), (281, "3811dcecc2dc4027")]),
    "photographs": Known([(6700, "6c15a028b7ac72ab"), (2050, "41b0bbf2379848d5"), (2050, "527a72f46f817600")]),
    "omniglot": Known(
        [(16360, "b81e12eb96aa6172"), (2920, "e3e5ecfa36b11caa"), (13180, "f2b5bc45ab31d826")],
        omniglot,
        {"validation": ["Korean"]},
    ),
    # batches 1 and 2
    "cifar10": Known([(18000, "fa1cf57f90a6a167"), (2000, "a6b7b4ca74545d3f"), (10000, "ff81e6e970f94e3b")], cifar10),
    # t10k alone
    "mnist": Known(
        [(3999, "4736d4126b7fd8df"), (1000, "bed87b904c46cb30"), (5000, "d57d03ec79d86f40")],
        mnist,
        real={"t10k_alone": True},
    ),
    # one image a class
    "imagenet": Known(
        [(719, "6ca4b2a89b01d5d5"), (80, "a37fc6dae68f9aca"), (200, "7d56527629eb3bfa")], imagenet, {"side": 72}
    ),
    # a tenth
    "tiny_imagenet": Known(
        [(7560, "bed48e46d1def87e"), (840, "3761c55e603c1da3"), (1600, "80e20be3a2091e90")], tiny_imagenet
    ),
}


def small(name: str, root: Path) -> dict[str, Any]:
    """Settings of a set, whose small root is written if it needs one."""
    known = SETS[name]
    if not known.write:
        return {}
    known.write(root)
    return {"root": str(root), **known.settings}
