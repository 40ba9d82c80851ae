"""The LSTM against torch's own cell, and on key-value pairs that it must have written to recall."""

import pytest
import torch
from torch import nn

from baselines.coders import CodersConfig
from baselines.lstm import LSTM, LSTMCell, LSTMConfig, flagged
from baselines.mann import MANN
from tests.baselines.test_memory_network import bits
from tests.contract import IMAGES, MemoryContract, build, train, wrong_bits


class TestBits(MemoryContract):
    kind = LSTM
    learns_first = 60  # an untrained net recalls nothing
    config = LSTMConfig(hidden=32, coders=CodersConfig(hidden=16))


class TestImages(TestBits):
    spec = IMAGES
    config = LSTMConfig(hidden=20, rank=6, width=12, coders=CodersConfig(channels=[4, 8], code_dim=16))


@pytest.mark.parametrize("rank", [None, 3])
def test_the_cell_is_torchs_with_one_more_on_the_forget_gate(rank):
    ours, torchs = LSTMCell(4, 5, rank).double(), nn.LSTMCell(4, 5).double()
    with torch.no_grad():
        torchs.weight_ih.copy_(ours.inputs.weight)
        torchs.bias_ih.copy_(ours.inputs.bias.normal_())
        recurrent = ours.recurrent.weight if rank is None else ours.recurrent.weight @ ours.narrow.weight
        torchs.weight_hh.copy_(recurrent)
        torchs.bias_hh.zero_()[5:10] = 1.0
    x, h, c = (torch.randn(3, size, dtype=torch.double) for size in (4, 5, 5))
    torch.testing.assert_close(ours(ours.inputs(x), h, c), torchs(x, (h, c)))


@pytest.mark.parametrize("rank", [None, 3])
def test_each_gate_starts_with_an_orthogonal_recurrent_matrix(rank):
    """All singular values are 1, or, at a lower rank, that many of them."""
    cell = LSTMCell(4, 5, rank)
    recurrent = cell.recurrent.weight if rank is None else cell.recurrent.weight @ cell.narrow.weight
    for gate in recurrent.chunk(4):
        values = torch.linalg.svdvals(gate)
        torch.testing.assert_close(values, (torch.arange(5) < (rank or 5)).float(), atol=1e-5, rtol=1e-5)


def test_patterns_are_steps_and_each_query_is_one_step_from_the_written_state():
    """One episode and one query at a time, through torch's cell."""
    memory = build(LSTM, (6,), hidden=5, coders=CodersConfig(hidden=3)).double()
    torchs = nn.LSTMCell(7, 5).double()
    with torch.no_grad():
        torchs.weight_ih.copy_(memory.lstm.inputs.weight)
        torchs.weight_hh.copy_(memory.lstm.recurrent.weight)
        for bias in (torchs.bias_ih, torchs.bias_hh):
            bias.zero_()
        torchs.bias_ih[5:10] = 1.0
    patterns, queries = (x.double() for x in bits(2, 3, 6)[:2])
    answer = memory.read(memory.write(patterns), queries)
    for episode in range(2):
        state = None
        for pattern in patterns[episode]:
            state = torchs(flagged(memory.coders.encode(pattern[None, None]), 1.0)[0], state)
        for item, query in enumerate(queries[episode]):
            hidden, _ = torchs(flagged(memory.coders.encode(query[None, None]), -1.0)[0], state)
            expected = memory.coders.logits(memory.output(hidden)[None]).sigmoid()
            torch.testing.assert_close(answer[0, episode, item], expected[0, 0])


def pairs(episodes, items, keys, values, seed):
    """Patterns of random bits, and queries of which only the first `keys` bits tell anything."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(episodes, items, keys + values, generator=generator).round()
    guess = torch.rand(episodes, items, values, generator=generator).round()
    return patterns, torch.cat([patterns[..., :keys], guess], -1)


@pytest.mark.parametrize(
    ("memory", "items", "keys", "values", "steps"),
    [
        (lambda: build(LSTM, (8,), hidden=64, coders=CodersConfig(hidden=16)), 2, 5, 3, 200),
        (lambda: build(MANN, (16,), slots=8, hidden=16, sharpness=1.0, coders=CodersConfig(hidden=16)), 6, 12, 4, 60),
    ],
    ids=["lstm", "mann"],
)
def test_associative_recall_is_learned(memory, items, keys, values, steps):
    """From the key, the value that was written with it: the query itself has half of the value's bits wrong.

    Equal keys with different values cannot be told apart; that is about 0.05 bits of the LSTM's 1.5.
    """
    memory = memory()
    patterns, queries = pairs(200, items, keys, values, seed=10**6)
    before = wrong_bits(memory, patterns, queries)
    train(memory, lambda step: pairs(32, items, keys, values, seed=step), steps, rate=1e-2)
    assert wrong_bits(memory, patterns, queries) < 0.25 < 0.5 * before
