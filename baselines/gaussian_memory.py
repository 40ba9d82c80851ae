"""What Kanerva machines share: a matrix-normal memory, written by regression, read step by step, and its bound."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.coders import Autoencoded, Coders, CodersConfig
from baselines.linear_gaussian import divergence
from lightning_ebm.memory import AssociativeMemory, State, keep_known

FLOOR = 1e-6
"""Least variance of noise and prior; below it, weights explode where rows are nearly dependent."""
OBJECTIVES = ("reconstruction", "elbo", "conditional")


class Bound(NamedTuple):
    """The terms of the evidence lower bound, in nats.

    Attributes:
        likelihood: (episodes, items), ln p(x | z') of what the memory gives for the pattern's own latent.
        autoencoder: (episodes, items), ln p(x | z) of the code itself; a help to training, not part of the bound.
        latent: (episodes, items), KL of the latent to its prior N(0, 1).
        memory: (episodes), KL of the written memory to its prior; 0 if nothing is written.
    """

    likelihood: Tensor
    autoencoder: Tensor
    latent: Tensor
    memory: Tensor

    @property
    def conditional(self) -> Tensor:
        """(episodes), the bound on ln p(patterns | memory) for each pattern: what was written is not paid for."""
        return (self.likelihood - self.latent).mean(1)

    @property
    def full(self) -> Tensor:
        """(episodes), the bound on ln p(patterns) of an episode, divided by their number."""
        return self.conditional - self.memory / self.likelihood.shape[1]


class GaussianMemory(Autoencoded, AssociativeMemory):
    """What Kanerva machines share; a subclass says how codes become latents, and latents weights.

    Reading repeats code z = enc(x), latent y of z, weights w of y, x ← σ(dec(R'w)).

    State: `mean` R (episodes, K, C), from which alone is read, and `covariance` U (episodes, K, K), which only
    writing needs. The literature counts R.

    Args:
        shape: shape of one pattern: (size,) or (channels, height, width).
        rows: K.
        width: C; None: the size of a vector pattern, or `coders.code` for images.
        latents: size of y.
        prior: deviation of the elements of R0 at the start of training. Small, so that rows into which nothing was
            written yet do not take part in reading.
        noise: σ at the start of training.
        steps: read steps.
        objective: reconstruction, the squared error of every read step from distorted queries; elbo, the evidence
            lower bound of undistorted patterns and the autoencoder's term; or conditional, the same given the
            memory, that is, without the memory's divergence.
        written: whether patterns are written at all; without, the machine is a variational autoencoder with the
            latent y and the memory R0, the papers' yardstick.
        binary: whether values of patterns are 0 and 1 only: then the bound's likelihood is Bernoulli, otherwise
            Gaussian of learned deviation.
        coders: sizes of encoder and decoder.

    Raises:
        ValueError: if a setting is out of range, or the coders do not suit the patterns.
    """

    bookkeeping = frozenset({"covariance"})

    def __init__(
        self,
        shape: Sequence[int],
        rows: int,
        width: int | None,
        latents: int,
        prior: float,
        noise: float,
        steps: int,
        objective: str,
        written: bool,
        binary: bool,
        coders: CodersConfig | None,
    ) -> None:
        super().__init__()
        for name, value in {"rows": rows, "steps": steps}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, deviation in {"prior": prior, "noise": noise}.items():
            if not (deviation > 0 and math.isfinite(deviation)):
                raise ValueError(f"{name} must be above 0 and finite, got {deviation}")
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
        self.coders = Coders(shape, width, coders)
        self.rows, self.width, self.steps = rows, self.coders.width, steps
        self.objective, self.written, self.binary = objective, written, binary
        self.prior_mean = nn.Parameter(prior * nn.init.trunc_normal_(torch.empty(rows, self.width)))  # R0
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))
        if written:
            self.log_prior = nn.Parameter(torch.zeros(()))  # of the prior's variance, U0 = v I
        if objective != "reconstruction":
            self.log_deviation = nn.Parameter(torch.full((latents,), math.log(0.3)))  # of q(y)
            if not binary:
                self.log_pixel_deviation = nn.Parameter(torch.tensor(math.log(0.3)))

    @abstractmethod
    def addressing(self, mean: Tensor) -> Callable[[Tensor], Tensor]:
        """A function from codes (episodes, items, C) to the means of latents (episodes, items, latents).

        Args:
            mean: R, (episodes, K, C).
        """

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

    def write(self, patterns: Tensor) -> State:
        """Writes the patterns into the prior; see the base class."""
        return self.update(self.initial_state(len(patterns)), patterns)

    def update(self, state: State, patterns: Tensor) -> State:
        """Writes patterns into a state; see the base class. The sums are in float64, the state is not."""
        codes = self.coders.encode(patterns, "patterns")
        if not self.written:
            return state
        mean, covariance = self.posterior(state["mean"].double(), state["covariance"].double(), codes.double())
        return {"mean": mean.to(state["mean"]), "covariance": covariance.to(state["covariance"])}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Reads `steps` times, each time with the last answer as the query; see the base class.

        Values that the mask says are right are put back after each step. They do not enter the weights in any
        other way, for codes have no known places.
        """
        address = self.addressing(state["mean"])
        answer, trajectory = queries, []
        for _ in range(self.steps):
            codes = self.coders.encode(answer, "queries")
            recalled = self.weights(address(codes)) @ state["mean"].to(codes)
            answer = keep_known(self.coders.decode(recalled), queries, mask).to(queries)
            trajectory.append(answer)
        return torch.stack(trajectory)

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """-ln p(code, latent | R) in nats at the mean of the latent, but for a constant: (episodes, items)."""
        codes = self.coders.encode(patterns, "patterns")
        latents = self.addressing(state["mean"])(codes)
        missed = codes - self.weights(latents) @ state["mean"].to(codes)
        return missed.square().sum(-1) / (2 * self.noise) + latents.square().sum(-1) / 2

    def meta_loss(
        self,
        patterns: Tensor,
        queries: Tensor,
        mask: Tensor | None = None,
        keep: Callable[[State], State] = lambda state: state,
    ) -> Tensor:
        """The reconstruction error, or the negative bound and the autoencoder's term for each pattern, in nats.

        See the base class; the bound needs no queries.
        """
        if self.objective == "reconstruction":
            return super().meta_loss(patterns, queries, mask, keep)
        bound = self.bound(patterns, keep)
        of_patterns = bound.full if self.objective == "elbo" else bound.conditional
        return -(of_patterns + bound.autoencoder.mean(1)).mean()

    def bound(self, patterns: Tensor, keep: Callable[[State], State] = lambda state: state) -> Bound:
        """The evidence lower bound of patterns (episodes, items, *shape), from one sample of latents and memory.

        z' = M'w is drawn given w for each item, with variance w'Uw in each column: the expectation of a sum over
        items needs no more.

        Args:
            patterns: what is written.
            keep: what happens to the written state before it is read, as in `meta_loss`; its divergence is that of
                what was written.

        Raises:
            ValueError: if the objective is reconstruction, so that the deviation of latents was not learned.
        """
        if self.objective == "reconstruction":
            raise ValueError("the bound needs objective=elbo or objective=conditional, got 'reconstruction'")
        codes = self.coders.encode(patterns, "patterns")
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
