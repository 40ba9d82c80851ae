"""States at lower precision, against arithmetic done by hand."""

import math

import pytest
import torch

from baselines.memory_network import MemoryNetwork
from lightning_ebm.experiments.controls import QueryItself
from lightning_ebm.experiments.measure import measure
from lightning_ebm.memory import PatternSpec
from lightning_ebm.metrics import recalled, similarity
from lightning_ebm.quantization import rounded, state_bits, straight_through
from tests.contract import build
from tests.experiments.test_measure import BITS, REAL, Mean, batch


def test_int4_keeps_fifteen_levels_of_each_tensor_and_episode():
    state = {"w": torch.tensor([[7.0, 3.4, -3.6, 0.4], [70.0, 34.0, -36.0, 4.0], [0.0, 0.0, 0.0, 0.0]])}
    expected = torch.tensor([[7.0, 3.0, -4.0, 0.0], [70.0, 30.0, -40.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(rounded(state, "int4")["w"], expected)


def test_values_too_small_for_a_step_become_zero():
    assert rounded({"w": torch.tensor([[1e-44, -1e-45]])}, "int8")["w"].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("precision", "most"), [("int8", 127), ("int4", 7)])
@pytest.mark.parametrize("power", [1, 3])  # 3: few values are large
def test_the_scale_is_that_of_least_squared_error(precision, most, power):
    values = torch.randn(3, 20000, generator=torch.Generator().manual_seed(0)).double() ** power
    error = (rounded({"w": values}, precision)["w"] - values).square().sum(1)

    def at(scale):  # one for each row
        return ((values / scale).round().clamp(-most, most) * scale - values).square().sum(1)

    fitting = values.abs().amax(1, keepdim=True) / most
    least = torch.stack([at(fitting * share) for share in torch.linspace(0.05, 1, 500)]).amin(0)
    assert (error <= 1.02 * least).all()
    if most == 7:
        assert (error < 0.7 * at(fitting)).all()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_what_was_rounded_is_not_rounded_again(precision):
    once = rounded({"w": torch.randn(5, 100, generator=torch.Generator().manual_seed(0)) ** 3}, precision)
    torch.testing.assert_close(rounded(once, precision)["w"], once["w"])
    assert all(len(row.unique()) > 2 for row in once["w"])


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_state_that_is_not_finite_does_not_become_zero(precision, value):
    kept = rounded({"w": torch.tensor([[value, 1.0], [2.0, 1.0]])}, precision)["w"]
    assert kept.isfinite().all(1).tolist() == [False, True]


def test_large_values_are_rounded_as_small_ones_are():
    values = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    large = rounded({"w": values * 2.0**100}, "int4")["w"]  # whose squares are infinite in float32
    assert torch.equal(large, rounded({"w": values}, "int4")["w"] * 2.0**100)


def test_floats_and_counters():
    state = {"w": torch.tensor([[1 / 3]], dtype=torch.float64), "n": torch.tensor([[2**40 + 1]])}
    assert rounded(state, "float16")["w"].item() == 0.333251953125  # 1365 / 4096
    assert rounded(state, "float32")["w"].item() == 11184811 / 2**25
    for precision in ("float32", "float16", "int8", "int4"):
        assert rounded(state, precision)["n"].item() == 2**40 + 1
        assert rounded(state, precision)["w"].dtype == torch.float64


def test_bits_count_scales_and_leave_out_bookkeeping():
    memory = build(MemoryNetwork, (16,), slots=3, width=5)
    state = memory.initial_state(2)
    counted = {p: state_bits(memory, state, p) for p in ("float32", "float16", "int8", "int4")}
    assert counted == {"float32": 15 * 32, "float16": 15 * 16, "int8": 15 * 8 + 32, "int4": 15 * 4 + 32}
    assert state_bits(QueryItself(), {"n": torch.zeros(2, 3, dtype=torch.int64)}, "int4") == 3 * 64


def test_measuring_rounds_between_writing_and_reading():
    exact, coarse = (measure(Mean(), [batch()], REAL, precision=p) for p in ("float32", "int4"))
    mean = batch().patterns.mean(1)  # of episode 1: 0, 2/3, 1, 1/3; seven levels of the largest do not hold thirds
    step = mean.amax(1, keepdim=True) / 7
    kept = (mean / step).round() * step
    expected = (batch().patterns - kept[:, None]).square()
    assert coarse.error == pytest.approx(expected.sum(2).mean(1).tolist())
    assert coarse.mse == pytest.approx(expected.mean().item())
    assert exact.error != coarse.error


def test_exact_recall():
    answer = torch.tensor([[[0.6, 0.4], [0.4, 0.4]]])
    patterns = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert recalled(answer, patterns, PatternSpec((2,), True)).tolist() == [[True, False]]
    close = patterns + 0.035  # a mean squared error of 0.001225
    assert recalled(close, patterns, PatternSpec((2,), False)).all()
    assert not recalled(patterns + 0.036, patterns, PatternSpec((2,), False)).any()
    assert measure(QueryItself(), [batch()], BITS).exact == 0


def test_similarity_is_one_for_equal_images_and_nothing_for_vectors():
    image = torch.rand(2, 3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(similarity(image, image), torch.ones(2, 3).double())
    assert (similarity(1 - image, image) < 0.5).all()
    assert similarity(image[..., :8, :8], image[..., :8, :8]).isnan().all()
    assert math.isnan(measure(QueryItself(), [batch()], BITS).ssim)


def test_similarity_of_flat_images_follows_the_formula():
    """Constant images have no variance: (2ab + c1) / (a² + b² + c1), c1 = 0.01²."""
    a, b = torch.full((1, 1, 1, 16, 16), 0.25), torch.full((1, 1, 1, 16, 16), 0.75)
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert similarity(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_training_with_rounding_passes_gradients_through_it():
    """d/dw of (round(w) - y)² is 2 (round(w) - y) when rounding counts as the identity."""
    weight = torch.tensor([[7.0, 3.4, -3.6]], requires_grad=True)
    target = torch.tensor([[0.0, 1.0, 2.0]])
    (straight_through({"w": weight}, "int4")["w"] - target).square().sum().backward()
    torch.testing.assert_close(weight.grad, 2 * (torch.tensor([[7.0, 3.0, -4.0]]) - target))


def test_training_with_rounding_leaves_what_are_no_floats_as_they_are():
    state = {"w": torch.tensor([[1 / 3]]), "used": torch.tensor([[True, False]]), "n": torch.tensor([2**40 + 1])}
    kept = straight_through(state, "float16")
    assert kept["used"].tolist() == [[True, False]] and kept["n"].item() == 2**40 + 1
    assert kept["w"].item() == 0.333251953125  # 1365 / 4096


def test_the_meta_loss_is_that_of_the_kept_state():
    memory, (patterns, queries, _) = Mean(), batch()
    loss = memory.meta_loss(patterns, queries, keep=lambda state: rounded(state, "int4"))
    kept = rounded(memory.write(patterns), "int4")["mean"][:, None]
    torch.testing.assert_close(loss, (kept - patterns).square().sum((1, 2)).mean() / 3)
