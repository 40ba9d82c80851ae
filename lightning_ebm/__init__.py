"""lightning_ebm: meta-train, compare and launch associative memories.

    import lightning_ebm as lebm

    memory = lebm.EBMM(lebm.GatedRNN(lebm.PatternSpec((128,), binary=True)))

What a notebook needs is here, and imported when it is first asked for. Only `train` and `compare` bring Lightning and
Matplotlib with them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_ebm.ebmm import EBMM, EBMMConfig, ReadingConfig, WritingConfig
    from lightning_ebm.ebmm.energies import (
        DecodedMixture,
        DecodedMixtureConfig,
        Energy,
        GatedRNN,
        GatedRNNConfig,
        MeasuredMixture,
        MeasuredMixtureConfig,
        Mixture,
        MixtureConfig,
        PhaseMixture,
        PhaseMixtureConfig,
        Reconstruction,
        ReconstructionConfig,
        ResNetConv,
        ResNetConvConfig,
        ResNetFC,
        ResNetFCConfig,
    )
    from lightning_ebm.experiments.compare import compare
    from lightning_ebm.memory import AssociativeMemory, PatternSpec, State
    from lightning_ebm.metrics import ExactRecall, RecallError
    from lightning_ebm.pretrained import load as load_pretrained
    from lightning_ebm.training.train import train

__all__ = [
    "EBMM", "AssociativeMemory", "DecodedMixture", "DecodedMixtureConfig", "EBMMConfig", "Energy", "ExactRecall",
    "GatedRNN", "GatedRNNConfig", "MeasuredMixture", "MeasuredMixtureConfig", "Mixture", "MixtureConfig", "PatternSpec",
    "PhaseMixture", "PhaseMixtureConfig", "ReadingConfig", "RecallError", "Reconstruction", "ReconstructionConfig",
    "ResNetConv", "ResNetConvConfig", "ResNetFC", "ResNetFCConfig", "State", "WritingConfig", "compare",
    "load_pretrained", "train",
]  # fmt: skip

HOMES = {"AssociativeMemory": "memory", "PatternSpec": "memory", "State": "memory", "load_pretrained": "pretrained"}
HOMES |= {"train": "training.train", "compare": "experiments.compare"}
HOMES |= dict.fromkeys(("ExactRecall", "RecallError"), "metrics")
HOMES |= dict.fromkeys(("EBMM", "EBMMConfig", "ReadingConfig", "WritingConfig"), "ebmm")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{HOMES.get(name, 'ebmm.energies')}")
    return getattr(home, "load" if name == "load_pretrained" else name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
