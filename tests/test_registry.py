"""Names lead to classes: our own, those of other packages, and those given by import path."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from lightning_ebm.memory import AssociativeMemory, PatternSpec
from lightning_ebm.registry import Choice, UnknownNameError, analyses, datasets, distortions, energies, memories

SPEC = PatternSpec((1, 32, 32), binary=True)


@pytest.mark.parametrize("name", memories.names())
def test_every_registered_memory_is_built_from_its_defaults_and_cites(name):
    memory = memories.build(name, SPEC)
    assert isinstance(memory, AssociativeMemory)
    assert memory.citation.strip()


@pytest.mark.parametrize("name", sorted({*energies.names()} - {"gated_rnn"}))
def test_every_image_energy_is_built_from_its_defaults(name):
    assert energies.build(name, SPEC).memory_layers


def test_all_that_the_readme_names_is_there():
    assert {"ebmm", "hopfield", "memory_network"} <= {*memories.names()}
    assert {"gated_rnn", "resnet_fc", "resnet_conv", "reconstruction"} <= {*energies.names()}
    assert {"bits", "glyphs", "omniglot"} <= {*datasets.names()}
    assert {"block", "pixels", "half", "gaussian", "any_of"} == {*distortions.names()}


def test_a_former_name_leads_to_the_present_one():
    with pytest.raises(UnknownNameError, match=r"the distortion 'noise_block' is now \{name: block, size: …\}"):
        distortions.load("noise_block")
    with pytest.raises(UnknownNameError, match="the analysis 'where' is now error_map"):
        analyses.load("where")
    for registry in (distortions, analyses):
        assert not {*registry.renamed} & {*registry.names()}


@dataclass
class OwnConfig:
    size: int = 3


class Own:
    config: ClassVar[type] = OwnConfig

    def __init__(self, size, spec):
        self.size, self.spec = size, spec

    @classmethod
    def from_config(cls, config, spec):
        return cls(config.size, spec)


class Broken(Own):
    def __init__(self, size, spec):
        raise KeyError("oops")


@dataclass
class Unfinished:
    config: ClassVar[type] = OwnConfig


def test_a_class_of_ones_own_is_given_by_import_path():
    own = memories.build(Choice("tests.test_registry:Own", OwnConfig(5)), SPEC)
    assert (own.size, own.spec) == (5, SPEC)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("hopfeld", UnknownNameError, "Did you mean 'hopfield'"),
        ("os:nothing", UnknownNameError, "cannot be imported"),
        (":x", UnknownNameError, "cannot be imported"),
        (".relative:X", UnknownNameError, "cannot be imported"),
        ("pathlib:Path", TypeError, "config"),
        ("tests.test_registry:Unfinished", TypeError, "from_config"),
        ("tests.ends:Process", UnknownNameError, "cannot be imported: 3"),
    ],
)
def test_names_that_lead_nowhere(name, error, message):
    with pytest.raises(error, match=message):
        memories.load(name)


ROOT = Path(__file__).parent.parent
PURE = [
    "lightning_ebm.memory",
    "lightning_ebm.ebmm.energies",
    "lightning_ebm.layers",
    *(f"baselines.{p.stem}" for p in sorted((ROOT / "baselines").glob("[a-z]*.py"))),
]


def test_a_notebook_gets_by_without_lightning_and_matplotlib_and_the_bottom_layer_without_omegaconf():
    """Modules one by one, public names but those of training and torchmetrics, an EBMM in use, a pretrained memory."""
    code = f"""
import importlib, sys, torch, lightning_ebm as lebm
def refuse(what, *heavy):
    if found := {{*heavy}} & sys.modules.keys():
        sys.exit(f'{{what}} imports {{found}}')
for module in {PURE}:
    importlib.import_module(module)
    refuse(module, 'pytorch_lightning', 'omegaconf', 'wandb')
[getattr(lebm, name) for name in lebm.__all__ if name not in {{'train', 'compare', 'RecallError', 'ExactRecall'}}]
net = lebm.GatedRNN(lebm.PatternSpec((8,), binary=True), lebm.GatedRNNConfig(hidden=4, written_units=2))
assert lebm.EBMM(net).write(torch.rand(1, 2, 8)).keys() == {{'memory.weight', 'memory.bias'}}
assert type(lebm.load_pretrained('glyphs-4096')) is lebm.EBMM
refuse('a notebook', 'pytorch_lightning', 'matplotlib', 'wandb', 'torchmetrics')
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240, cwd=ROOT)


def test_comparators_know_nothing_of_ebmm():
    for path in (ROOT / "baselines").glob("*.py"):
        assert "lightning_ebm.ebmm" not in path.read_text(encoding="utf-8"), path
