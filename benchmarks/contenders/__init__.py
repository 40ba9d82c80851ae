"""Contenders: one tool's way to a meta-step a file. They are imported in their own processes only."""

import importlib
from abc import ABC, abstractmethod
from typing import Any

from benchmarks.cases import Case

REFERENCE = "autograd_loop"
"""With which every contender must agree: the plainest implementation, without any library's transformations."""

CONTENDERS = {
    "ours": "benchmarks.contenders.ours:Ours",
    "ours_by_episode": "benchmarks.contenders.ours:OursByEpisode",
    "ours_compiled": "benchmarks.contenders.ours:OursCompiled",
    "autograd_loop": "benchmarks.contenders.autograd_loop:AutogradLoop",
    "higher": "benchmarks.contenders.higher_loop:Higher",
    "torchopt": "benchmarks.contenders.torchopt_loop:TorchOpt",
    "jax_unrolled": "benchmarks.contenders.jax_step:JaxUnrolled",
    "jax_scan": "benchmarks.contenders.jax_step:JaxScan",
}


class Contender(ABC):
    """One way to compute the loss of a meta-step and its gradient in all trainable parameters."""

    @abstractmethod
    def prepare(self, case: Case, dtype: str, device: str) -> None:
        """Copies parameters and data of a case; a later call replaces them.

        Args:
            case: what to compute.
            dtype: "float32" or "float64".
            device: "cpu" or "cuda".

        Raises:
            NotImplementedError: if the contender does not run on this device.
        """

    @abstractmethod
    def meta_step(self) -> tuple[Any, dict[str, Any]]:
        """The loss and its gradient by parameter name of the EBMM; all work is done when it returns."""

    def flops(self) -> int | None:
        """Floating-point operations of the matrix products and convolutions of one meta-step; None: not counted."""
        return None


def load(name: str) -> Contender:
    """The contender of a name in `CONTENDERS`, or of an import path `package.module:Class`."""
    module, _, cls = CONTENDERS.get(name, name).partition(":")
    contender: Contender = getattr(importlib.import_module(module), cls)()
    return contender
