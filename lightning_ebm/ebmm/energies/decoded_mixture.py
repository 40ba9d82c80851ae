"""A mixture energy for images: a slow net decodes its components from written codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn import functional as F

from lightning_ebm.detector import Detector
from lightning_ebm.ebmm.rows import RowMixture, Rows, normalised
from lightning_ebm.image_completion import Completion
from lightning_ebm.layers import SkipPerceptron, cosines
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

COMPLETED = 4
"""The auxiliary loss completes one pattern in this many."""
NOISE = 0.08
"""Standard deviation of the noise on codes in the auxiliary loss: the error of rows that hold 64 patterns."""
EMPHASIS = 2.0
"""Weight of a completed value, relative to a decoded one: recall is measured on completed values."""
STEP = 0.1
"""Length of the first step that refines a code, relative to the code's length."""


@dataclass(frozen=True)
class DecodedMixtureConfig(Settings):
    """Settings of `DecodedMixture`."""

    slots: int = setting(64, at_least=1)
    """S, rows of the written layer. The memory can tell S patterns apart. The state has S · (code_dim + 1) floats."""
    code_dim: int = setting(35, at_least=1)
    """D, values of a row: fewer than a pattern has."""
    hidden: int = setting(512, at_least=0)
    """Units of each hidden layer of encoder and decoder, in addition to their linear parts; 0: linear only."""
    layers: int = setting(1, at_least=1)
    """Hidden layers of encoder and of decoder."""
    detector: int = setting(24, at_least=0)
    """Channels of the net that estimates which values of a query are corrupted; 0: none, and reading may change all
    values. Images only, with sides divisible by 2."""
    completion: int = setting(32, at_least=0)
    """Channels of the net that corrects a decoded row by the intact values of the query; 0: none. Images only, with
    sides divisible by 2. It needs a detector or a known mask."""
    refining: int = setting(8, at_least=0)
    """Gradient steps that refine a code before it is written; see `DecodedMixture.refined`."""


class DecodedMixture(RowMixture):
    """Energy of a pattern: its free energy in a mixture of Gaussians around the decoded rows.

    With written rows z_s (S, D), normalised to mean square 1, and a slow decoder g, μ_s = σ(g(z_s)) and

        E(x) = −1/β · log Σ_s exp(−β/2 ‖x − μ_s‖²),

    whose gradient is x minus the responsibility-weighted mean of the μ_s: a read step of size 1 is attention over
    decoded rows. Descending E itself would decode every row at each write step. Writing therefore descends an amortised
    form in code space, with a slow encoder f and written biases b_s,

        W(x) = −1/γ · log Σ_s exp(γ f(x)·z_s + √γ b_s)

    (`writing_energy(features(x))`). Its gradient moves the responsible row towards the code of x, which decodes to x.
    A negative bias rate makes an occupied slot less attractive, as in `Mixture`, so patterns spread over
    slots. A code is first refined by descent on the recall error; see `refined`. Encoder and decoder may be pretrained
    as an autoencoder (`training.pretrain_steps`).

    A detector predicts which values of a query are corrupted; see `predict_mask`. There, a second net completes the
    row's image to fit the visible context; see `forward`. This energy is not in the paper, whose writing loss (eq. 3)
    has E as its main term. Amortised inference: D. P. Kingma and M. Welling, Auto-encoding variational Bayes, ICLR
    2014.
    """

    config = DecodedMixtureConfig

    def __init__(self, spec: PatternSpec, config: DecodedMixtureConfig = DecodedMixtureConfig()) -> None:
        super().__init__()
        shape, size = spec.shape, spec.size
        if config.code_dim >= size:
            raise ValueError(f"energy.code_dim must be below {size}, the values of a pattern, got {config.code_dim}")
        self.refining = config.refining
        # the waves of lowest frequency but the constant one; low ones are large in images, so they are scaled down
        waves = cosines(shape, config.code_dim + 1)[:, 1:] if len(shape) == 3 else torch.eye(size, config.code_dim)
        scale = torch.arange(1, config.code_dim + 1).pow(0.25)
        hidden, layers = config.hidden, config.layers
        self.encode = SkipPerceptron(3 * (waves * scale).T, hidden, spread=0.03, activation=F.gelu, layers=layers)
        self.decode = SkipPerceptron(waves / scale, hidden, spread=0.01, activation=F.gelu, layers=layers)
        self.memory = Rows(config.slots, config.code_dim)
        self.typical = nn.Parameter(torch.full(shape, 0.5))
        self.log_beta = nn.Parameter(torch.tensor(math.log(4.0)))
        # overlaps reach `code_dim`: below 14, rows blend; above, patterns share one; the same at 35 and at 251 values
        self.log_gamma = nn.Parameter(torch.tensor(math.log(14 / config.code_dim)))
        self.detector = Detector(shape, config.detector) if config.detector else None
        self.completion = Completion(shape, config.completion) if config.completion else None

    def forward(self, x: Tensor, soft_mask: Tensor | None = None, anchor: Tensor | None = None) -> Tensor:
        """Energies (items,), E above, of x (items, *shape) in [0, 1].

        Args:
            x: patterns, or queries.
            soft_mask: (items, *shape), in [0, 1], how unreliable each value is. The reliable values select the rows,
                and a spring pulls x to the completion c of the recalled image,

                    E(x) = −1/β · log Σ_s exp(−β/2 Σ_d (1 − m_d)(x_d − μ_sd)²) + 1/2 ‖x − c‖²,

                c = σ(completion(Σ_s r_s g(z_s), x, m)), with the rows' responsibilities r.
            anchor: (items, *shape), replaces x everywhere but in the spring, so that only the spring has a gradient. A
                read step is anchored where it starts: it computes r and c anew, as expectation-maximisation does, and
                needs no gradient of the completion. None: x itself.
        """
        logits, beta = self.decode(self.memory.rows()), self.log_beta.exp()
        means = logits.sigmoid()
        anchor = x if anchor is None else anchor
        values = anchor.flatten(1)
        known = torch.ones_like(values) if soft_mask is None else 1 - soft_mask.flatten(1)
        distances = (known * values.square()).sum(1, keepdim=True) - 2 * (known * values) @ means.T
        evidence = -beta / 2 * (distances + known @ means.square().T)
        free = -torch.logsumexp(evidence, 1) / beta
        if soft_mask is None:
            return free
        recalled = (evidence.softmax(1) @ logits).view_as(x)
        return free + (x - self.complete(recalled, anchor, soft_mask)).flatten(1).square().sum(1) / 2

    def complete(self, recalled: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """Images in [0, 1] from recalled logits, queries and their soft mask: all (items, *shape)."""
        return (recalled if self.completion is None else self.completion(recalled, queries, soft_mask)).sigmoid()

    def features(self, x: Tensor) -> Tensor:
        """Codes (items, code) of mean square 1, as rows have it; writing leaves them unchanged."""
        return self.refined(self.encoded(x), x)

    def encoded(self, x: Tensor) -> Tensor:
        """The encoder's codes (items, code) of x (items, *shape), of mean square 1."""
        return normalised(self.encode((2 * (x - self.typical)).flatten(1)))

    def refined(self, codes: Tensor, x: Tensor) -> Tensor:
        """Codes from which x is recalled better: a few gradient steps from the encoder's code.

        Each step treats another quarter of the image as missing. With logits l = g(z),

            z ← z − η_k ∇L / rms(∇L),   L = CE(l, x) + 2 CE(completion(l, x, m_k), x) on the quarter m_k,

        and η_k falls linearly from `STEP`. The sum over quarters is a composite likelihood (J. Besag, Statistical
        analysis of non-lattice data, The Statistician 24, 1975). Steps after an encoder close the amortisation gap
        (Y. Kim et al., Semi-amortized variational autoencoders, ICML 2018). Gradients pass straight through the steps.
        The codes are (items, code), of mean square 1.
        """
        with torch.no_grad():
            moved = codes
            for k in range(self.refining):
                slope = grad(self.recall_loss)(moved, x, k)
                slope = slope * slope.square().mean(1, keepdim=True).add(1e-12).rsqrt()
                moved = normalised(moved - STEP * (1 - k / self.refining) * slope)
        return codes + (moved - codes).detach()

    def recall_loss(self, codes: Tensor, x: Tensor, k: int) -> Tensor:
        """L above in step k, summed over items: how badly patterns x are recalled from codes, in nats."""
        logits = self.decode(codes).view_as(x)
        lost = cross_entropy(logits, x).sum()
        if self.completion is None:
            return lost
        return lost + completion_loss(self.completion, logits, x, quarter(k, x).expand_as(x))

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy of autoencoding patterns (items, *shape), and the losses of detector and completion, in nats.

        The codes get as much noise as writing many patterns adds, so that decoding does not depend on digits that are
        lost. Their common part is penalised, because patterns whose codes point the same way would share rows. These
        are the encoder's codes; the meta-loss trains with refined ones. The completion costs the most, so its loss is
        taken on the missing values of one pattern in `COMPLETED`.

        Returns:
            (items,).
        """
        codes = self.encoded(patterns)
        shared = codes.mean(0).square().sum()
        codes = normalised(codes + NOISE * torch.randn_like(codes))
        logits = self.decode(codes).view_as(patterns)
        loss = cross_entropy(logits, patterns).sum(1) + shared
        loss = loss + (patterns - self.typical).flatten(1).square().sum(1)
        if self.detector is not None:
            loss = loss + self.detector.loss(queries, mask)
        if self.completion is not None:
            x, soft_mask = patterns[::COMPLETED], mask[::COMPLETED].to(patterns)
            loss = loss + completion_loss(self.completion, logits[::COMPLETED], x, soft_mask) / len(x)
        return loss


def completion_loss(completion: Completion, logits: Tensor, x: Tensor, soft_mask: Tensor) -> Tensor:
    """`EMPHASIS` times the cross-entropy, in nats, of the values of x that are completed, summed over items."""
    return EMPHASIS * (cross_entropy(completion(logits, x, soft_mask), x) * soft_mask.flatten(1)).sum()


def quarter(k: int, x: Tensor) -> Tensor:
    """The k-th quarter of images x (items, *shape), 1 in it and 0 elsewhere: (*shape). Every fourth is the same."""
    height, width = x.shape[-2:]
    inside = torch.zeros_like(x[0])
    top, left = (k // 2 + k) % 2 * (height // 2), k % 2 * (width // 2)
    inside[..., top : top + height // 2, left : left + width // 2] = 1
    return inside


def cross_entropy(logits: Tensor, patterns: Tensor) -> Tensor:
    """The cross-entropy of each value, (items, values), in nats, of logits and patterns (items, *shape)."""
    return F.binary_cross_entropy_with_logits(logits, patterns, reduction="none").flatten(1)
