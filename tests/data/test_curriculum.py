"""The number of patterns of an update: in its range, as likely, and the same for every process and after a resume."""

from itertools import islice

import numpy as np
import pytest
import torch

from lightning_ebm.data.bits import RandomBits, RandomBitsConfig
from lightning_ebm.data.datamodule import Curriculum, EpisodeDataModule
from lightning_ebm.data.distortions import Block, BlockConfig, Pixels, PixelsConfig
from lightning_ebm.data.episodes import Episode, EpisodeDataset
from lightning_ebm.data.glyphs import Glyphs
from lightning_ebm.schema import EpisodesConfig
from tests.data.roots import same


class Process:
    """What the data module asks of a trainer."""

    def __init__(self, rank, world, update=0):
        self.global_rank, self.world_size, self.global_step, self.accumulate_grad_batches = rank, world, update, 1


def module(rank=0, world=1, position=0, workers=0, **settings):
    """Bits of which a range is re-drawn, 3 to 9 patterns, rising for 8 updates."""
    source = RandomBits(RandomBitsConfig(size=24))
    settings = {"train_patterns_per_episode": [3, 9], "curriculum": 8, **settings}
    config = EpisodesConfig(patterns_per_episode=5, batch=4, val=4, test=4, workers=workers, **settings)
    data = EpisodeDataModule(source, Pixels(source.spec, PixelsConfig([4, 12])), config)
    data.trainer = Process(rank, world)
    data.load_state_dict({"position": position})
    return data


def draws_of(low, high, batch, rising=0, seed=0):
    span = {"train_patterns_per_episode": [low, high], "curriculum": rising}
    return Curriculum(EpisodesConfig(batch=batch, seed=seed, **span))


def updates(data, count, start=0):
    return list(islice(iter(data.train_dataloader()), start, count))


class TestCurriculum:
    def test_all_numbers_are_equally_likely(self):
        draw = draws_of(low=16, high=24, batch=2)
        counts = np.bincount([draw(2 * update) for update in range(3600)])
        assert counts[:16].sum() == 0 and len(counts) == 25
        assert 8 - 5 * 4 < ((counts[16:] - 400) ** 2 / 400).sum() < 8 + 5 * 4  # chi square, 8 degrees of freedom

    def test_episodes_of_an_update_have_the_same_number(self):
        draw = draws_of(low=1, high=1000, batch=4, rising=5)
        for update in range(20):
            assert len({draw(4 * update + place) for place in range(4)}) == 1
        assert len({draw(4 * update) for update in range(5, 20)}) > 10

    def test_the_upper_end_rises_linearly(self):
        draw = draws_of(low=16, high=64, batch=1, rising=300)
        assert [draw.upper(update) for update in (0, 100, 150, 299, 300, 9999)] == [16, 32, 40, 63, 64, 64]
        assert draw(0) == 16
        drawn = np.array(
            [[draws_of(16, 64, 1, 300, seed)(update) for seed in range(400)] for update in (100, 200, 400)]
        )
        assert (drawn.min(1) == 16).all() and (drawn.max(1) == [32, 48, 64]).all()

    def test_a_range_of_one_number_is_that_number(self):
        assert {draws_of(7, 7, 2, 10)(index) for index in range(50)} == {7}

    def test_the_seed_makes_a_difference_and_draws_are_those_that_were_recorded(self):
        first, second = ([draws_of(1, 1000, 1, seed=seed)(index) for index in range(20)] for seed in (0, 1))
        assert first != second
        assert first[:5] == [663, 513, 409, 764, 52]


class TestEpisodes:
    @pytest.mark.parametrize("world", [2, 4])
    def test_processes_together_equal_one(self, world):
        ranks = [updates(module(rank, world), 12) for rank in range(world)]
        for whole, *parts in zip(updates(module(), 12), *ranks, strict=True):
            assert same(whole, Episode(*(torch.stack(part, 1).flatten(0, 1) for part in zip(*parts, strict=True))))

    def test_workers_make_no_difference(self):
        for one, other in zip(updates(module(), 6), updates(module(workers=2), 6), strict=True):
            assert same(one, other)

    @pytest.mark.parametrize("world", [1, 2])
    def test_a_resumed_stream_goes_on_with_the_same(self, world):
        for rank in range(world):
            whole, resumed = updates(module(rank, world), 12, start=5), updates(module(rank, world, position=20), 7)
            assert len({part.patterns.shape[1] for part in whole}) > 2
            assert all(same(one, other) for one, other in zip(whole, resumed, strict=True))

    def test_the_number_is_the_curriculums(self):
        draw = draws_of(3, 9, 4, 8)
        assert [part.patterns.shape[1] for part in updates(module(), 12)] == [draw(4 * update) for update in range(12)]

    def test_validation_and_test_do_not_follow_it(self):
        for split in ("val", "test"):
            modules = module(), module(train_patterns_per_episode=[], curriculum=0)
            ranged, fixed = (getattr(data, f"{split}_dataloader")() for data in modules)
            (one,), (other,) = ranged, fixed
            assert one.patterns.shape == (4, 5, 24) and same(one, other)

    def test_episodes_of_one_batch_must_agree(self):
        source = RandomBits(RandomBitsConfig(size=24))
        episodes = EpisodeDataset(source, Pixels(source.spec, PixelsConfig(3)), draws_of(1, 1000, 2), "train")
        assert episodes.batch([2, 3]).patterns.shape[0] == 2
        with pytest.raises(ValueError, match="of one batch must have the same number of patterns"):
            episodes.batch([1, 2])

    def test_too_many_and_too_few_are_noticed_before_training(self):
        source = Glyphs()
        occlusion = Block(source.spec, BlockConfig(fill="pattern"))
        with pytest.raises(ValueError, match=r"episodes\.train_patterns_per_episode: .* must be at most"):
            EpisodeDataModule(source, occlusion, EpisodesConfig(train_patterns_per_episode=[2, 10**6]))
        with pytest.raises(ValueError, match=r"episodes\.train_patterns_per_episode: fill: pattern .* at least 2"):
            EpisodeDataModule(source, occlusion, EpisodesConfig(train_patterns_per_episode=[1, 4]))


def test_test_episodes_may_have_another_distortion():
    source = RandomBits(RandomBitsConfig(size=24))
    many, few = (Pixels(source.spec, PixelsConfig(count)) for count in (20, 2))
    data = EpisodeDataModule(source, many, EpisodesConfig(patterns_per_episode=3, batch=2, val=2, test=2), few)
    for loader, count in ((data.train_dataloader, 20), (data.val_dataloader, 20), (data.test_dataloader, 2)):
        assert (next(iter(loader())).mask.sum(2) == count).all()
