"""A user's folder of images: kinds, classes, splits that stay as they are, and mistakes."""

import os
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_ebm.data import folder
from lightning_ebm.data.folder import ImageFolder, ImageFolderConfig
from lightning_ebm.data.images import decode
from tests.data import roots

pytestmark = pytest.mark.usefixtures("root")  # its own cache


def build(root: Path, **settings) -> ImageFolder:
    return ImageFolder(ImageFolderConfig(root=str(root), **settings))


def contents(source):
    return {split: [image.tobytes() for image in part.images] for split, part in source.splits.items()}


def test_colours_greys_and_drawings_are_what_pillow_makes_of_the_middle_square(tmp_path):
    roots.folder(tmp_path / "images")
    colour, grey, drawing = (build(tmp_path / "images", size=16, kind=kind) for kind in ("colour", "grey", "drawing"))
    assert [source.spec.shape for source in (colour, grey, drawing)] == [(3, 16, 16), (1, 16, 16), (1, 16, 16)]
    assert drawing.spec.binary and not grey.spec.binary
    path = tmp_path / "images" / "cats" / "7.png"  # 50 wide, 47 high
    with Image.open(path) as image:
        square = image.crop((1, 0, 48, 47))
        expected = {
            "colour": np.asarray(square.resize((16, 16), Image.Resampling.LANCZOS)).transpose(2, 0, 1),
            "grey": np.asarray(square.convert("L").resize((16, 16), Image.Resampling.LANCZOS))[None],
        }
    for source, kind in ((colour, "colour"), (grey, "grey")):
        assert any(expected[kind].tobytes() in images for images in contents(source).values())
    assert {*np.unique(drawing.splits["train"].images)} == {0, 1}


def test_ink_is_one(tmp_path):
    paper = np.full((20, 20), 255, np.uint8)
    for number in range(80):
        sheet = paper.copy()
        sheet[number % 20, : 4 + number // 5] = 0
        roots.write_tree(tmp_path / "ink", {f"{number}.png": roots.encoded(sheet, "PNG")})
    shares = [part.images.mean() for part in build(tmp_path / "ink", size=20, kind="drawing").splits.values()]
    assert all(0 < share < 0.1 for share in shares)


def test_classes_are_folders(tmp_path):
    roots.folder(tmp_path / "images")
    labels = np.concatenate([part.labels for part in build(tmp_path / "images").splits.values()])
    assert np.bincount(labels).tolist() == [30, 30, 30]


def test_a_zip_is_the_same_as_its_folder(tmp_path):
    roots.folder(tmp_path / "images")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted((tmp_path / "images").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "images"))
    assert contents(build(tmp_path / "images.zip")) == contents(build(tmp_path / "images"))


def test_new_images_leave_the_others_in_their_splits(tmp_path):
    roots.folder(tmp_path / "images")
    before = contents(build(tmp_path / "images"))
    new = {f"new/{number}.png": roots.encoded(roots.picture(9000 + number, 40, 40, 3), "PNG") for number in range(20)}
    roots.write_tree(tmp_path / "images", new)
    after = contents(build(tmp_path / "images"))
    assert all({*before[split]} <= {*after[split]} for split in before)
    assert sum(map(len, after.values())) == sum(map(len, before.values())) + 20


def test_one_image_at_a_time_is_held_in_full_size(tmp_path, monkeypatch):
    decoded, most = [], []

    def counting(*args):
        image = decode(*args)
        decoded.append(weakref.ref(image))
        most.append(sum(one() is not None for one in decoded))
        return image

    monkeypatch.setattr(folder, "decode", counting)
    roots.folder(tmp_path / "images")
    build(tmp_path / "images")
    assert len(most) == 90 and max(most) <= 2


def test_names_that_are_not_text(tmp_path):
    roots.folder(tmp_path / "images")
    (tmp_path / "images" / os.fsdecode(b"\xff.png")).write_bytes(roots.encoded(roots.picture(777, 40, 40, 3), "PNG"))
    assert sum(map(len, contents(build(tmp_path / "images")).values())) == 91


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, r"data\.root: .*images does not exist; data\.root must be a folder or zip of images"),
        (lambda root: root.mkdir(), r"images has too few images \(0 for test, 0 for val, 0 for train\)"),
        (lambda root: (roots.folder(root), (root / "cats" / "3.png").write_bytes(b"GIF89a"))[0], r"cats/3\.png in .*"),
    ],
)
def test_mistakes_are_one_line(tmp_path, refuse, prepare, message):
    prepare(tmp_path / "images")
    refuse(ImageFolder, message, root=str(tmp_path / "images"))


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="kind must be one of colour, grey, drawing, got 'oil'"):
        ImageFolderConfig(kind="oil")
