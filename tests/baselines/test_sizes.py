"""How large states are, and which patterns do not suit which settings."""

import pytest

from baselines.coders import CodersConfig
from baselines.dynamic_kanerva import DynamicKanervaMachine
from baselines.fast_weights import FastWeights
from baselines.fitted_latent import FittedLatent
from baselines.gradmem import GradMem
from baselines.image_codec import ImageCodec
from baselines.kanerva import KanervaMachine
from baselines.lstm import LSTM
from baselines.mann import MANN
from baselines.memory_network import MemoryNetwork
from baselines.pca import PCA
from baselines.plasticity import Plasticity
from baselines.titans import Titans
from lightning_ebm.experiments.measure import count_floats
from tests.contract import build

BITS, IMAGE = (128,), (1, 32, 32)
NET = 128 * 32 + 32 + 32 * 32 + 32 + 32 * 128


@pytest.mark.parametrize(
    ("kind", "shape", "settings", "floats", "bookkeeping"),
    [
        (LSTM, BITS, {"hidden": 4128, "rank": 2}, 8256, 0),  # at any rank those of the EBMM paper's table 1
        (MANN, BITS, {"slots": 64, "hidden": 32}, 64 * 128 + 2 * 32, 2 * 64),  # as many
        (MemoryNetwork, IMAGE, {"slots": 64, "width": 48}, 64 * 48, 2),  # a counter of 64 bits
        (KanervaMachine, IMAGE, {"slots": 32, "width": 100}, 32 * 100, 32 * 32),
        (DynamicKanervaMachine, IMAGE, {"slots": 32, "width": 100}, 32 * 100, 32 * 32),
        (FastWeights, BITS, {}, 128 * 32 + 32 + 32 * 128, 0),
        (FastWeights, BITS, {"key": 64, "hidden": 0}, 64 * 128, 0),
        (Titans, BITS, {"layers": 2}, NET, NET),
        (GradMem, BITS, {"vectors": 8}, 8 * 128, 0),
        (Plasticity, BITS, {}, 90 * 90, 90),
        (Plasticity, BITS, {"neurons": 129, "symmetric": True}, 129 * 128 // 2, 129),
    ],
)
def test_the_state_is_as_large_as_the_literature_counts(kind, shape, settings, floats, bookkeeping):
    memory = build(kind, shape, **settings)
    assert count_floats(memory, memory.initial_state(2)) == (floats, floats + bookkeeping)


@pytest.mark.parametrize(
    ("kind", "shape", "settings", "message"),
    [
        (MemoryNetwork, (4, 4), {}, r"vectors or images, not patterns of shape \(4, 4\)"),
        (
            *(MemoryNetwork, (1, 6, 6), {"coders": CodersConfig(channels=[4, 4])}),
            r"coders.channels=\[4, 4\] needs images with sides divisible by 4, got \(1, 6, 6\)",
        ),
        (
            *(MemoryNetwork, (1, 8, 8), {"width": 17, "coders": CodersConfig(code_dim=16)}),
            "width must be at most coders.code_dim=16, .*got 17",
        ),
        (GradMem, (6,), {"parts": 7}, r"memory\.parts must be at most 6, the values of a pattern, got 7"),
        (PCA, (8,), {"components": 9}, "components must be at most the 8 values of a pattern, got 9"),
        (FittedLatent, (8,), {}, r"needs images .* got patterns of shape \(8,\)"),
        (ImageCodec, (8,), {}, r"needs images .* got patterns of shape \(8,\)"),
        (ImageCodec, (2, 8, 8), {}, "1 or 3 channels"),
    ],
)
def test_what_does_not_suit_the_patterns_is_refused(kind, shape, settings, message):
    with pytest.raises(ValueError, match=message):
        build(kind, shape, **settings)
