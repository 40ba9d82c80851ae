"""A mixture energy for images with missing blocks: its components are a few linear measurements of each pattern."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.detector import Detector
from lightning_ebm.ebmm.recovery import Recovery
from lightning_ebm.ebmm.rows import RowMixture, Rows, normalised
from lightning_ebm.layers import SQUARE, SkipPerceptron, check_sides, cosine_matrix, cosines
from lightning_ebm.memory import PatternSpec, informative
from lightning_ebm.settings import Settings, setting

RECOVERED = 2
"""The auxiliary loss recovers one pattern in this many."""
FOUND = 10.0
"""Weight of finding the right row: a pattern that is taken for another is wrong everywhere."""
EARLIER = 0.2
"""Weight of all estimates but the last in the loss of recovery."""
EPSILON = 1e-3
"""Keeps the read-out of an unwritten row finite."""


@dataclass(frozen=True)
class MeasuredMixtureConfig(Settings):
    """Settings of `MeasuredMixture`."""

    slots: int = setting(64, at_least=1)
    """S, rows of the written layer. The memory can tell S patterns apart. The state has S · (code_dim + 1) floats."""
    code_dim: int = 35
    """Values of a row: one for the scale, `address_dim` for the address, and the rest for measurements."""
    address_dim: int = setting(4, at_least=1)
    """P, values of the address, below `code_dim` - 1. A net computes it from a pattern or from its known part."""
    block_size: int = setting(16, at_least=1)
    """Period of the measured waves at the start of training, in pixels, in both directions. Use the side of the missing
    blocks: wherever a block lies, it then contains one period of every wave."""
    hidden: int = setting(256, at_least=1)
    """Units of the net that computes addresses and predicts the measurements of the missing part."""
    detector: int = setting(24, at_least=0)
    """Channels of the net that estimates which values of a query are corrupted; 0: none, the mask must be known."""
    recovery: int = setting(32, at_least=1)
    """Channels of the net that recovers the missing part."""
    steps: int = setting(3, at_least=1)
    """Gradient steps of the recovery."""
    noise: float = setting(0.01, at_least=0)
    """Standard deviation of the noise on codes, whose mean square is 1, in the auxiliary loss. Most written rows are
    within 0.01; with 4 bits a value the error is 0.1 to 0.2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.address_dim >= self.code_dim - 1:
            raise ValueError(f"address_dim must be below code_dim - 1 = {self.code_dim - 1}, got {self.address_dim}")


class MeasuredMixture(RowMixture):
    """Energy of a pattern: its free energy in a mixture of Gaussians over its measurements and its address.

    With linear measurements y(x) = A (x − t), an address a(x) computed by a slow net, and the values y_s and a_s that
    the written rows z_s hold,

        E(x) = −log Σ_s exp(−‖V ((y, a)(x) − (y_s, a_s))‖² / 2).

    A row is (κ, y, a), scaled to mean square 1; its first value restores the scale. Writing descends
    `RowMixture.writing_energy` in place of E, as in `DecodedMixture`.

    The state stores only what the query does not show. Measurements are linear, so the difference between those of
    the stored pattern and those of the query's known part measures the missing part; see `Recovery`. The measured
    waves have the side of the missing blocks as their period, so that every block determines all of them, wherever it
    lies. This is source coding with side information (A. D. Wyner and J. Ziv, IEEE Trans. Information Theory 22, 1976)
    by linear measurements (D. L. Donoho, Compressed sensing, ibid. 52, 2006). The price is that a row does not describe
    its whole pattern: if more than one block is missing, recall fails. Not in the paper.
    """

    config = MeasuredMixtureConfig

    def __init__(self, spec: PatternSpec, config: MeasuredMixtureConfig = MeasuredMixtureConfig()) -> None:
        super().__init__()
        shape = spec.shape
        check_sides(shape, SQUARE, "energy")
        count, waves = config.code_dim - 1 - config.address_dim, shape[0] * config.block_size**2
        if count > waves:
            raise ValueError(
                f"energy.code_dim must be at most {waves + 1 + config.address_dim} with this energy.block_size"
            )
        self.count, self.noise = count, config.noise
        scale = torch.arange(1, count + 1).pow(0.25)  # waves of low frequency are large in images
        self.measure = nn.Parameter(periodic_waves(shape, count, config.block_size) * scale[:, None])
        self.typical = nn.Parameter(torch.full(shape, 0.5))
        # with a smaller first value, what is lost of it would be lost of all; a much larger one would make codes alike.
        # Measurements grow with the norm of images
        self.log_scale = nn.Parameter(torch.tensor(math.log(math.sqrt(self.typical.numel()) / 8)))
        self.memory = Rows(config.slots, config.code_dim)
        # as in the decoded mixture: overlaps reach `code_dim`, and with less than 14 rows blend
        self.log_gamma = nn.Parameter(torch.tensor(math.log(14 / config.code_dim)))
        # sees known values and, in one more channel, which they are; at first it guesses nothing
        start = torch.zeros(config.code_dim - 1, (shape[0] + 1) * shape[1] * shape[2])
        start[count:, : self.typical.numel()] = 3 * cosines(shape, config.address_dim + 1)[:, 1:].T
        self.guess = SkipPerceptron(start, config.hidden, spread=0.01, activation=F.gelu)
        self.weigh = nn.Parameter(torch.eye(config.code_dim - 1))
        self.detector = Detector(shape, config.detector) if config.detector else None
        blocks = shape[1] * shape[2] / config.block_size**2
        self.recovery = Recovery(shape, config.recovery, config.steps, gain=blocks / scale.square())

    def forward(self, x: Tensor, soft_mask: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        """Energies (items,), E above, of x (items, *shape) in [0, 1].

        Args:
            x: patterns, or queries.
            soft_mask: m, (items, *shape), in [0, 1], how unreliable each value is. The address net then gets
                (1 − m) ∘ (x − t) and m, and also predicts the measurements h of the missing part,

                    E(x) = −log Σ_s exp(−‖V ((y_k + h, a) − (y_s, a_s))‖² / 2) + ‖x − u − m ∘ (c − u)‖² / 2,

                with u = q + m ∘ (t − q), y_k = A ((1 − m) ∘ (u − t)), c = σ(recovery(Σ_s r_s y_s, u, m)) and
                responsibilities r of the rows: a spring pulls the unreliable values of x to the image recovered from
                the measurements, and the others to the query.
            queries: q, (items, *shape); None: x itself.
        """
        stored = self.unscaled(self.memory.rows())
        if soft_mask is None:
            return -torch.logsumexp(self.evidence(self.features_of_whole(x), stored), 1)
        anchor = torch.lerp(x if queries is None else queries, self.typical.expand_as(x), soft_mask)
        known = self.measured((1 - soft_mask) * (anchor - self.typical))
        evidence = self.evidence(self.features_of_partial(known, anchor, soft_mask), stored)
        recovered = self.recover(evidence.softmax(1) @ stored[:, : self.count], anchor, soft_mask)[-1].sigmoid()
        end = torch.lerp(anchor, recovered, soft_mask)
        return (x - end).flatten(1).square().sum(1) / 2 - torch.logsumexp(evidence, 1)

    def measured(self, differences: Tensor) -> Tensor:
        """A (x − t), (items, D), of differences x − t (items, *shape), or of a part of them."""
        return differences.flatten(1) @ self.measure.T

    def features_of_whole(self, x: Tensor) -> Tensor:
        """(y, a)(x), (items, code − 1), of whole patterns x (items, *shape)."""
        address = self.guessed(x, torch.zeros_like(x))[:, self.count :]
        return torch.cat([self.measured(x - self.typical), address], 1)

    def features_of_partial(self, known: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """(y_k + h, a), (items, code − 1): the same of patterns whose known part has the measurements y_k, `known`."""
        guess = self.guessed(queries, soft_mask)
        return torch.cat([known + guess[:, : self.count], guess[:, self.count :]], 1)

    def guessed(self, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """(h, a), (items, code − 1), of queries and their soft mask, both (items, *shape)."""
        known = 2 * (1 - soft_mask) * (queries - self.typical)
        return self.guess(torch.cat([known, soft_mask[:, :1]], 1).flatten(1))

    def evidence(self, features: Tensor, stored: Tensor) -> Tensor:
        """Log-likelihood up to a constant of features (items, code − 1) given rows (rows, code − 1): (items, rows)."""
        seen, kept = features @ self.weigh.T, stored @ self.weigh.T
        squares = seen.square().sum(1, keepdim=True) + kept.square().sum(1)
        return seen @ kept.T - squares / 2

    def recover(self, measured: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """Logits (steps, items, *shape) of images from their measurements, (items, D), and from queries."""

        def lacking(image: Tensor, gain: Tensor) -> Tensor:
            back = (measured - self.measured(image - self.typical)) * gain @ self.measure
            return back.view_as(image)

        logits: Tensor = self.recovery(lacking, torch.zeros_like(queries), queries, soft_mask)
        return logits

    def unscaled(self, codes: Tensor) -> Tensor:
        """The features (items, code − 1) of codes (items, code)."""
        first = codes[:, :1]
        return codes[:, 1:] * self.log_scale.exp() * first / (first.square() + EPSILON)

    def features(self, x: Tensor) -> Tensor:
        """Codes (items, code) of mean square 1 of x (items, *shape); writing leaves them unchanged."""
        return normalised(torch.cat([self.log_scale.exp().expand(len(x), 1), self.features_of_whole(x)], 1))

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """Losses of single patterns, in nats: of the detector, of identifying the pattern's code, and of recovery.

        Codes are blurred as writing blurs rows: towards similar codes, weighted by responsibility, and by noise.
        Recovery costs the most, so its loss is the cross-entropy of the missing values of one pattern in `RECOVERED`.
        Returns (items,).
        """
        soft_mask = informative(mask).to(patterns)  # as in reading, a mask of all values tells nothing
        codes = self.features(patterns)
        gamma = self.log_gamma.exp().detach()  # sharper ones blend less but let patterns share rows, unseen here
        pulls = (gamma * codes @ codes.T).softmax(1)
        stored = self.unscaled(normalised(pulls.T @ codes + self.noise * torch.randn_like(codes)))
        known = self.measured((1 - soft_mask) * (queries - self.typical))
        evidence = self.evidence(self.features_of_partial(known, queries, soft_mask), stored)
        own = torch.arange(len(patterns), device=patterns.device)
        loss = FOUND * F.cross_entropy(evidence, own, reduction="none")
        loss = loss + (patterns - self.typical).flatten(1).square().sum(1)
        if self.detector is not None:
            loss = loss + self.detector.loss(queries, mask)
        some = slice(None, None, RECOVERED)
        logits = self.recover(stored[some, : self.count], queries[some], soft_mask[some])
        nats = F.binary_cross_entropy_with_logits(logits, patterns[some].expand_as(logits), reduction="none")
        lost = (nats * soft_mask[some]).flatten(2).sum(2)
        return loss + (lost[-1].mean() + EARLIER * lost[:-1].sum(0).mean())


def periodic_waves(shape: Sequence[int], count: int, period: int) -> Tensor:
    """The `count` waves of lowest frequency that repeat after `period` pixels, (count, values), of norm 1.

    They are cosines and sines over space, times cosine waves over channels. The n-th channel wave counts as n² times
    the frequency, because colour varies less than brightness.
    """
    channels, height, width = shape
    found = []
    for i in range(period):
        for j in range(period):
            mirror = (-i % period, -j % period)
            if mirror < (i, j):
                continue
            frequency = min(i, period - i) ** 2 + min(j, period - j) ** 2
            phases = (0.0,) if mirror == (i, j) else (0.0, math.pi / 2)
            found += [((frequency + 0.5) * (c + 1) ** 2, c, i, j, p) for c in range(channels) for p in phases]
    over_channels = cosine_matrix(channels)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    waves = []
    for _, channel, i, j, phase in sorted(found)[:count]:
        wave = torch.cos(2 * math.pi / period * (i * rows + j * columns) - phase)
        waves.append((over_channels[channel][:, None, None] * wave).flatten())
    return F.normalize(torch.stack(waves))
