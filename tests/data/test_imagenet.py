"""ImageNet and Tiny ImageNet: the same images from a folder or a zip, crops where they should be, damage named."""

import numpy as np
import pytest
from PIL import Image

from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.imagenet import ImageNet, ImageNetConfig, square
from lightning_ebm.data.images import decode
from lightning_ebm.data.tiny_imagenet import TinyImageNet, TinyImageNetConfig
from tests.data.roots import encoded, imagenet_files, picture, tiny_imagenet_files, write_tree, write_zip


def imagenet(root, files=None, **settings):
    write_zip(root / "imagenet.zip", files or imagenet_files())
    return ImageNet(ImageNetConfig(**{"root": str(root), "side": 72, **settings}))


def tiny(root):
    write_zip(root / "tiny-imagenet-200.zip", tiny_imagenet_files())
    return TinyImageNet(TinyImageNetConfig(str(root)))


class TestImageNet:
    def test_splits(self, root):
        splits = imagenet(root).splits
        assert {split: part.images.shape for split, part in splits.items()} == {
            "test": (12, 3, 72, 72),
            "val": (8, 3, 72, 72),  # classes 0 and 10 of 12
            "train": (40, 3, 72, 72),
        }
        expected = square(decode(imagenet_files()["some/train/n01/n01_2.JPEG"], "", ""), 72)
        assert (splits["train"].images[2] == expected).all()
        assert splits["train"].labels.tolist() == np.repeat(np.arange(10), 4).tolist()

    def test_a_folder_holds_the_same_as_its_zip(self, root):
        zipped = imagenet(root)
        write_tree(root / "elsewhere" / "imagenet", {name[5:]: content for name, content in imagenet_files().items()})
        unpacked = ImageNet(ImageNetConfig(str(root / "elsewhere"), side=72))
        for split, part in zipped.splits.items():
            assert (part.images == unpacked.splits[split].images).all()
            assert (part.labels == unpacked.splits[split].labels).all()

    def test_the_middle_square_scaled(self):
        values = picture(0, 40, 60, 3)
        assert (square(Image.fromarray(values), 40) == values[:, 10:50].transpose(2, 0, 1)).all()
        grey = square(Image.fromarray(values[..., 0]).convert("RGB"), 40)
        assert (grey == values[:, 10:50, 0]).all()

    def test_crops(self, root):
        source = imagenet(root, size=64)
        for split in ("train", "test"):
            images = source.splits[split].images
            found = source.take(split, np.arange(5).repeat(200), np.random.default_rng(0)).reshape(5, 200, 3, 64, 64)
            crops = {
                images[row, :, top : top + 64, left : left + 64].tobytes(): (top, left)
                for row in range(5)
                for top in range(9)
                for left in range(9)
            }
            places = [[crops[crop.tobytes()] for crop in row] for row in found]
            if split == "test":
                assert {place for row in places for place in row} == {(4, 4)}
            else:
                assert len({place for row in places for place in row}) == 81

    def test_an_image_in_two_splits_stays_in_test(self, root):
        files = imagenet_files()
        files["some/train/n05/n05_9.JPEG"] = files["some/val/n02/n02_1.JPEG"]
        splits = imagenet(root, files).splits
        assert [len(splits[split].images) for split in ("train", "val", "test")] == [40, 8, 12]

    def test_another_side_is_decoded_anew(self, root):
        assert imagenet(root).splits["val"].images.shape[2] == 72
        assert imagenet(root, side=80).splits["val"].images.shape[2] == 80


BAD = {"cut off": encoded(picture(0, 64, 64, 3), "JPEG")[:-200], "text": b"<html>", "empty": b""}


class TestErrors:
    @pytest.mark.parametrize("case", BAD)
    def test_a_bad_image(self, root, refuse, case):
        write_zip(root / "imagenet.zip", imagenet_files() | {"some/train/n07/n07_5.JPEG": BAD[case]})
        refuse(ImageNet, r"n07_5\.JPEG in .*imagenet\.zip cannot be decoded .*: replace it, or remove it")
        files = tiny_imagenet_files() | {"tiny-imagenet-200/val/images/val_3.JPEG": BAD[case]}
        write_zip(root / "tiny-imagenet-200.zip", files)
        refuse(TinyImageNet, r"val_3\.JPEG in .*tiny-imagenet-200\.zip cannot be decoded .*cs231n")

    @pytest.mark.parametrize("missing", ["train", "val"])
    def test_a_missing_folder(self, root, refuse, missing):
        files = {name: content for name, content in imagenet_files().items() if missing not in name}
        write_zip(root / "imagenet.zip", files)
        there = rf"has 0 classes of images {missing}/<class>/<image>, and such files as some/.*: a tree of images"
        refuse(ImageNet, there)

    def test_a_crop_larger_than_the_image(self, root):
        with pytest.raises(ValueError, match=r"size must be at least 8 and at most side=72, got 73"):
            imagenet(root, size=73)
        with pytest.raises(ValueError, match=r"side must be at least 8 and at most 512, got 513"):
            imagenet(root, side=513)

    def test_nothing(self, root, monkeypatch):
        (root / "cat").mkdir()
        (root / "dog").mkdir()
        there = r"no folders train and val itself, and no imagenet\*, a zip .* but cat, dog: set data\.root"
        with pytest.raises(DataError, match=rf"{there} .* a tree of images has them at train/<class>/<image>") as own:
            ImageNet(ImageNetConfig(str(root)))
        assert "image-net.org" not in str(own.value)  # is of no use to those who have a tree of their own
        with pytest.raises(DataError, match=r"tiny\*imagenet\*, a zip .* but cat, dog: .*data\.download=true"):
            TinyImageNet(TinyImageNetConfig(str(root)))
        monkeypatch.setenv("LIGHTNING_EBM_DATA", str(root))
        with pytest.raises(DataError, match=r"no imagenet\*, .*image-net\.org: unpack ILSVRC2012"):
            ImageNet()

    def test_a_tree_of_ones_own(self, root):
        """With links for classes, hidden folders, and images whose names do not say what they are."""
        files = {name.removeprefix("some/"): content for name, content in imagenet_files().items()}
        plain = imagenet(root).splits
        write_tree(root / "own", {name: content for name, content in files.items() if "/n05/" not in name})
        write_tree(root / "elsewhere", {name: content for name, content in files.items() if "/n05/" in name})
        (root / "own" / "train" / "n05").symlink_to(root / "elsewhere" / "train" / "n05")
        write_tree(root / "own" / "train", {".ipynb_checkpoints/a-checkpoint.jpg": b"", "n01/._n01_1.JPEG": b""})
        write_tree(root / "own" / "train", {"n01/Thumbs.db": b"", "@eaDir/n01.jpg": b"", "lost+found/x.png": b""})
        found = ImageNet(ImageNetConfig(str(root / "own"), side=72)).splits
        assert all((found[split].images == plain[split].images).all() for split in plain)
        assert all((found[split].labels == plain[split].labels).all() for split in plain)


class TestTiny:
    def test_splits(self, root):
        splits = tiny(root).splits
        assert [len(splits[split]) for split in ("train", "val", "test")] == [40, 8, 9]
        files = tiny_imagenet_files()
        first = decode(files["tiny-imagenet-200/train/n01/images/n01_0.JPEG"], "", "")
        assert (splits["train"].images[0] == np.asarray(first).transpose(2, 0, 1)).all()
        assert set(splits["val"].labels) == {0, 10}
        assert splits["test"].labels.tolist() == list(range(9))
        assert (splits["test"].images[:, 0] == splits["test"].images[:, 2]).all()  # they were grey

    def test_a_folder_holds_the_same_as_its_zip(self, root):
        zipped = tiny(root)
        write_tree(root / "elsewhere" / "tiny_imagenet", tiny_imagenet_files())
        unpacked = TinyImageNet(TinyImageNetConfig(str(root / "elsewhere")))
        assert all((zipped.splits[s].images == unpacked.splits[s].images).all() for s in ("train", "val", "test"))

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("val/images/val_3.JPEG", None, r"val_annotations\.txt in .* names 'val_3\.JPEG', which is missing"),
            ("val/val_annotations.txt", None, r"has 0 files val/val_annotations\.txt, not 1"),
            ("val/val_annotations.txt", b"", "names no images"),
            ("val/val_annotations.txt", b"\xff\xfe\x00", "which is missing"),
            ("val/val_annotations.txt", b"val_3.JPEG\tn99\t1\n", "is of class 'n99', which train has not"),
            ("train/n03/images/n03_1.JPEG", encoded(picture(0, 60, 64, 3), "JPEG"), "has 64x60 pixels, not 64x64"),
        ],
    )
    def test_damage(self, root, refuse, name, content, message):
        files = tiny_imagenet_files() | {f"tiny-imagenet-200/{name}": content}
        files = {name: content for name, content in files.items() if content is not None}
        write_zip(root / "tiny-imagenet-200.zip", files)
        refuse(TinyImageNet, rf"{message}.*: remove .*tiny-imagenet-200\.zip, and get it from http://cs231n")
