"""Photographs: crops of what two packages install; every split has other photographs."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from lightning_ebm.data import photographs
from lightning_ebm.data.episodes import DataError
from lightning_ebm.data.photographs import PHOTOGRAPHS, Photographs, PhotographsConfig, cut, read_photograph

pytest.importorskip("skimage")
pytest.importorskip("sklearn")


def test_crops_lie_on_a_grid(monkeypatch):
    monkeypatch.setattr(photographs, "SHORT", 40)
    values = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)
    crops = cut(Image.fromarray(values), 16)
    expected = [values[top : top + 16, left : left + 16] for top in range(0, 25, 4) for left in range(0, 45, 4)]
    assert (crops == np.stack(expected).transpose(0, 3, 1, 2)).all()


def test_every_split_has_other_photographs():
    names = [path for paths in PHOTOGRAPHS.values() for path in paths]
    assert len(set(names)) == len(names)
    contents = [read_photograph(path) for path in names]
    assert len(set(contents)) == len(contents)


def test_classes_are_photographs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = Photographs(PhotographsConfig(size=64))
    for split, paths in PHOTOGRAPHS.items():
        assert set(source.splits[split].labels) == set(range(len(paths)))
    assert source.spec.shape == source.splits["train"].images.shape[1:] == (3, 64, 64)
    train = source.splits["train"]
    grey = (train.images[:, 0] == train.images[:, 2]).all((1, 2))
    assert (grey == (train.labels >= 4)).mean() > 0.95  # the last five are


def test_colour():
    values = Photographs().draw("train", 64, np.random.default_rng(0))
    assert 0.2 < values.mean() < 0.6
    assert values.std((2, 3)).mean() > 0.05  # a crop shows something


def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"photographs of scikit-\w+ are missing: pip install 'lightning-ebm\[photo"):
        Photographs()
