"""The dynamic Kanerva machine: addresses are found by least squares in the memory itself; reading is an attractor."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from baselines.gaussian_memory import GaussianMemory, GaussianMemoryConfig, observe, ridge
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class DynamicKanervaConfig(GaussianMemoryConfig):
    """Settings of `DynamicKanervaMachine`."""

    iterations: int = setting(1, at_least=1)
    """Alternations, for each pattern, of finding its weights and writing it into the old memory."""


class DynamicKanervaMachine(GaussianMemory):
    """Dynamic Kanerva machine (Wu et al. 2018): w = argmin |z - R'w|²/σ² + |w|², with prior N(0, 1) of w.

    Patterns are written one after the other, each with the weights that the memory gives it then; so the order
    matters. Until there are as many patterns as rows, a written code lies in the span of the rows of R, but for
    the noise; reading projects the query's code on that span, decodes, encodes and projects again.
    """

    config = DynamicKanervaConfig
    citation = (
        "Y. Wu, G. Wayne, K. Gregor and T. Lillicrap, Learning Attractor Dynamics for Generative Memory,"
        " NeurIPS 2018, arXiv:1811.09556"
    )

    def __init__(self, spec: PatternSpec, config: DynamicKanervaConfig = DynamicKanervaConfig()) -> None:
        super().__init__(spec, config, latents=config.slots)
        self.iterations = config.iterations

    def addressing(self, mean: Tensor) -> Callable[[Tensor], Tensor]:
        """Ridge regression on the rows of R, with the noise's variance as the penalty."""
        return ridge(mean, self.noise)

    def weights(self, latents: Tensor) -> Tensor:
        """The latents are the weights."""
        return latents

    def posterior(self, mean: Tensor, covariance: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """One code after the other."""
        noise = self.noise.to(codes)
        for code in codes.unbind(1):
            trial = mean
            for _ in range(self.iterations):
                weights = self.addressing(trial)(code[:, None])[:, 0]
                trial, after = observe(mean, covariance, weights, code, noise)
            mean, covariance = trial, after
        return mean, covariance
