"""Fitted latents: each pattern as a few numbers, found by gradient steps through a decoder that all patterns share."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import grad

from baselines.slots import CodeMemory
from lightning_ebm.memory import PatternSpec, image_shape
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class FittedLatentConfig(Settings):
    """Settings of `FittedLatent`; the state has slots · latent_dim floats."""

    latent_dim: int = setting(64, at_least=1)
    """Numbers kept of each pattern."""
    slots: int | None = setting(64, at_least=1)
    """Patterns that there is room for; one more overwrites the oldest. None: the state grows."""
    steps: int = setting(3, at_least=1)
    """Gradient steps of one fit."""
    rate: float = setting(0.3, above=0, below=math.inf)
    """Step size at the start of training, on the squared error averaged over a pattern's values."""
    hidden: int = setting(64, at_least=1)
    """Units of each hidden layer of the decoder."""
    layers: int = setting(3, at_least=1)
    """Hidden layers of the decoder."""
    frequency: float = setting(10.0, above=0, below=math.inf)
    """Factor ω of the decoder's sines: how fast images change from pixel to pixel at the start. Sitzmann et
    al. use 30."""


class FittedLatent(CodeMemory):
    """Patterns as latents c of a network f(position; c) that paints them pixel by pixel: implicit representations.

    f is a SIREN (Sitzmann et al. 2020) on positions p in [-1, 1]², whose units a latent shifts (functa, section 3.1;
    COIN++, section 3.2):

        h⁰ = p,   hˡ = sin(ω (Wˡ hˡ⁻¹ + bˡ + Uˡ c)),   f(p; c) = V hᴸ + v + 1/2.

    A pattern x is written by `steps` steps c ← c - η ∘ ∇_c |f(·; c) - x|² / d from c = 0. All of f is learned through
    these steps, c being all that a pattern has of its own (CAVIA, Zintgraf et al. 2019), and so is η, one for each of a
    latent's values (Meta-SGD, Li et al. 2017), so that a few steps suffice.

    State: as of `SlotMemory`, with rows of `latent_dim` values.
    """

    config = FittedLatentConfig
    citation = (
        "E. Dupont, H. Kim, S. M. A. Eslami, D. Rezende and D. Rosenbaum, From data to functa: Your data point is a"
        " function and you can treat it like one, ICML 2022, arXiv:2201.12204; E. Dupont, H. Loya, M. Alizadeh, A."
        " Goliński, Y. W. Teh and A. Doucet, COIN++: Neural Compression Across Modalities, TMLR 2022, arXiv:2201.12904"
    )
    positions: Tensor

    def __init__(self, spec: PatternSpec, config: FittedLatentConfig = FittedLatentConfig()) -> None:
        channels, height, width = image_shape(spec)
        super().__init__(spec, config.slots, config.latent_dim)
        self.steps, self.frequency = config.steps, config.frequency
        sides = (torch.linspace(-1, 1, side) if side > 1 else torch.zeros(1) for side in (height, width))
        grid = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1)
        self.register_buffer("positions", grid.flatten(0, 1), persistent=False)
        sizes = [2, *[config.hidden] * config.layers]
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        for number, layer in enumerate(layers):  # Sitzmann et al. 2020, section 3.2
            bound = 1 / 2 if number == 0 else math.sqrt(6 / config.hidden) / config.frequency
            nn.init.uniform_(layer.weight, -bound, bound)
        self.hidden = nn.ModuleList(layers)
        self.shifts = nn.ModuleList(nn.Linear(config.latent_dim, config.hidden, bias=False) for _ in self.hidden)
        self.output = nn.Linear(config.hidden, channels)
        self.rates = nn.Parameter(torch.full((config.latent_dim,), config.rate))

    def decode(self, latents: Tensor) -> Tensor:
        """Patterns (..., d) of latents (..., latent_dim), with values around [0, 1]."""
        h = self.positions
        for layer, shift in zip(self.hidden, self.shifts, strict=True):
            h = torch.sin(self.frequency * (layer(h) + shift(latents)[..., None, :]))
        return (self.output(h) + 0.5).mT.flatten(-2)

    def error(self, latents: Tensor, flat: Tensor) -> Tensor:
        """The squared error of patterns (..., d) averaged over the values of each and summed over all; a scalar."""
        return (self.decode(latents) - flat).square().mean(-1).sum()

    def rows(self, patterns: Tensor) -> Tensor:
        """Latents, fitted from zero."""
        flat = patterns.flatten(2)
        latents = flat.new_zeros(*flat.shape[:2], self.width)
        for _ in range(self.steps):
            latents = latents - self.rates * grad(self.error)(latents, flat)
        return latents
