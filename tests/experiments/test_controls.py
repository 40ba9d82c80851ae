"""Exact slots: the codes themselves in the rows, read as the EBMM reads them."""

import pytest
import torch

from baselines.hopfield import Hopfield
from lightning_ebm.cli import main
from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
from lightning_ebm.experiments.controls import ExactSlots
from lightning_ebm.memory import PatternSpec
from tests.contract import MemoryContract, build
from tests.ebmm.energies import SMALL, small_energy
from tests.tables import rows_of


def ebmm(name, **writing):
    return EBMM(small_energy(name), EBMMConfig(writing=WritingConfig(**writing), reading=ReadingConfig(steps=2)))


class TestExactSlots(MemoryContract):
    spec = PatternSpec(SMALL["measured_mixture"][0], binary=False)

    def build(self):
        return ExactSlots(ebmm("measured_mixture"))

    def test_every_trainable_parameter_gets_a_finite_gradient(self, memory, episode):
        """A control is measured, not trained: writing has no part in it."""

    def test_an_intact_query_is_not_recalled_worse_than_a_corrupted_one(self, memory, episode):
        """Nor is it here, once the energy has learned anything."""


@pytest.mark.parametrize("name", ["measured_mixture", "decoded_mixture"])
@pytest.mark.parametrize("items", [2, 4, 6])
def test_rows_are_the_codes_of_the_last_patterns(name, items):
    torch.manual_seed(0)
    memory = ebmm(name)
    prior, net = memory.prior(), memory.energy_net
    patterns = torch.rand(3, items, *SMALL[name][0])
    state = ExactSlots(memory).write(patterns)
    for episode, own in enumerate(patterns):
        rows = [net.features(x[None])[0] for x in own][-4:] + list(prior["memory.weight"])[items:]
        torch.testing.assert_close(state["memory.weight"][episode], torch.stack(rows))
    taken = torch.arange(4) < items
    assert torch.equal(state["memory.bias"], torch.where(taken, -100, prior["memory.bias"]).expand(3, -1))
    torch.testing.assert_close(ExactSlots(memory).read(state, patterns), memory.read(state, patterns))


def test_writing_by_gradient_comes_to_the_same_rows():
    """One pattern is the only one that any row can take: many steps turn the nearest row towards its code."""
    torch.manual_seed(0)
    memory = ebmm("measured_mixture", steps=300, write_rate=0.5, prior_rate=0.0, rates="parameter", reduction="sum")
    pattern = torch.rand(1, 1, *SMALL["measured_mixture"][0])
    written, exact = memory.write(pattern)["memory.weight"], ExactSlots(memory).write(pattern)["memory.weight"]
    cosine = torch.nn.functional.cosine_similarity(written[0], exact[0, :1], dim=1)
    assert cosine.max() > 0.999


def test_other_memories_have_none():
    for memory in (ebmm("gated_rnn"), build(Hopfield, (8,))):
        with pytest.raises(ValueError, match="only an EBMM whose energy has rows of codes"):
            ExactSlots(memory)


def test_a_comparison_has_them_as_a_control(tmp_path):
    energy = "{name: measured_mixture, slots: 4, code_dim: 8, hidden: 4, detector: 2, recovery: 2, steps: 1}"
    rows = f"compare.rows={{EBMM: {{memory: {{energy: {energy}}}}}}}"
    assert main(["compare", "configs/debug.yaml", f"output={tmp_path}", rows, "memory=EBMM"]) == 0
    rows = {row["label"]: row for row in rows_of(tmp_path / "compare-debug" / "results.csv")}
    assert rows["EBMM, exact slots"]["memory"] == "control"
    assert rows["EBMM, exact slots"]["floats"] == rows["EBMM"]["floats"] == str(4 * (8 + 1))
