"""MANN against a loop written from the equations, and the order of its writes; what slots allow: the memory network."""

import numpy as np
import pytest
import torch

from baselines.coders import CodersConfig
from baselines.mann import MANN, MANNConfig
from tests.baselines.test_memory_network import bits, randomised
from tests.contract import IMAGES, MemoryContract, build


class TestBits(MemoryContract):
    # Blunter than by default, else both queries of the contract are recalled exactly, and rounding decides.
    kind = MANN
    config = MANNConfig(slots=6, hidden=5, sharpness=8.0, coders=CodersConfig(hidden=16))


class TestImages(TestBits):
    spec = IMAGES
    learns_first = 60  # untrained image coders recall nothing
    config = MANNConfig(slots=5, width=12, hidden=5, coders=CodersConfig(channels=[4, 8], code_dim=16))


def test_without_the_gate_each_write_goes_to_the_slot_used_longest_ago():
    """The first 6 writes take 6 slots; the seventh takes the first one again."""
    memory, (patterns, _, _) = build(MANN, (32,), slots=6), bits(2, 9, 32)
    memory.hidden_to_gate.bias.data.fill_(-100.0)
    state, written_to = memory.initial_state(2), []
    for item in range(9):
        after = memory.update(state, patterns[:, item : item + 1])
        changed = (after["memory"] != state["memory"]).any(-1)
        assert changed.sum(-1).tolist() == [1, 1]
        written_to.append(changed.int().argmax(-1))
        state = after
    written_to = torch.stack(written_to, 1)
    assert all(row[:6].unique().numel() == 6 for row in written_to)
    torch.testing.assert_close(written_to[:, 6:], written_to[:, :3])


def test_an_open_gate_writes_to_the_slot_read_last():
    memory, (patterns, _, _) = build(MANN, (32,), slots=6, sharpness=1e3), bits(1, 2, 32)
    memory.hidden_to_gate.bias.data.fill_(100.0)
    state = memory.initial_state(1)
    state["read_weights"][0, 4] = 1.0
    after = memory.update(state, patterns)["memory"][0]
    assert after.any(-1).tolist() == [False, False, False, False, True, False]
    adds = memory.coders.encode(patterns)[0].tanh().sum(0)  # both patterns, one upon the other
    torch.testing.assert_close(after[4], adds, atol=0.1, rtol=0)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_usage_decays(decay):
    """Each step adds read and write weights, which sum to 2; the first has no earlier reading to write to."""
    memory, (patterns, _, _) = build(MANN, (8,), slots=4, decay=decay).double(), bits(1, 3, 8)
    usage = memory.write(patterns.double())["usage"].sum().item()
    gate = 1 / (1 + np.exp(4.0))
    assert usage == pytest.approx(decay**2 * (2 - gate) + decay * 2 + 2, abs=1e-3)


@pytest.mark.parametrize(("sharpness", "highest"), [(1e-6, 1 / 5), (1e6, 1.0)])
def test_sharpness_runs_from_the_mean_of_all_slots_to_the_nearest(sharpness, highest):
    memory = build(MANN, (8,), slots=5, sharpness=sharpness)
    generator = torch.Generator().manual_seed(0)
    keys, slots = torch.randn(2, 3, 8, generator=generator), torch.randn(2, 5, 8, generator=generator)
    weights = memory.address(keys, slots)
    assert weights.max(-1).values.tolist() == [pytest.approx([highest] * 3, abs=1e-5)] * 2
    nearest = torch.cosine_similarity(keys[:, :, None], slots[:, None], dim=-1).argmax(-1)
    if highest == 1:
        torch.testing.assert_close(weights.argmax(-1), nearest)


def test_gradients_of_long_episodes_are_finite():
    memory, (patterns, queries, _) = build(MANN, (16,), slots=8), bits(2, 96, 16)
    memory.meta_loss(patterns, queries).backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in memory.parameters())


def test_it_is_the_published_recurrence():
    """One episode and one query at a time, in NumPy, from the equations in the class's docstring."""
    settings = dict(slots=3, width=4, hidden=5, decay=0.7, sharpness=3.0, coders=CodersConfig(hidden=3))
    memory = build(MANN, (6,), **settings)
    memory.hidden_to_gate.bias.data.fill_(-1.0)
    memory = randomised(memory)
    patterns, queries, _ = (x.double() if x.is_floating_point() else x for x in bits(2, 5, 6))
    weights = {name: parameter.detach().numpy() for name, parameter in memory.named_parameters()}

    def affine(name, x):
        return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0.0)

    def coder(name, x):
        inner = np.tanh(affine(f"coders.{name}.inner", x))
        return affine(f"coders.{name}.straight", x) + weights[f"coders.{name}.outer.weight"] @ inner

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def controller(x, flag, r, h, c):
        gates = affine("controller.inputs", np.append(x, flag)) + affine("feedback", r)
        i, f, g, o = np.split(gates + affine("controller.recurrent", h), 4)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    def address(k, rows):
        scores = [np.exp(weights["log_sharpness"]) * (k @ m) / np.sqrt((k @ k + 1e-6) * (m @ m + 1e-6)) for m in rows]
        return np.exp(scores) / np.exp(scores).sum()

    state = memory.write(patterns)
    answer = memory.read(state, queries)
    assert answer.shape == (1, 2, 5, 6)
    for episode in range(2):
        rows, u, p, h, c = np.zeros((3, 4)), np.zeros(3), np.zeros(3), np.zeros(5), np.zeros(5)
        for pattern in patterns[episode].numpy():
            x = coder("encoder", 2 * pattern - 1)
            h, c = controller(x, 1.0, p @ rows, h, c)
            k = np.tanh(affine("code_to_key", x) + affine("hidden_to_key", h))
            a = np.tanh(affine("code_to_add", x) + affine("hidden_to_add", h))
            g = sigmoid(affine("hidden_to_gate", h))
            least = np.eye(3)[u.argmin()]
            q = g * p + (1 - g) * least
            rows[u.argmin()] = 0.0
            rows = rows + np.outer(q, a)
            p = address(k, rows)
            u = 0.7 * u + p + q
        for name, expected in {"memory": rows, "usage": u, "read_weights": p, "hidden": h, "cell": c}.items():
            np.testing.assert_allclose(state[name][episode].detach(), expected, atol=1e-10, err_msg=name)
        for item, query in enumerate(queries[episode].numpy()):
            x = coder("encoder", 2 * query - 1)
            after, _ = controller(x, -1.0, p @ rows, h, c)
            r = address(np.tanh(affine("code_to_key", x) + affine("hidden_to_key", after)), rows) @ rows
            output = affine("read_to_output", r) + affine("hidden_to_output", after) + affine("code_to_output", x)
            expected = sigmoid(coder("decoder", output))
            np.testing.assert_allclose(answer[0, episode, item].detach(), expected, atol=1e-10)
