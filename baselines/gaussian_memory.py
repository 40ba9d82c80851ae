"""What Kanerva machines share: a matrix-normal memory, written by regression, read step by step, and its bound.

The memory is a matrix M of K rows and C columns with M ~ MN(R, U, I): mean R, covariance U between rows, none between
columns. A code z was made by weights w as z = M'w + noise of variance σ². The functions at the end are the exact
algebra of this belief; none inverts U. They take, with any leading axes, `mean` R (..., K, C), `covariance` U
(..., K, K), positive definite, `weights` w (..., K) and `code` z (..., C), or (..., T, K) and (..., T, C) of T codes,
and `noise` σ², a scalar.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.coders import AutoencoderMemory, CodeSettings
from lightning_ebm.memory import Keep, PatternSpec, State, as_is
from lightning_ebm.settings import setting

FLOOR = 1e-6
"""Least variance of noise and prior; below it, weights explode where rows are nearly dependent."""


class Bound(NamedTuple):
    """The terms of the evidence lower bound, in nats."""

    likelihood: Tensor
    """(episodes, items), ln p(x | z') of what the memory gives for the pattern's own latent."""
    autoencoder: Tensor
    """(episodes, items), ln p(x | z) of the code itself; a help to training, not part of the bound."""
    latent: Tensor
    """(episodes, items), KL of the latent to its prior N(0, 1)."""
    memory: Tensor
    """(episodes), KL of the written memory to its prior; 0 if nothing is written."""

    @property
    def conditional(self) -> Tensor:
        """(episodes), the bound on ln p(patterns | memory) for each pattern: what was written is not paid for."""
        return (self.likelihood - self.latent).mean(1)

    @property
    def full(self) -> Tensor:
        """(episodes), the bound on ln p(patterns) of an episode, divided by their number."""
        return self.conditional - self.memory / self.likelihood.shape[1]


@dataclass(frozen=True)
class GaussianMemoryConfig(CodeSettings):
    """Settings of every Kanerva machine."""

    slots: int = setting(64, at_least=1)
    """K, rows of the memory; it has slots · width floats."""
    prior: float = setting(0.03, above=0, below=math.inf)
    """Deviation of the elements of the memory's mean before writing, at the start of training. Below that of codes (1),
    so that rows into which nothing was written yet do not take part in reading."""
    noise: float = setting(1.0, above=0, below=math.inf)
    """σ, deviation of the noise of codes, at the start of training."""
    steps: int = setting(5, at_least=1)
    """Read steps, each from the last one's answer."""
    objective: str = setting("reconstruction", one_of=("reconstruction", "elbo", "conditional"))
    """reconstruction, the squared error of every read step from corrupted queries; or the papers' elbo, the evidence
    lower bound of intact patterns and the autoencoder's term; or conditional, the same given the memory, that is,
    without the memory's divergence."""
    written: bool = True
    """Whether patterns are written at all; without, the machine is a variational autoencoder with the latent y and the
    memory R0, the papers' yardstick."""


class GaussianMemory(AutoencoderMemory):
    """Base class of Kanerva machines; a subclass says how codes become latents, and latents weights.

    Reading repeats code z = enc(x), latent y of z, of size `latents`, weights w of y, x ← σ(dec(R'w)). Of binary
    patterns the bound's likelihood is Bernoulli, of others Gaussian with a learned deviation.

    State: `mean` R (episodes, K, C), from which alone is read, and `covariance` U (episodes, K, K), which only
    writing needs. The literature counts R.
    """

    bookkeeping = frozenset({"covariance"})

    def __init__(self, spec: PatternSpec, config: GaussianMemoryConfig, latents: int) -> None:
        super().__init__(spec, config.width, config.coders)
        self.rows, self.width, self.steps = config.slots, self.coders.width, config.steps
        self.objective, self.written, self.binary = config.objective, config.written, spec.binary
        self.prior_mean = nn.Parameter(config.prior * nn.init.trunc_normal_(torch.empty(self.rows, self.width)))  # R0
        self.log_noise = nn.Parameter(torch.tensor(math.log(config.noise)))
        if self.written:
            self.log_prior = nn.Parameter(torch.zeros(()))  # of the prior's variance, U0 = v I
        if self.objective != "reconstruction":
            self.log_deviation = nn.Parameter(torch.full((latents,), math.log(0.3)))  # of q(y)
            if not self.binary:
                self.log_pixel_deviation = nn.Parameter(torch.tensor(math.log(0.3)))

    @abstractmethod
    def addressing(self, mean: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from codes (episodes, items, C) to latents' means (episodes, items, latents), given R."""

    @abstractmethod
    def weights(self, latents: Tensor) -> Tensor:
        """Weights (episodes, items, K) of latents (episodes, items, latents)."""

    @abstractmethod
    def posterior(self, mean: Tensor, covariance: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance after writing codes (episodes, items, C); all in float64."""

    @property
    def noise(self) -> Tensor:
        """σ², a scalar."""
        return (2 * self.log_noise).exp() + FLOOR

    def initial_state(self, episodes: int) -> State:
        """The prior: learned mean, and a multiple of the identity as covariance."""
        mean = self.prior_mean
        variance = self.log_prior.exp() + FLOOR if self.written else mean.new_tensor(1.0)
        covariance = variance * torch.eye(self.rows).to(mean)
        return {"mean": mean.expand(episodes, -1, -1), "covariance": covariance.expand(episodes, -1, -1)}

    def update(self, state: State, patterns: Tensor) -> State:
        """Writes patterns into a state. The sums are in float64, the state is not.

        In float32, writing in portions is exact to 2e-4 down to σ = 0.1; at 0.01 it is off by some percent.
        """
        if not self.written:
            return state
        codes = self.coders.encode(patterns)
        mean, covariance = self.posterior(state["mean"].double(), state["covariance"].double(), codes.double())
        return {"mean": mean.to(state["mean"]), "covariance": covariance.to(state["covariance"])}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Reads `steps` times, each time with the last answer as the query."""
        address = self.addressing(state["mean"])
        return self.iterate(
            lambda codes: self.weights(address(codes)) @ state["mean"].to(codes), queries, mask, self.steps
        )

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """-ln p(code, latent | R) in nats at the mean of the latent, but for a constant: (episodes, items)."""
        codes = self.coders.encode(patterns)
        latents = self.addressing(state["mean"])(codes)
        missed = codes - self.weights(latents) @ state["mean"].to(codes)
        return missed.square().sum(-1) / (2 * self.noise) + latents.square().sum(-1) / 2

    def meta_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor | None = None, keep: Keep = as_is) -> Tensor:
        """The reconstruction error, or the negative bound and the autoencoder's term for each pattern, in nats."""
        if self.objective == "reconstruction":
            return super().meta_loss(patterns, queries, mask, keep)
        bound = self.bound(patterns, keep)
        of_patterns = bound.full if self.objective == "elbo" else bound.conditional
        return -(of_patterns + bound.autoencoder.mean(1)).mean()

    def bound(self, patterns: Tensor, keep: Keep = as_is) -> Bound:
        """The evidence lower bound of patterns (episodes, items, *shape), from one sample of latents and memory.

        z' = M'w is drawn given w for each item, with variance w'Uw in each column: the expectation of a sum over
        items needs no more. The divergence is that of what was written, before `keep`.

        Raises:
            ValueError: if the objective is reconstruction, so that the deviation of latents was not learned.
        """
        if self.objective == "reconstruction":
            raise ValueError("the bound needs objective=elbo or objective=conditional, got 'reconstruction'")
        codes = self.coders.encode(patterns)
        prior = {name: tensor.double() for name, tensor in self.initial_state(len(patterns)).items()}
        mean, covariance = prior["mean"], prior["covariance"]
        divergent = mean.new_zeros(len(patterns))
        if self.written:
            mean, covariance = self.posterior(mean, covariance, codes.double())
            divergent = divergence(mean, covariance, prior["mean"], prior["covariance"])
            mean, covariance = keep({"mean": mean, "covariance": covariance}).values()

        centres, deviation = self.addressing(mean)(codes), self.log_deviation.exp()
        latent = (centres.square() + deviation.square() - 1).sum(-1) / 2 - self.log_deviation.sum()
        weights = self.weights(centres + deviation * torch.randn_like(centres))
        recalled = weights @ mean.to(codes)
        if self.written:
            spread = ((weights @ covariance.to(codes)) * weights).sum(-1, keepdim=True).clamp_min(FLOOR**2)
            recalled = recalled + spread.sqrt() * torch.randn_like(recalled)
        return Bound(self.likelihood(patterns, recalled), self.likelihood(patterns, codes), latent, divergent.to(codes))

    def likelihood(self, patterns: Tensor, codes: Tensor) -> Tensor:
        """Log-likelihood of patterns given codes, nats, (episodes, items): Bernoulli if binary, otherwise Gaussian."""
        logits = self.coders.logits(codes)
        if self.binary:
            return -F.binary_cross_entropy_with_logits(logits, patterns, reduction="none").flatten(2).sum(-1)
        log_deviation = self.log_pixel_deviation
        missed = (patterns - logits.sigmoid()) / log_deviation.exp()
        return -(missed.square() / 2 + log_deviation + math.log(2 * math.pi) / 2).flatten(2).sum(-1)


def observe(mean: Tensor, covariance: Tensor, weights: Tensor, code: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance after one code more: a Kalman update (Wu et al., Kanerva Machine, 2018)."""
    surprise = code - torch.einsum("...k,...kc->...c", weights, mean)
    direction = torch.einsum("...kl,...l->...k", covariance, weights)  # U w
    gain = direction / ((weights * direction).sum(-1, keepdim=True) + noise)
    return mean + gain[..., :, None] * surprise[..., None, :], covariance - gain[..., :, None] * direction[..., None, :]


def observe_all(
    mean: Tensor, covariance: Tensor, weights: Tensor, codes: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The same after T codes at once, whose weights are all chosen before; as one after the other, in any order.

    By a Cholesky factor of W U W' + σ² I.
    """
    direction = weights @ covariance
    among = direction @ weights.mT + noise * torch.eye(codes.shape[-2], dtype=codes.dtype, device=codes.device)
    gain = torch.cholesky_solve(direction, torch.linalg.cholesky(among)).mT
    covariance = covariance - gain @ direction
    return mean + gain @ (codes - weights @ mean), (covariance + covariance.mT) / 2


def ridge(mean: Tensor, penalty: Tensor) -> Callable[[Tensor], Tensor]:
    """A function from codes (..., T, C) to the weights (..., T, K) that minimise |z - R'w|² + λ |w|².

    w = (R R' + λ I)⁻¹ R z, with a scalar λ above 0, by a Cholesky factor in float64, made once (Wu et al., Attractor
    Dynamics, 2018).
    """
    rows = mean.double()
    gram = rows @ rows.mT
    factor = torch.linalg.cholesky(gram + penalty.double() * torch.eye(gram.shape[-1]).to(gram))
    return lambda codes: torch.cholesky_solve(rows @ codes.double().mT, factor).mT.to(codes)


def divergence(mean: Tensor, covariance: Tensor, prior_mean: Tensor, prior_covariance: Tensor) -> Tensor:
    """KL(MN(R, U, I) ‖ MN(R0, U0, I)) in nats, (...).

    ½ [C tr(U0⁻¹ U) + tr((R - R0)' U0⁻¹ (R - R0)) - K C + C (log|U0| - log|U|)].
    """
    rows, columns = mean.shape[-2:]
    factor, prior = torch.linalg.cholesky(covariance), torch.linalg.cholesky(prior_covariance)
    spread = torch.linalg.solve_triangular(prior, factor, upper=False).square().sum((-2, -1))
    moved = torch.linalg.solve_triangular(prior, mean - prior_mean, upper=False).square().sum((-2, -1))
    logs = (prior.diagonal(dim1=-2, dim2=-1).log() - factor.diagonal(dim1=-2, dim2=-1).log()).sum(-1)
    return (columns * spread + moved - rows * columns) / 2 + columns * logs
