"""Episodes depend on (seed, split, index) and on nothing else: not on order, workers or processes."""

from itertools import combinations, islice

import numpy as np
import pytest
import torch

from lightning_ebm.data.bits import RandomBits, RandomBitsConfig
from lightning_ebm.data.distortions import Pixels, PixelsConfig
from lightning_ebm.data.episodes import Episode, EpisodeDataset, EpisodeSampler, episode_random
from tests.data.roots import same


def episodes(split="train", seed=0, items=5):
    source = RandomBits(RandomBitsConfig(size=24))
    return EpisodeDataset(source, Pixels(source.spec, PixelsConfig(amount=8)), items, split, seed)


class TestPurity:
    def test_shapes_and_types(self):
        episode = episodes().batch([3, 4, 9])
        assert [tuple(part.shape) for part in episode] == [(3, 5, 24)] * 3
        assert [part.dtype for part in episode] == [torch.float32, torch.float32, torch.bool]

    def test_seed_and_split_make_a_difference(self):
        assert same(episodes()[7], episodes()[7])
        drawn = [episodes(split)[7].patterns for split in ("train", "val", "test")] + [episodes(seed=1)[7].patterns]
        for one, other in combinations(drawn, 2):
            assert 30 < (one != other).sum() < 90  # of 120 bits, 60 are expected, give or take 5.5

    def test_no_two_episodes_are_alike(self):
        patterns = episodes().batch(range(200)).patterns.flatten(1)
        assert len(patterns.unique(dim=0)) == 200

    def test_order_and_company_make_no_difference(self):
        together, dataset = episodes().batch([9, 2, 5]), episodes()
        for row, index in [(2, 5), (0, 9), (1, 2)]:
            alone = dataset[index]
            assert same(alone, Episode(*(part[row : row + 1] for part in together)))

    def test_distortion_is_fixed_too(self):
        assert torch.equal(episodes()[3].mask, episodes()[3].mask)
        assert not torch.equal(episodes()[3].mask, episodes()[4].mask)

    def test_the_global_generators_are_neither_used_nor_moved(self):
        expected = episodes()[0]
        np.random.seed(1)
        torch.manual_seed(1)
        before = np.random.get_state()[1].copy(), torch.get_rng_state()
        assert same(episodes()[0], expected)
        assert (np.random.get_state()[1] == before[0]).all()
        assert torch.equal(torch.get_rng_state(), before[1])

    def test_generators_of_close_episodes_are_independent(self):
        draws = np.array([episode_random(0, "train", index).random(500) for index in range(20)])
        correlation = np.corrcoef(draws)[~np.eye(20, dtype=bool)]
        assert np.abs(correlation).max() < 5 / np.sqrt(500)


class TestLoading:
    @pytest.mark.parametrize("world", [2, 4])
    def test_processes_together_equal_one(self, world):
        one = EpisodeSampler(batch=8, stop=28)
        ranks = [EpisodeSampler(batch=8, stop=28, rank=rank, world=world) for rank in range(world)]
        for whole, *parts in zip(one, *ranks, strict=True):
            assert len({len(part) for part in parts}) == 1
            assert sorted(index for part in parts for index in part) == whole
            assert parts[1][0] == whole[1]

    def test_a_stream_goes_on_where_it_was_left(self):
        from_the_start = islice(EpisodeSampler(batch=6), 5, 9)
        assert list(from_the_start) == list(islice(EpisodeSampler(batch=6, used=lambda: 30), 4))

    def test_the_last_step_may_be_shorter(self):
        assert list(EpisodeSampler(batch=4, stop=6)) == [[0, 1, 2, 3], [4, 5]]

    def test_the_batch_must_divide(self):
        with pytest.raises(ValueError, match=r"episodes\.batch=5 .* 2"):
            EpisodeSampler(batch=5, world=2)

    def test_the_number_of_evaluation_episodes_must_divide(self):
        with pytest.raises(ValueError, match=r"7 evaluation episodes .* 2"):
            EpisodeSampler(batch=4, stop=7, world=2)
