"""Small data roots: every set that is read from files, in its own layout, with made-up images."""

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


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


def cifar10(root: Path) -> None:
    folder = root / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for seed, name in enumerate(["data_batch_1", "data_batch_3", "test_batch"]):
        (folder / name).write_bytes(pickle.dumps(batch(40, seed), protocol=2))


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
    files |= {
        f"{top}/val/images/val_{number}.JPEG": encoded(picture(999 + number, 64, 64), "JPEG") for number in range(9)
    }
    lines = [f"val_{number}.JPEG\tn{number:02}\t0\t0\t62\t62\n" for number in range(9)]
    return files | {f"{top}/val/val_annotations.txt": "".join(lines).encode(), f"{top}/wnids.txt": b"n00\n"}


def tiny_imagenet(root: Path) -> None:
    write_zip(root / "tiny_imagenet" / "tiny-imagenet-200.zip", tiny_imagenet_files())


SETTINGS = {
    "omniglot": {"validation": ["Korean"]},
    "cifar10": {},
    "mnist": {},
    "imagenet": {"side": 72},
    "tiny_imagenet": {},
}
"""Sets that are read from files, with what must be set for these small ones."""


def write(name: str, root: Path) -> None:
    globals()[name](root)
