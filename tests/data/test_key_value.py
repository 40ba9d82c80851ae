"""Pairs of tokens: a key has one value in an episode, and another in the next."""

from hashlib import sha256

import numpy as np
import pytest
import torch

from baselines.nearest_pattern import NearestPattern
from lightning_ebm.data.distortions import Half, HalfConfig
from lightning_ebm.data.episodes import EpisodeDataset, Sampling, episode_random
from lightning_ebm.data.key_value import KeyValue, KeyValueConfig
from lightning_ebm.experiments.measure import measure


def small(**settings):
    return KeyValue(KeyValueConfig(**{"vocabulary": 12, "code_dim": 9} | settings))


def tokens(patterns):
    """Keys and values (count,) of one-hot pairs (count, 2 * tokens)."""
    keys, values = np.split(patterns, 2, axis=-1)
    assert (keys.sum(-1) == 1).all()
    assert (values.sum(-1) == 1).all()
    return keys.argmax(-1), values.argmax(-1)


def dataset(source, items=4):
    distortion = Half(source.spec, HalfConfig("right", 0.5))
    return EpisodeDataset(source, distortion, items, "train", seed=3)


@pytest.mark.parametrize(("code", "bits"), [("one_hot", 6), ("random", 9)])
def test_shape_type_and_values(code, bits):
    source = small(code=code)
    assert source.spec.shape == (2 * bits,)
    assert source.spec.binary
    pairs = source.draw("train", 5, np.random.default_rng(0))
    assert pairs.shape == (5, 2 * bits)
    assert pairs.dtype == np.float32
    assert set(np.unique(pairs)) == {0, 1}


def test_pairs_of_an_episode_share_no_token_and_all_tokens_occur():
    source = small(code="one_hot")
    seen = set()
    for index in range(40):
        keys, values = tokens(source.draw("train", 6, episode_random(0, "train", index)))
        assert sorted(keys) == sorted(values) == list(range(6))
        seen |= set(zip(keys.tolist(), values.tolist(), strict=True))
    assert len(seen) == 36  # no key tells its value: 40 permutations leave a pair out with probability 36 (5/6)^40


def test_a_key_has_one_value_with_replacement():
    keys, values = tokens(small(code="one_hot").draw("test", 50, np.random.default_rng(0), Sampling(0, True)))
    assert len(set(zip(keys, values, strict=True))) == len(set(keys)) == len(set(values)) <= 6


def test_random_codes_are_fair_different_and_the_same_in_all_splits():
    source, again = KeyValue(), KeyValue()
    codes = np.concatenate([source.keys, source.values])
    assert codes.shape == (8192, 64)
    assert np.abs(codes.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(8192)
    assert np.array_equal(again.values, source.values)
    known = {row.tobytes() for row in source.keys}
    assert len(known) == 4096
    assert not known & {row.tobytes() for row in source.values}
    for split in ("train", "val", "test"):
        pairs = source.draw(split, 8, episode_random(0, split, 0))
        assert {row.tobytes() for row in np.ascontiguousarray(pairs[:, :64])} <= known


def test_contents_are_those_that_were_recorded():
    source, hashes = KeyValue(), []
    for split in ("train", "val", "test"):
        drawn = [source.draw(split, 16, episode_random(0, split, index)) for index in (0, 1, 7)]
        hashes.append(sha256(np.stack(drawn)).hexdigest()[:16])
    assert hashes == ["ad9e23dc35aa9422", "df29fa178cfad511", "f19c80e95129e0d4"]


def test_exact_recall_is_the_accuracy_of_values():
    """Half of the slots: exactly half of the queries find their value; the others have a key alone."""
    source = KeyValue()
    batch = dataset(source, items=8).batch(range(3))
    assert torch.equal(batch.mask, torch.arange(128).expand(batch.mask.shape) >= 64)
    assert (batch.queries[..., 64:] == 0.5).all()

    class HalfKept(NearestPattern):
        def write(self, patterns):
            return super().write(patterns[:, :4])

    memory = HalfKept(source.spec, NearestPattern.config())
    record = measure(memory, [batch], source.spec, mask_known=True)
    values = batch.patterns[..., 64:]
    keys, right = batch.patterns[..., :64], 0
    for episode, place in np.ndindex(3, 8):
        found = (keys[episode, :4] != keys[episode, place]).sum(-1).argmin()
        right += torch.equal(values[episode, found], values[episode, place])
    assert record.exact == right / 24 == 0.5
    assert measure(NearestPattern(source.spec, NearestPattern.config()), [batch], source.spec).exact == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": 1}, "vocabulary must be at least 2, got 1"),
        ({"vocabulary": 9}, "vocabulary must be even, half keys and half values, got 9"),
        ({"code": "onehot"}, "code must be one of random, one_hot"),
        ({"code_dim": 0}, "code_dim must be at least 1, got 0"),
        ({"code_dim": 3}, "code_dim must be larger: two of 12 tokens have the same random code of 3 bits"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_more_pairs_than_keys_and_classes_are_refused():
    with pytest.raises(ValueError, match=r"episodes\.patterns_per_episode must be at most 6, the number of keys"):
        small().draw("train", 7, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"episodes\.classes must be 0, as pairs of tokens have no classes, got 2"):
        small().draw("train", 3, np.random.default_rng(0), Sampling(2))
