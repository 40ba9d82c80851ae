"""Gradients that are added up chunk by chunk are those of the whole batch, and less is held in memory."""

import pytest
import torch

from lightning_ebm.config import identity
from lightning_ebm.memory import PatternSpec
from lightning_ebm.schema import TrainingConfig
from lightning_ebm.training import trainer as training
from lightning_ebm.training.gradient_accumulation import chunked
from lightning_ebm.training.module import MetaTraining
from tests.ebmm.energies import SMALL
from tests.ebmm.test_exactness import small
from tests.marks import fast
from tests.training.test_training import config, final


def episodes(shape, generator, count=5):
    return torch.rand(2, count, 3, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("chunk", fast([2], [1, 2, 7]))
def test_gradients_are_those_of_the_whole_batch(name, chunk):
    memory, shape, generator = small(name, gradient_term=False)
    patterns, queries = episodes(shape, generator)
    mask = torch.rand(patterns.shape, generator=generator) < 0.5
    names, parameters = zip(*memory.named_parameters(), strict=True)
    whole = memory.meta_loss(patterns, queries, mask)
    parts = chunked(memory.meta_loss, parameters, chunk, patterns, queries, mask)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-12)
    expected, got = (torch.autograd.grad(3 * loss, parameters, materialize_grads=True) for loss in (whole, parts))
    for key, one, other in zip(names, expected, got, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12, msg=key)


def test_auxiliary_losses_see_all_episodes():
    """Those of the mixtures compare each pattern with all others."""
    memory, shape, generator = small("decoded_mixture", gradient_term=False)
    patterns, queries = episodes(shape, generator)
    mask = torch.rand(patterns.shape, generator=generator) < 0.5
    spec = PatternSpec(shape, binary=True)
    found = []
    for chunk in (0, 1):
        settings = TrainingConfig(pretrain_steps=1, episodes_per_backward=chunk)
        torch.manual_seed(0)
        found.append(MetaTraining(memory, spec, settings).pretrain_loss(patterns, queries, mask).item())
    assert found[0] == found[1]


def most_saved(compute):
    """Most values saved for a backward pass at any one time."""
    saved, most = [0], [0]

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor
            saved[0] += tensor.numel()
            most[0] = max(most[0], saved[0])

        def __del__(self):
            saved[0] -= self.tensor.numel()

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda kept: kept.tensor):
        compute().backward()
    return most[0]


def test_only_a_chunk_is_held():
    parameter, batch = torch.ones((), requires_grad=True), torch.arange(1000.0)

    def loss(batch):
        return (batch * parameter).sin().mean()

    whole, tenths = most_saved(lambda: loss(batch)), most_saved(lambda: chunked(loss, [parameter], 100, batch))
    assert whole >= 2000
    assert tenths < whole / 9


def test_training_is_the_same(tmp_path):
    states = []
    for chunk in (0, 1):
        run = training.build(
            config(tmp_path / str(chunk), f"training.episodes_per_backward={chunk}", "trainer.precision=64-true")
        )
        training.train(run)
        states.append(final(run.folder))
    assert states[0]["global_step"] == states[1]["global_step"] == 6
    for name, value in states[0]["state_dict"].items():
        torch.testing.assert_close(states[1]["state_dict"][name], value, rtol=1e-9, atol=1e-12)


def test_runs_that_differ_in_chunks_continue_one_another(tmp_path):
    assert identity(config(tmp_path)) == identity(config(tmp_path, "training.episodes_per_backward=1"))
