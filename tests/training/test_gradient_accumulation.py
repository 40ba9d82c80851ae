"""Gradients that are added up chunk by chunk are those of the whole batch, and less is held in memory."""

import pytest
import torch

from lightning_ebm.config import identity
from lightning_ebm.memory import PatternSpec
from lightning_ebm.schema import TrainingConfig
from lightning_ebm.training.gradient_accumulation import chunked
from lightning_ebm.training.module import MetaTraining
from tests.ebmm.energies import SMALL
from tests.ebmm.test_exactness import small
from tests.marks import fast
from tests.training.test_training import config
from tests.training.tiny import last, trained


def episodes(shape, generator):
    """Patterns, queries and mask of five episodes."""
    patterns, queries, mask = torch.rand(3, 5, 3, *shape, generator=generator, dtype=torch.float64)
    return patterns, queries, mask < 0.5


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("chunk", fast([2], [1, 2, 7]))
def test_gradients_are_those_of_the_whole_batch(name, chunk):
    memory, shape, generator = small(name, gradient_term=False)
    batch = episodes(shape, generator)
    names, parameters = zip(*memory.named_parameters(), strict=True)
    whole, parts = memory.meta_loss(*batch), chunked(memory.meta_loss, parameters, chunk, *batch)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-12)
    expected, got = (torch.autograd.grad(3 * loss, parameters, materialize_grads=True) for loss in (whole, parts))
    for key, one, other in zip(names, expected, got, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12, msg=key)


def test_auxiliary_losses_see_all_episodes():
    """Those of the mixtures compare each pattern with all others."""
    memory, shape, generator = small("decoded_mixture", gradient_term=False)
    batch, spec, found = episodes(shape, generator), PatternSpec(shape, binary=True), []
    for chunk in (0, 1):
        settings = TrainingConfig(pretrain_steps=1, episodes_per_backward=chunk)
        torch.manual_seed(0)
        found.append(MetaTraining(memory, spec, settings).pretrain_loss(*batch).item())
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
    setting, exactly = "training.episodes_per_backward", "trainer.precision=64-true"
    runs = [trained(config(tmp_path / chunk, f"{setting}={chunk}", exactly)) for chunk in "01"]
    one, other = (last(run.folder) for run in runs)
    assert one["global_step"] == other["global_step"] == 6
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][name], value, rtol=1e-9, atol=1e-12)


def test_runs_that_differ_in_chunks_continue_one_another(tmp_path):
    assert identity(config(tmp_path)) == identity(config(tmp_path, "training.episodes_per_backward=1"))
