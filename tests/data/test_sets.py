"""What every set of images keeps: exactness, splits without a common image, correlated episodes, recorded contents."""

import os
from hashlib import sha256
from itertools import islice

import numpy as np
import pytest
from torch.utils.data import DataLoader, default_convert

from lightning_ebm.data.bits import RandomBits, RandomBitsConfig
from lightning_ebm.data.datamodule import EpisodeDataModule
from lightning_ebm.data.distortions import Block, BlockConfig
from lightning_ebm.data.episodes import EpisodeDataset, EpisodeSampler, Sampling, episode_random
from lightning_ebm.registry import Choice, datasets
from lightning_ebm.schema import EpisodesConfig
from tests.data import roots
from tests.data.roots import same

FILES = [name for name, known in roots.SETS.items() if known.write]
NO_FILES = [name for name, known in roots.SETS.items() if not known.write]


def test_every_set_of_images_is_tested():
    assert {*roots.SETS} == {*datasets.names()} - {"bits", "key_value"}


def build(name, **settings):
    return datasets.build(Choice(name, datasets.load(name).config(**settings)))


pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")


@pytest.fixture(scope="module", params=roots.SETS)
def source(request, tmp_path_factory):
    """Every set, from made-up files where it needs some."""
    if request.param == "photographs":
        pytest.importorskip("skimage")
        pytest.importorskip("sklearn")
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.delenv("LIGHTNING_EBM_DATA", raising=False)
        return build(request.param, **roots.small(request.param, root))


def dataset(source, items=4, sampling=Sampling(classes=2, with_replacement=True), split="train"):  # noqa: B008
    return EpisodeDataset(source, Block(source.spec, BlockConfig(8)), items, split, seed=3, sampling=sampling)


class TestExactness:
    def test_workers_make_no_difference(self, source):
        sampler = EpisodeSampler(batch=4, stop=16)
        loader = DataLoader(dataset(source), batch_sampler=sampler, collate_fn=default_convert, num_workers=4)
        loaded = list(loader)
        assert len(loaded) == 4
        for step, episode in enumerate(loaded):
            assert same(episode, dataset(source).batch(range(4 * step, 4 * step + 4)))

    def test_processes_make_no_difference(self, source):
        whole = dataset(source).batch(range(8))
        for rank in (0, 1):
            (indices,) = EpisodeSampler(batch=8, stop=8, rank=rank, world=2)
            assert same(dataset(source).batch(indices), [part[rank::2] for part in whole])

    def test_a_resumed_stream_is_the_uninterrupted_one(self, source):
        config = EpisodesConfig(patterns_per_episode=4, batch=2, classes=1, with_replacement=True)
        through, resumed = (EpisodeDataModule(source, Block(source.spec, BlockConfig(8)), config) for _ in range(2))
        resumed.load_state_dict({"position": 6})
        after = islice(iter(through.train_dataloader()), 3, 6)
        assert all(same(a, b) for a, b in zip(after, resumed.train_dataloader(), strict=False))

    def test_values(self, source):
        patterns = dataset(source, sampling=Sampling()).batch(range(4)).patterns
        assert patterns.shape == (4, 4, *source.spec.shape)
        assert 0 <= patterns.min() < patterns.max() <= 1
        assert not source.spec.binary or set(patterns.unique().tolist()) == {0, 1}

    def test_splits_share_no_image(self, source):
        contents = {split: {sha256(image).digest() for image in part.images} for split, part in source.splits.items()}
        assert set(contents) == {"train", "val", "test"}
        assert all(contents.values())
        assert not contents["train"] & contents["val"]
        assert not contents["train"] & contents["test"]
        assert not contents["val"] & contents["test"]


class TestCorrelated:
    def test_an_episode_has_so_many_classes(self, source):
        part = source.splits["train"]
        seen = set()
        for index in range(20):
            rows = source.choose(
                "train", 8, episode_random(0, "train", index), Sampling(classes=1, with_replacement=True)
            )
            assert len(set(part.labels[rows])) == 1
            seen |= set(part.labels[rows])
            rows = source.choose("train", 200, episode_random(0, "train", index), Sampling(2, True))
            assert len(set(part.labels[rows])) == min(2, len(part.members))
        assert seen <= set(part.labels.tolist())
        assert len(seen) > 1 or len(part.members) == 1

    def test_without_repetition_all_are_different(self, source):
        part = source.splits["test"]
        least = min(len(rows) for rows in part.members)
        rows = source.choose("test", least, np.random.default_rng(0), Sampling(classes=1))
        assert len(set(rows)) == least
        rows = source.choose("test", len(part), np.random.default_rng(0), Sampling())
        assert sorted(rows) == list(range(len(part)))

    def test_with_repetition_there_are_always_enough(self, source):
        count = len(source.splits["val"]) + 10
        rows = source.choose("val", count, np.random.default_rng(0), Sampling(with_replacement=True))
        assert len(rows) == count
        assert len(set(rows)) < count

    def test_more_than_there_are(self, source):
        part, name = source.splits["test"], type(source).__name__
        most = rf"at most {len(part)}, the test images of {name}, got {len(part) + 1} .*with_replacement=true"
        with pytest.raises(ValueError, match=rf"episodes\.patterns_per_episode must be {most}"):
            source.draw("test", len(part) + 1, np.random.default_rng(0))
        with pytest.raises(ValueError, match=rf"episodes\.classes must be at most {len(part.members)}"):
            source.draw("test", 1, np.random.default_rng(0), Sampling(len(part.members) + 1))
        with pytest.raises(ValueError, match=r"episodes\.patterns_per_episode must be at most .* episodes\.classes=1"):
            source.draw("test", min(map(len, part.members)) + 1, np.random.default_rng(0), Sampling(1))


@pytest.mark.parametrize(
    ("name", "key", "wrong", "bounds"),
    [
        ("bits", "size", [0], "at least 1"),
        ("glyphs", "hands", [0, 101], "at least 1 and at most 100"),
        ("glyphs", "size", [15, 65], "at least 16 and at most 64"),
        ("omniglot", "size", [27, 106], "at least 28 and at most 105"),
        ("photographs", "size", [7, 97], "at least 8 and at most 96"),
    ],
)
def test_settings_are_checked(name, key, wrong, bounds):
    for value in wrong:
        with pytest.raises(ValueError, match=rf"{key} must be {bounds}, got {value}"):
            datasets.load(name).config(**{key: value})


def test_bits_have_no_classes():
    with pytest.raises(ValueError, match=r"episodes\.classes must be 0, as random bits have no classes, got 2"):
        RandomBits(RandomBitsConfig(8)).draw("train", 3, np.random.default_rng(0), Sampling(2))


@pytest.mark.parametrize("name", NO_FILES)
def test_contents_that_need_no_files(name):
    check_contents(name)


@pytest.mark.data_root
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LIGHTNING_EBM_DATA"), reason="$LIGHTNING_EBM_DATA is not set")
class TestReal:
    @pytest.mark.parametrize("name", FILES)
    def test_contents(self, name):
        check_contents(name)

    @pytest.mark.parametrize("name", FILES)
    def test_splits_share_no_image(self, name):
        TestExactness().test_splits_share_no_image(build(name, **roots.SETS[name].real))


def check_contents(name):
    """The bytes of three episodes of each split are those that were recorded: nothing has changed unnoticed."""
    known = roots.SETS[name]
    source = build(name, **known.real)
    sizes = [len(source.splits[split]) for split in ("train", "val", "test")]
    if sizes != [size for size, _ in known.recorded]:
        pytest.skip(f"other files of {name} than those that were recorded: {sizes} images")
    for split, (_, expected) in zip(("train", "val", "test"), known.recorded, strict=True):
        drawn = [source.draw(split, 16, episode_random(0, split, index)) for index in (0, 1, 7)]
        assert sha256(np.stack(drawn)).hexdigest()[:16] == expected
