"""The whole meta-loss, writing and reading and the derivatives inside them, is one graph for torch.compile."""

import pytest
import torch

from tests.ebmm.test_exactness import episode, small
from tests.marks import slow


@pytest.mark.parametrize(
    ("name", "gradient_term"),
    [
        pytest.param("gated_rnn", True, marks=slow),
        ("mixture", False),
        pytest.param("reconstruction_vector", False, marks=slow),
    ],
)
def test_the_meta_step_compiles_as_one_graph(name, gradient_term):
    memory, shape, generator = small(name, gradient_term=gradient_term)
    patterns, queries = episode(shape, generator)
    # this backend traces and differentiates as the default one does, and generates no code
    compiled = torch.compile(memory.meta_loss, fullgraph=True, backend="aot_eager")
    names, parameters = zip(*memory.named_parameters(), strict=True)
    losses = [loss(patterns, queries) for loss in (memory.meta_loss, compiled)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-12)
    eager, traced = (torch.autograd.grad(loss, parameters) for loss in losses)
    for key, expected, got in zip(names, eager, traced, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12, msg=key)
