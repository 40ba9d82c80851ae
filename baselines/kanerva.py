"""The Kanerva machine: patterns are written to learned addresses by Bayesian linear regression.

    memory = KanervaMachine((128,))
    state = memory.write(patterns)              # patterns: (episodes, items, 128), values in [0, 1]
    recalled = memory.read(state, queries)[-1]

Encoder, decoder, addresses and the prior of the memory are meta-trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

from baselines.coders import CodersConfig, near_identity
from baselines.gaussian_memory import GaussianMemory
from baselines.linear_gaussian import observe_all
from lightning_ebm.memory import PatternSpec


@dataclass
class KanervaConfig:
    """Settings of `KanervaMachine`.

    Attributes:
        rows: rows of the memory; it has rows · width floats.
        width: size of a code. None: the size of a vector pattern, or `coders.code` for images.
        address: size of the latent y that addresses are made of.
        prior: deviation of the memory's mean before writing, at the start of training; below that of codes (1).
        noise: deviation of the noise of codes, at the start of training.
        steps: read steps, each from the last one's answer; on random bits more than one does harm.
        objective: reconstruction (from distorted queries), or the papers' elbo, or conditional (elbo given the memory).
        written: false writes nothing: a variational autoencoder, to compare with.
        coders: sizes of encoder and decoder.
    """

    rows: int = 64
    width: int | None = None
    address: int = 64
    prior: float = 0.03
    noise: float = 1.0
    steps: int = 1
    objective: str = "reconstruction"
    written: bool = True
    coders: CodersConfig = field(default_factory=CodersConfig)


class KanervaMachine(GaussianMemory):
    """Kanerva machine (Wu et al. 2018): weights w = A'f(y), y a linear function of the code.

    A are learned addresses (address, rows), f a small net that starts close to the identity. Weights do not
    depend on the memory, hence all patterns are written at once, and in any order. Two simplifications: a code
    given by the memory is decoded as it is, without the correction q(z | x, y, M); y has a learned variance
    that is the same for all patterns.

    Args:
        shape: shape of one pattern: (size,) or (channels, height, width).
        rows: as in `KanervaConfig`.
        width: as in `KanervaConfig`.
        address: as in `KanervaConfig`.
        prior: as in `KanervaConfig`.
        noise: as in `KanervaConfig`.
        steps: as in `KanervaConfig`.
        objective: as in `KanervaConfig`.
        written: as in `KanervaConfig`.
        binary: whether values of patterns are 0 and 1 only.
        coders: as in `KanervaConfig`.

    Raises:
        ValueError: if a setting is out of range, or the coders do not suit the patterns.
    """

    config = KanervaConfig
    citation = (
        "Y. Wu, G. Wayne, A. Graves and T. Lillicrap, The Kanerva Machine: A Generative Distributed Memory,"
        " ICLR 2018, arXiv:1804.01756"
    )
    order_invariant = True

    def __init__(
        self,
        shape: Sequence[int],
        rows: int = 64,
        width: int | None = None,
        address: int = 64,
        prior: float = 0.03,
        noise: float = 1.0,
        steps: int = 1,
        objective: str = "reconstruction",
        written: bool = True,
        binary: bool = True,
        coders: CodersConfig | None = None,
    ) -> None:
        if address < 1:
            raise ValueError(f"address must be at least 1, got {address}")
        super().__init__(shape, rows, width, address, prior, noise, steps, objective, written, binary, coders)
        if not written:
            self.log_noise.requires_grad_(False)  # these weights do not depend on it
        hidden = (coders or CodersConfig()).hidden
        self.to_latent = nn.Linear(self.width, address)
        self.features = near_identity(address, address, hidden)  # f
        self.addresses = nn.Parameter(torch.randn(address, rows) / address**0.5)  # A

    @classmethod
    def from_config(cls, config: KanervaConfig, spec: PatternSpec) -> Self:
        """Builds the machine for patterns of `spec`; see the base class."""
        return cls(
            *(spec.shape, config.rows, config.width, config.address, config.prior, config.noise, config.steps),
            *(config.objective, config.written, spec.binary, config.coders),
        )

    def addressing(self, mean: Tensor) -> Callable[[Tensor], Tensor]:
        """Latents are a linear function of codes, whatever the memory holds; see the base class."""
        return self.to_latent

    def weights(self, latents: Tensor) -> Tensor:
        """A'f(y); see the base class."""
        return self.features(latents.flatten(0, 1)).unflatten(0, latents.shape[:2]) @ self.addresses

    def posterior(self, mean: Tensor, covariance: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """All codes at once; see the base class."""
        weights = self.weights(self.to_latent(codes.to(self.prior_mean)))
        return observe_all(mean, covariance, weights.to(codes), codes, self.noise.to(codes))
