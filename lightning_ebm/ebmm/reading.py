"""Reading: projected gradient descent on the energy, from the query (EBMM paper, section 2 and appendix A)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_ebm.settings import Settings, setting

Slope = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ReadingConfig(Settings):
    """How queries are read. The paper leaves the initial values open."""

    steps: int = setting(5, at_least=1)
    """K, steps of descent."""
    step_size: float = setting(0.1, above=0)
    """Initial γ₁."""
    momentum: float = setting(0.5, above=0, below=1)
    """Initial ψ₁."""
    decay: float = setting(0.9, above=0, below=1)
    """Initial ratio of each γ and ψ to the one before."""


class Reading(nn.Module):
    """K steps of Nesterov's descent, clipped to [0, 1], with learned steps that never grow.

    With v⁰ = 0 and x⁰ the query, step k is

        x̂ = clip(x + ψ_k v),   v ← ψ_k v − γ_k ∇ₓE(x̂),   x ← clip(x + v),

    which corrects the indices of appendix A. γ₁ is positive (its logarithm is learned) and ψ₁ below 1 (sigmoid); each
    next γ and ψ is the one before times a learned sigmoid.

    Args:
        config: number of steps and initial values.
    """

    def __init__(self, config: ReadingConfig = ReadingConfig()) -> None:
        super().__init__()
        self.log_step_size = nn.Parameter(torch.tensor(math.log(config.step_size)))
        self.raw_momentum = nn.Parameter(torch.tensor(logit(config.momentum)))
        self.step_decay = nn.Parameter(torch.full((config.steps - 1,), logit(config.decay)))
        self.momentum_decay = nn.Parameter(torch.full((config.steps - 1,), logit(config.decay)))

    @torch.no_grad()
    def set_step_size(self, step_size: float) -> None:
        """Gives the first step this size γ₁, above 0; the others follow by their decays."""
        self.log_step_size.fill_(math.log(step_size))

    def schedule(self) -> tuple[Tensor, Tensor]:
        """Step sizes γ and momenta ψ, (K,) each; neither ever grows."""
        return (
            never_growing(self.log_step_size.exp(), self.step_decay),
            never_growing(torch.sigmoid(self.raw_momentum), self.momentum_decay),
        )

    def descend(
        self, slope: Slope, x: Tensor, velocity: Tensor, mask: Tensor | None, step_sizes: Tensor, momenta: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Some of the steps on the queries of one episode, from any point with any velocity.

        Args:
            slope: maps x (items, *shape) to ∇ₓE there, of the same shape.
            x: where these steps start, (items, *shape), values in [0, 1]; the queries before the first step.
            velocity: the same shape; zeros before the first step.
            mask: (items, *shape), how freely each value moves: a factor of its slope in [0, 1], or bool; None: all
                freely.
            step_sizes: of these steps, (steps,), some of those of `schedule`.
            momenta: the same.

        Returns:
            The iterates (steps, items, *shape), values in [0, 1], and the velocity after the last of them.
        """
        iterates = []
        for step_size, momentum in zip(step_sizes, momenta, strict=True):
            carried = momentum * velocity
            downhill = slope((x + carried).clamp(0, 1))
            if mask is not None:
                downhill = downhill * mask  # known values (factor 0) get no velocity, and so never move
            velocity = torch.addcmul(carried, -step_size, downhill)
            x = (x + velocity).clamp(0, 1)
            iterates.append(x)
        return torch.stack(iterates), velocity


def never_growing(first: Tensor, logits: Tensor) -> Tensor:
    """A positive sequence: `first`, (), then each entry times the sigmoid of its logit, (K - 1,)."""
    ratios = torch.cat([torch.ones_like(first)[None], torch.sigmoid(logits)])
    return first * ratios.cumprod(0)


def logit(probability: float) -> float:
    """The number whose sigmoid is `probability`."""
    return math.log(probability / (1 - probability))
