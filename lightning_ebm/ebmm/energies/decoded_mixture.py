"""A mixture energy for images: a slow net decodes its components from written codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn import functional as F

from lightning_ebm.detector import Detector, Revision, mask_loss
from lightning_ebm.ebmm.rows import RowMixture, Rows, normalised
from lightning_ebm.image_completion import EMPHASIS, Completion
from lightning_ebm.layers import SkipPerceptron, cosines
from lightning_ebm.memory import PatternSpec, covers_everything
from lightning_ebm.settings import Settings, setting

COMPARED = 4
"""The auxiliary loss estimates the mask of, and completes, one pattern in this many."""
NOISE = 0.08
"""Greatest standard deviation of the noise on codes in the auxiliary loss. Rows that hold 64 patterns are within 0.01,
with 4 bits a value they err by 0.1 to 0.2."""
OTHER = 0.1
"""Share of patterns for which the auxiliary loss recalls another row, so that a wrong row is not trusted blindly."""
STEP = 0.1
"""Length of the first step that refines a code, relative to the code's length."""
TRAINED_STEPS = 3
"""Steps that refine codes in the auxiliary loss, by the decoder alone, which is cheap."""
DOUBT = 0.02
"""How likely any decoded value is taken to be wrong, at least."""

Lost = Callable[[Tensor, Tensor, int], Tensor]
"""Maps codes, the patterns that they are of, and the number of a step to a loss, a scalar."""


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
    revision: int = setting(0, at_least=0)
    """Channels of the net that estimates again which values are corrupted, once a row is recalled; 0: none. It needs a
    detector."""
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

    Which values of a query are corrupted and which row it belongs to are estimated in turn; see `predict_mask`. A net
    then completes the row's image to fit the query; see `forward`. This energy is not in the paper, whose writing loss
    (eq. 3) has E as its main term. Amortised inference: D. P. Kingma and M. Welling, Auto-encoding variational Bayes,
    ICLR 2014.
    """

    config = DecodedMixtureConfig
    log_beta: Tensor

    def __init__(self, spec: PatternSpec, config: DecodedMixtureConfig = DecodedMixtureConfig()) -> None:
        super().__init__()
        shape, size = spec.shape, spec.size
        if config.code_dim >= size:
            raise ValueError(f"energy.code_dim must be below {size}, the values of a pattern, got {config.code_dim}")
        self.refining, self.binary = config.refining, spec.binary
        # the waves of lowest frequency but the constant one; low ones are large in images, so they are scaled down
        waves = cosines(shape, config.code_dim + 1)[:, 1:] if len(shape) == 3 else torch.eye(size, config.code_dim)
        scale = torch.arange(1, config.code_dim + 1).pow(0.25)
        hidden, layers = config.hidden, config.layers
        self.encode = SkipPerceptron(3 * (waves * scale).T, hidden, spread=0.03, activation=F.gelu, layers=layers)
        self.decode = SkipPerceptron(waves / scale, hidden, spread=0.01, activation=F.gelu, layers=layers)
        self.memory = Rows(config.slots, config.code_dim)
        self.typical = nn.Parameter(torch.full(shape, 0.5))
        log_beta = torch.tensor(math.log(4.0))
        if spec.binary and config.detector:  # a Bernoulli likelihood judges rows, see `evidence`, so nothing trains it
            self.register_buffer("log_beta", log_beta)
        else:
            self.log_beta = nn.Parameter(log_beta)
        # overlaps reach `code_dim`: below 14, rows blend; above, patterns share one; the same at 35 and at 251 values
        self.log_gamma = nn.Parameter(torch.tensor(math.log(14 / config.code_dim)))
        self.detector = Detector(shape, config.detector) if config.detector else None
        both = config.detector and config.revision
        self.revision = Revision(shape, config.revision) if both else None
        self.completion = Completion(shape, config.completion) if config.completion else None

    def forward(self, x: Tensor, soft_mask: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        """Energies (items,), E above, of x (items, *shape) in [0, 1].

        Args:
            x: patterns, or queries.
            soft_mask: m, (items, *shape), in [0, 1], how unreliable each value of a query q is. The query then selects
                the rows, and a spring pulls x to the completion of the recalled image,

                    E(x) = −log Σ_s exp(e_s) + 1/2 ‖x − c‖²,   c = σ(completed(Σ_s r_s g(z_s), q, m)),

                with `evidence` e and responsibilities r = softmax(e); see `completed`.
            queries: q, (items, *shape); None: x itself.
        """
        logits = self.decode(self.memory.rows())
        if soft_mask is None:
            values, means, beta = x.flatten(1), logits.sigmoid(), self.log_beta.exp()
            distances = values.square().sum(1, keepdim=True) - 2 * values @ means.T + means.square().sum(1)
            return -torch.logsumexp(-beta / 2 * distances, 1) / beta
        queries = x if queries is None else queries
        evidence = self.evidence(logits, queries, soft_mask)
        recalled = (evidence.softmax(1) @ logits).view_as(x)
        completed = self.complete(recalled, queries, soft_mask)
        return (x - completed).flatten(1).square().sum(1) / 2 - torch.logsumexp(evidence, 1)

    def evidence(self, logits: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """Log-likelihood of queries given each row, (items, rows), in nats.

        A value comes from the row's image with probability 1 − m, and is random otherwise,

            e_s = Σ_d log((1 − m_d) p(q_d | μ_sd) + m_d u),

        where p is a Bernoulli distribution and u = 1/2 for binary patterns; for others p is a Gaussian of precision β
        and u = 1. Values of a binary query between 0 and 1 count as expected likelihoods. Unlike masked squared
        distances, the sum is finite where the mask is wrong.

        Args:
            logits: of the rows' images, (rows, values).
            queries: (items, *shape), in [0, 1].
            soft_mask: m, the same shape.
        """
        values, doubt = queries.flatten(1)[:, None], soft_mask.flatten(1)[:, None]
        means = DOUBT + (1 - 2 * DOUBT) * logits.sigmoid() if self.binary else logits.sigmoid()
        if self.binary:
            likely, chance = 1 - values + (2 * values - 1) * means, 0.5
        else:
            beta = self.log_beta.exp()
            likely, chance = (beta / (2 * math.pi)).sqrt() * (-beta / 2 * (values - means).square()).exp(), 1.0
        return torch.lerp(likely, torch.full_like(likely, chance), doubt.expand_as(likely)).log().sum(2)

    def predict_mask(self, queries: Tensor) -> Tensor | None:
        """How likely each value of queries (items, *shape) is corrupted, in [0, 1]; None without a detector.

        Mask and row are estimated in turn, as in expectation-maximisation: the detector's mask selects the rows, and
        where the recalled image and the query disagree, the second estimate finds what the query alone does not show.
        """
        if self.detector is None:
            return None
        first = self.detector.logits(queries)
        if self.revision is None:
            return first.sigmoid().expand_as(queries)
        logits = self.decode(self.memory.rows())
        evidence = self.evidence(logits, queries, first.sigmoid().expand_as(queries))
        recalled = (evidence.softmax(1) @ logits).view_as(queries)
        return self.revision(first, queries, recalled).sigmoid().expand_as(queries)

    def complete(self, recalled: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """Images in [0, 1] from recalled logits, queries and their soft mask: all (items, *shape)."""
        completed = self.completed(recalled, queries, soft_mask).sigmoid()
        return completed if self.binary else torch.lerp(queries, completed, soft_mask)

    def completed(self, recalled: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """Logits of the same images.

        Those of binary images include what the query tells, log ((1 − m) q + m / 2) − log ((1 − m) (1 − q) + m / 2),
        the log-odds of a value that is right with probability 1 − m and random otherwise.
        """
        logits: Tensor = recalled if self.completion is None else self.completion(recalled, queries, soft_mask)
        if not self.binary:
            return logits
        ink = DOUBT + (1 - 2 * DOUBT) * queries
        half = torch.full_like(ink, 0.5)
        return logits + torch.lerp(ink, half, soft_mask).log() - torch.lerp(1 - ink, half, soft_mask).log()

    def features(self, x: Tensor) -> Tensor:
        """Codes (items, code) of mean square 1, as rows have it; writing leaves them unchanged."""
        return self.refined(self.encoded(x), x)

    def encoded(self, x: Tensor) -> Tensor:
        """The encoder's codes (items, code) of x (items, *shape), of mean square 1."""
        return normalised(self.encode((2 * (x - self.typical)).flatten(1)))

    def refined(self, codes: Tensor, x: Tensor) -> Tensor:
        """Codes from which x is recalled better: a few gradient steps from the encoder's code; see `descended`.

        Each step treats another quarter of the image as missing. With logits l = g(z),

            L = CE(l, x) + 2 CE(completion(l, x, m_k), x) on the quarter m_k.

        The sum over quarters is a composite likelihood (J. Besag, Statistical analysis of non-lattice data, The
        Statistician 24, 1975).
        """
        return self.descended(codes, x, self.recall_loss, self.refining)

    def descended(self, codes: Tensor, x: Tensor, lost: Lost, steps: int) -> Tensor:
        """Codes after gradient steps on a loss L of recalling x from them.

        In z ← z − η_k ∇L / rms(∇L), η_k falls linearly from `STEP`. Steps after an encoder close the amortisation gap
        (Y. Kim et al., Semi-amortized variational autoencoders, ICML 2018). Gradients pass straight through them.

        Args:
            codes: (items, code), of mean square 1, as those returned.
            x: (items, *shape).
            lost: maps codes, x and the step's number to L, summed over items.
            steps: how many.
        """
        with torch.no_grad():
            moved = codes
            for k in range(steps):
                slope = grad(lost)(moved, x, k)
                slope = slope * slope.square().mean(1, keepdim=True).add(1e-12).rsqrt()
                moved = normalised(moved - STEP * (1 - k / steps) * slope)
        return codes + (moved - codes).detach()

    def decoding_loss(self, codes: Tensor, x: Tensor, k: int) -> Tensor:
        """CE(g(z), x) of codes z and patterns x, summed over items, in nats, in any step."""
        return cross_entropy(self.decode(codes).view_as(x), x).sum()

    def recall_loss(self, codes: Tensor, x: Tensor, k: int) -> Tensor:
        """L of `refined` in step k, summed over items: how badly patterns x are recalled from codes, in nats."""
        logits = self.decode(codes).view_as(x)
        lost = cross_entropy(logits, x).sum()
        if self.completion is None:
            return lost
        missing = quarter(k, x).expand_as(x)
        return lost + self.completion.loss(logits, x, missing).sum()

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy of autoencoding patterns (items, *shape), and the losses of mask and completion, in nats.

        The codes get noise, as writing many patterns and keeping a state in few bits add it, so that decoding does not
        depend on digits that are lost. Their common part is penalised, because patterns whose codes point the same way
        would share rows. The convolutions cost the most, so their losses are taken of one pattern in `COMPARED`. Half
        of the completions get the true mask, the others the estimated one.

        Returns:
            (items,).
        """
        steps = min(self.refining, TRAINED_STEPS)
        codes = self.descended(self.encoded(patterns), patterns, self.decoding_loss, steps)
        shared = codes.mean(0).square().sum()
        spread = NOISE * torch.rand_like(codes[:, :1])
        logits = self.decode(normalised(codes + spread * torch.randn_like(codes))).view_as(patterns)
        loss = cross_entropy(logits, patterns).sum(1) + shared
        loss = loss + (patterns - self.typical).flatten(1).square().sum(1)
        return loss + self.comparison_loss(*(x[::COMPARED] for x in (logits, patterns, queries, mask)))

    def comparison_loss(self, logits: Tensor, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """What detector, revision and completion lose, averaged over items: a scalar.

        Args:
            logits: of the images decoded from the patterns' codes, (items, *shape).
            patterns: the same shape.
            queries: the same shape.
            mask: the same shape, bool.
        """
        everywhere = covers_everything(mask)
        soft_mask, loss = (mask & ~everywhere).to(patterns), logits.new_zeros(())
        other = torch.rand(len(logits), *[1] * (logits.ndim - 1), device=logits.device) < OTHER
        recalled = torch.where(other, logits.roll(1, 0), logits)
        if self.detector is not None:
            estimate = self.detector.logits(queries)
            loss = loss + mask_loss(estimate, mask).mean()
            if self.revision is not None:
                estimate = self.revision(estimate.detach(), queries, recalled.detach())
                loss = loss + mask_loss(estimate, mask).mean()
            known = torch.rand_like(everywhere.to(patterns)) < 0.5
            soft_mask = torch.where(known, soft_mask, estimate.detach().sigmoid().expand_as(patterns))
        if self.completion is not None:
            completed = self.completed(recalled, queries, soft_mask)
            loss = loss + EMPHASIS * cross_entropy(completed, patterns).sum(1).mean()
        return loss


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
