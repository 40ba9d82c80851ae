"""The dynamic Kanerva machine: addresses are found by least squares in the memory itself; reading is an attractor.

    memory = DynamicKanervaMachine((128,))
    state = memory.write(patterns)              # patterns: (episodes, items, 128), values in [0, 1]
    recalled = memory.read(state, queries)[-1]

Encoder, decoder and the prior of the memory are meta-trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from torch import Tensor

from baselines.coders import CodersConfig
from baselines.gaussian_memory import GaussianMemory
from baselines.linear_gaussian import observe, ridge
from lightning_ebm.memory import PatternSpec


@dataclass
class DynamicKanervaConfig:
    """Settings of `DynamicKanervaMachine`.

    Attributes:
        rows: rows of the memory; it has rows · width floats.
        width: size of a code. None: the size of a vector pattern, or `coders.code` for images.
        prior: deviation of the memory's mean before writing, at the start of training; below that of codes (1).
        noise: deviation of the noise of codes, at the start of training.
        iterations: alternations, for each pattern, of finding its weights and writing it into the old memory.
        steps: read steps, each from the last one's answer.
        objective: reconstruction (from distorted queries), or the papers' elbo, or conditional (elbo given the memory).
        written: false writes nothing: a variational autoencoder, to compare with.
        coders: sizes of encoder and decoder.
    """

    rows: int = 64
    width: int | None = None
    prior: float = 0.03
    noise: float = 1.0
    iterations: int = 1
    steps: int = 5
    objective: str = "reconstruction"
    written: bool = True
    coders: CodersConfig = field(default_factory=CodersConfig)


class DynamicKanervaMachine(GaussianMemory):
    """Dynamic Kanerva machine (Wu et al. 2018): w = argmin |z - R'w|²/σ² + |w|², with prior N(0, 1) of w.

    Patterns are written one after the other, each with the weights that the memory gives it then; so the order
    matters. Until there are as many patterns as rows, a written code lies in the span of the rows of R, but for
    the noise; reading projects the query's code on that span, decodes, encodes and projects again.

    Args:
        shape: shape of one pattern: (size,) or (channels, height, width).
        rows: as in `DynamicKanervaConfig`.
        width: as in `DynamicKanervaConfig`.
        prior: as in `DynamicKanervaConfig`.
        noise: as in `DynamicKanervaConfig`.
        iterations: as in `DynamicKanervaConfig`.
        steps: as in `DynamicKanervaConfig`.
        objective: as in `DynamicKanervaConfig`.
        written: as in `DynamicKanervaConfig`.
        binary: whether values of patterns are 0 and 1 only.
        coders: as in `DynamicKanervaConfig`.

    Raises:
        ValueError: if a setting is out of range, or the coders do not suit the patterns.
    """

    config = DynamicKanervaConfig
    citation = (
        "Y. Wu, G. Wayne, K. Gregor and T. Lillicrap, Learning Attractor Dynamics for Generative Memory,"
        " NeurIPS 2018, arXiv:1811.09556"
    )

    def __init__(
        self,
        shape: Sequence[int],
        rows: int = 64,
        width: int | None = None,
        prior: float = 0.03,
        noise: float = 1.0,
        iterations: int = 1,
        steps: int = 5,
        objective: str = "reconstruction",
        written: bool = True,
        binary: bool = True,
        coders: CodersConfig | None = None,
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        super().__init__(shape, rows, width, rows, prior, noise, steps, objective, written, binary, coders)
        self.iterations = iterations

    @classmethod
    def from_config(cls, config: DynamicKanervaConfig, spec: PatternSpec) -> Self:
        """Builds the machine for patterns of `spec`; see the base class."""
        return cls(
            *(spec.shape, config.rows, config.width, config.prior, config.noise, config.iterations, config.steps),
            *(config.objective, config.written, spec.binary, config.coders),
        )

    def addressing(self, mean: Tensor) -> Callable[[Tensor], Tensor]:
        """Ridge regression on the rows of R, with the noise's variance as the penalty; see the base class."""
        return ridge(mean, self.noise)

    def weights(self, latents: Tensor) -> Tensor:
        """The latents are the weights."""
        return latents

    def posterior(self, mean: Tensor, covariance: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """One code after the other; see the base class."""
        noise = self.noise.to(codes)
        for code in codes.unbind(1):
            trial = mean
            for _ in range(self.iterations):
                weights = self.addressing(trial)(code[:, None])[:, 0]
                trial, after = observe(mean, covariance, weights, code, noise)
            mean, covariance = trial, after
        return mean, covariance
