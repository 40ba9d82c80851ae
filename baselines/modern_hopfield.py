"""The modern continuous Hopfield network, as one of a family: similarity to the stored patterns, then separation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.slots import SIMILARITIES, SlotMemory
from lightning_ebm.memory import PatternSpec, State, informative
from lightning_ebm.restoration import SURE, Restoration, RestorationConfig, answer
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class ModernHopfieldConfig(RestorationConfig):
    """Settings of `ModernHopfield`."""

    similarity: str = setting("dot", one_of=tuple(SIMILARITIES))
    """dot, cosine, euclidean (minus the squared distance) or manhattan (minus the distance)."""
    separation: str = setting("softmax", one_of=("softmax", "power", "max", "identity"))
    """softmax, power, max or identity; power and identity need dot or cosine."""
    beta: float = setting(0.125, above=0, below=math.inf)
    """Inverse temperature of softmax, for similarities of values in ±1."""
    power: int = setting(3, at_least=1)
    """Exponent of power."""
    steps: int = setting(3, at_least=1)
    """Updates of a query."""
    slots: int | None = setting(None, at_least=1)
    """Patterns that there is room for; one more overwrites the oldest. None: the state grows."""
    center: bool = False
    """Subtract the mean of the stored patterns; with dot and images, or the brightest one answers all."""
    binary: bool = False
    """Make each value ±1 by its sign after every update."""
    learned: bool = False
    """Meta-train beta; needs softmax, and `binary` off, or beta has no gradient."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.similarity in ("euclidean", "manhattan") and self.separation in ("power", "identity"):
            raise ValueError(f"separation={self.separation} needs similarity=dot or cosine, got {self.similarity}")
        if self.learned and (self.separation != "softmax" or self.binary):
            raise ValueError("learned=true needs separation=softmax and binary=false, or beta has no gradient")


class ModernHopfield(SlotMemory):
    """Universal Hopfield network (Millidge et al. 2022): q ← Σ_i w_i x_i / Σ_i |w_i| with w = sep(sim(x_i, q)).

    Patterns x_i and queries q are in ±1 (twice the value, less 1). The separations are

        softmax   w_i = exp(β s_i): the modern continuous Hopfield network (Ramsauer et al. 2021, eq. 3) with dot,
                  and one step of it is attention; with `binary`, the exponential network of Demircigil et al.;
        power     w_i = max(s_i, 0)^n: with `binary`, the dense associative memory of energy max(s, 0)^(n+1) with all
                  units updated at once (`DenseAssociativeMemory` updates them one by one);
        max       the most similar pattern alone, the limit of large β; equals share;
        identity  w_i = s_i: with `binary`, the classical Hebb rule with its diagonal.

    With a mask, the first step compares the known values alone, the others being noise; each step keeps them. A
    detector stands in for a mask: values that it trusts by more than a half are known. See `Restoration`, whose
    completion works on the logits of what each step has mixed.

    State: as of `SlotMemory`, with rows of d values.
    """

    config = ModernHopfieldConfig
    citation = (
        "H. Ramsauer et al., Hopfield Networks is All You Need, ICLR 2021, arXiv:2008.02217; B. Millidge,"
        " T. Salvatori, Y. Song, T. Lukasiewicz and R. Bogacz, Universal Hopfield Networks: A General Framework"
        " for Single-Shot Associative Memory Models, ICML 2022, arXiv:2202.04557; M. Demircigil et al., On a Model"
        " of Associative Memory with Huge Storage Capacity, Journal of Statistical Physics 168, 2017"
    )

    def __init__(self, spec: PatternSpec, config: ModernHopfieldConfig = ModernHopfieldConfig()) -> None:
        super().__init__(spec, config.slots, spec.size)
        self.similarity, self.separation, self.power = config.similarity, config.separation, config.power
        self.steps, self.center, self.binary = config.steps, config.center, config.binary
        self.restoration = Restoration(spec.shape, config, "memory")
        self.log_beta = nn.Parameter(torch.tensor(math.log(config.beta)), requires_grad=config.learned)

    def rows(self, patterns: Tensor) -> Tensor:
        """The values in ±1, flattened."""
        return 2 * patterns.flatten(2) - 1

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Updates the queries `steps` times. Where nothing was written, they stay."""
        mean = self.mean(state)
        stored, q = state["slots"] - mean, self.rows(queries).to(mean) - mean
        soft_mask = self.restoration.soft_mask(queries, mask)
        wrong = mask if soft_mask is None or self.restoration.detector is None else soft_mask > 0.5
        known = None if wrong is None else ~wrong.flatten(2)
        compared = None if wrong is None else ~informative(wrong, 2).flatten(2)
        trajectory = []
        for step in range(self.steps):
            scores = SIMILARITIES[self.similarity](q, stored, None if step else compared)
            weights = self.separate(scores, self.filled(state))
            total = weights.abs().sum(-1, keepdim=True)
            mixed = weights @ stored / total.clamp_min(torch.finfo(total.dtype).tiny)
            if self.binary:
                field = mixed + mean
                tie = field.abs() < 64 * torch.finfo(field.dtype).eps  # zero but for rounding: the unit stays
                mixed = torch.where(tie, q, field.sign() - mean)
            moves = total > 0 if known is None else (total > 0) & ~known
            q = torch.where(moves, mixed, q)
            mixed = ((q + mean + 1) / 2).clamp(0, 1).to(queries).reshape(queries.shape)
            if self.restoration.completion is not None:
                mixed = self.restoration.complete(mixed.logit(SURE), queries, soft_mask).sigmoid()
            trajectory.append(answer(mixed, queries, mask, soft_mask))
        return torch.stack(trajectory)

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """`Restoration.loss` of patterns that were recalled.

        Raises:
            NotImplementedError: if there is neither detector nor completion.
        """
        if not [*self.restoration.parameters()]:
            return super().auxiliary_loss(patterns, queries, mask)
        return self.restoration.loss(patterns.logit(SURE), patterns, queries, mask)

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """Energy whose descent reading is; not negative, infinite where nothing was written.

        With dot, E = -1/β log Σ_i exp(β x_i·q) + ½ q·q + 1/β log N + ½ max_i |x_i|² (Ramsauer et al. 2021, eq. 2);
        with euclidean, E = -1/β log 1/N Σ_i exp(-β |x_i - q|²), and reading is the mean shift.

        Raises:
            NotImplementedError: for other similarities and separations, whose updates descend no energy in q.
        """
        if self.separation != "softmax" or self.similarity not in ("dot", "euclidean"):
            raise NotImplementedError("an energy is known for separation=softmax with similarity=dot or euclidean only")
        mean, filled, beta = self.mean(state), self.filled(state), self.log_beta.exp()
        stored, q = state["slots"] - mean, self.rows(patterns).to(mean) - mean
        scores = beta * SIMILARITIES[self.similarity](q, stored)
        free_energy = -scores.masked_fill(~filled, -torch.inf).logsumexp(-1) / beta
        free_energy = free_energy + state["written"].clamp(1, stored.shape[1])[:, None].to(scores).log() / beta
        if self.similarity == "euclidean":
            return free_energy.to(patterns)
        largest = (stored.square().sum(-1)[:, None] * filled).amax(-1)  # the greatest squared norm
        return (free_energy + q.square().sum(-1) / 2 + largest / 2).to(patterns)

    def mean(self, state: State) -> Tensor:
        """The mean of the stored rows, (episodes, 1, d); zeros if they are not to be centred."""
        slots = state["slots"].to(torch.promote_types(state["slots"].dtype, torch.float32))
        if not self.center:
            return torch.zeros_like(slots[:, :1])
        return slots.sum(1, keepdim=True) / state["written"].clamp(1, slots.shape[1])[:, None, None]

    def separate(self, scores: Tensor, filled: Tensor) -> Tensor:
        """Weights of stored patterns from similarities (episodes, items, slots), up to a factor; 0 in empty slots."""
        scores = scores.masked_fill(~filled, torch.finfo(scores.dtype).min)
        highest = scores.detach().amax(-1, keepdim=True)
        if self.separation == "softmax":
            weights = (self.log_beta.exp() * (scores - highest)).exp()
        elif self.separation == "power":
            weights = (scores.clamp_min(0) / highest.clamp_min(torch.finfo(scores.dtype).tiny)) ** self.power
        elif self.separation == "max":
            weights = (scores == highest).to(scores)
        else:
            weights = scores
        return torch.where(filled, weights, 0)
