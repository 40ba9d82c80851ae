"""The Kanerva machine: patterns are written to learned addresses by Bayesian linear regression."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.coders import near_identity
from baselines.gaussian_memory import GaussianMemory, GaussianMemoryConfig, observe_all
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class KanervaConfig(GaussianMemoryConfig):
    """Settings of `KanervaMachine`."""

    steps: int = setting(1, at_least=1)
    """Read steps, each from the last one's answer; on random bits more than one does harm."""
    address_dim: int = setting(64, at_least=1)
    """Size of the latent y from which addresses are computed."""


class KanervaMachine(GaussianMemory):
    """Kanerva machine (Wu et al. 2018): weights w = A'f(y), y a linear function of the code.

    A are learned addresses (address, rows), f a small net that starts close to the identity. Weights do not
    depend on the memory, hence all patterns are written at once, and in any order. Two simplifications: a code
    given by the memory is decoded as it is, without the correction q(z | x, y, M); y has a learned variance
    that is the same for all patterns.
    """

    config = KanervaConfig
    citation = (
        "Y. Wu, G. Wayne, A. Graves and T. Lillicrap, The Kanerva Machine: A Generative Distributed Memory,"
        " ICLR 2018, arXiv:1804.01756"
    )
    order_invariant = True

    def __init__(self, spec: PatternSpec, config: KanervaConfig = KanervaConfig()) -> None:
        address = config.address_dim
        super().__init__(spec, config, latents=address)
        if not config.written:
            self.log_noise.requires_grad_(False)  # these weights do not depend on it
        self.to_latent = nn.Linear(self.width, address)
        self.features = near_identity(address, address, config.coders.hidden)  # f
        self.addresses = nn.Parameter(torch.randn(address, config.slots) / address**0.5)  # A

    def addressing(self, mean: Tensor) -> Callable[[Tensor], Tensor]:
        """Latents are a linear function of codes, for any memory."""
        return self.to_latent

    def weights(self, latents: Tensor) -> Tensor:
        """A'f(y)."""
        return self.features(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]) @ self.addresses

    def posterior(self, mean: Tensor, covariance: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """All codes at once."""
        weights = self.weights(self.to_latent(codes.to(self.prior_mean)))
        return observe_all(mean, covariance, weights.to(codes), codes, self.noise.to(codes))
