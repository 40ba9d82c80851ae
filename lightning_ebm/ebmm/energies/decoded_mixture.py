"""A mixture energy for images with any damage: a slow net decodes its components from written codes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vjp
from torch.nn import functional as F

from lightning_ebm.detector import Detector, Revision, mask_loss
from lightning_ebm.ebmm.recovery import Recovery
from lightning_ebm.ebmm.rows import RowMixture, Rows, normalised
from lightning_ebm.layers import SkipPerceptron, cosines
from lightning_ebm.memory import PatternSpec, covers_everything, informative
from lightning_ebm.settings import Settings, setting

COMPARED = 4
"""The auxiliary loss estimates the mask of, and recovers, one pattern in this many."""
NOISE = 0.08
"""Greatest standard deviation of the noise on codes in the auxiliary loss. Rows that hold 64 patterns are within 0.01,
with 4 bits a value they err by 0.1 to 0.2."""
FOUND = 10.0
"""Weight of finding the right row."""
EMPHASIS = 2.0
"""Weight of a recovered value, relative to a decoded one: recall is measured on recovered values."""
ANSWER = 10.0
"""Weight of the answer's squared error, by which masks of images that are not binary are trained as well."""
EARLIER = 0.2
"""Weight of all estimates but the last in the loss of recovery."""
DOUBT = 0.005
"""How likely any decoded value is taken to be wrong, at least."""
SURPRISE = 1e-4
"""How likely a value between 0 and 1 is random, at least: the density of one far off its mean may round to 0."""
BELIEF = 0.05
"""How likely such a value is not random, at least: noise may make all values unreliable, yet they tell rows apart."""
CANDIDATES = 12
"""The likeliest rows, for each of which a query's mask is estimated again and an image is recovered."""
UNWRITTEN = 8.0
"""How much less likely a query belongs to a row that was never written, in nats."""


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
    recovery: int = setting(32, at_least=0)
    """Channels of the nets that recover the image from its code and the intact values of the query; 0: none. Images
    only, with sides divisible by 2. It needs a detector or a known mask."""
    steps: int = setting(3, at_least=1)
    """Gradient steps of the recovery."""


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
    slots. Encoder and decoder may be pretrained as an autoencoder (`training.pretrain_steps`).

    Which values of a query are corrupted and which row it belongs to are estimated in turn; see `predict_mask`. An
    image is then recovered from each of the likeliest rows and the query; see `recover`. This energy is not in the
    paper, whose writing loss (eq. 3) has E as its main term. Amortised inference: D. P. Kingma and M. Welling,
    Auto-encoding variational Bayes, ICLR 2014.
    """

    config = DecodedMixtureConfig
    log_beta: Tensor

    def __init__(self, spec: PatternSpec, config: DecodedMixtureConfig = DecodedMixtureConfig()) -> None:
        super().__init__()
        shape, size = spec.shape, spec.size
        if config.code_dim >= size:
            raise ValueError(f"energy.code_dim must be below {size}, the values of a pattern, got {config.code_dim}")
        self.binary = spec.binary
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
        self.revision = Revision(shape, config.revision, spec.binary) if both else None
        gain = torch.ones(config.code_dim)
        self.recovery = Recovery(shape, config.recovery, config.steps, gain) if config.recovery else None

    def forward(self, x: Tensor, soft_mask: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        """Energies (items,), E above, of x (items, *shape) in [0, 1].

        Args:
            x: patterns, or queries.
            soft_mask: m, (items, *shape), in [0, 1], how unreliable each value of a query q is. The query then selects
                the rows, and a spring pulls x to the mean of the images recovered from them,

                    E(x) = −log Σ_s exp(e_s) + 1/2 ‖x − c‖²,   c = Σ_s r_s σ(recover(g(z_s), z_s, q, m)),

                with `evidence` e, to which `written` is added, and responsibilities r = softmax(e) over the
                `CANDIDATES` likeliest rows. If patterns are not binary, x is pulled to q + m ∘ (c − q).
            queries: q, (items, *shape); None: x itself.
        """
        rows = self.memory.rows()
        logits = self.decode(rows)
        if soft_mask is None:
            values, means, beta = x.flatten(1), logits.sigmoid(), self.log_beta.exp()
            distances = values.square().sum(1, keepdim=True) - 2 * values @ means.T + means.square().sum(1)
            return -torch.logsumexp(-beta / 2 * distances, 1) / beta
        queries = x if queries is None else queries
        evidence = self.evidence(logits, queries, soft_mask) + self.written()
        likeliest = evidence.topk(min(CANDIDATES, len(rows)), 1)
        several = [one.repeat_interleave(likeliest.values.shape[1], 0) for one in (queries, soft_mask)]
        chosen = likeliest.indices.flatten()
        images = self.recover(logits[chosen].view_as(several[0]), rows[chosen], *several)[-1].sigmoid()
        responsible = likeliest.values.softmax(1)[:, :, None]
        end = (responsible * images.view(*likeliest.values.shape, -1)).sum(1).view_as(x)
        if not self.binary:
            end = torch.lerp(queries, end, soft_mask)
        return (x - end).flatten(1).square().sum(1) / 2 - torch.logsumexp(evidence, 1)

    def written(self) -> Tensor:
        """Log-probability (rows,) that a row was written, −log(1 + exp(`UNWRITTEN` + b)). Writing lowers its bias b."""
        return -F.softplus(UNWRITTEN + self.memory.bias)

    def evidence(self, logits: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """Log-likelihood e (items, rows), in nats, of queries q given each row's image, logits (rows, values).

        A value comes from the row's image with probability 1 − m, and is random otherwise,

            e_s = Σ_d log((1 − m_d) p(q_d | μ_sd) + m_d u),

        where p is a Bernoulli distribution and u = 1/2 for binary patterns; for others p is a Gaussian of precision β
        and u = 1. Values of a binary query between 0 and 1 count as expected likelihoods. Unlike masked squared
        distances, the sum is finite where the mask is wrong. Queries and soft mask m are (items, *shape), in [0, 1].
        """
        return self.likelihood(logits, queries.flatten(1)[:, None], soft_mask.flatten(1)[:, None])

    def likelihood(self, logits: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """The same, (...), of arguments that are broadcast: (..., values)."""
        if self.binary:
            means, chance = DOUBT + (1 - 2 * DOUBT) * logits.sigmoid(), 0.5
            likely = 1 - queries + (2 * queries - 1) * means
        else:
            beta, chance = self.log_beta.exp(), 1.0
            likely = (beta / (2 * math.pi)).sqrt() * (-beta / 2 * (queries - logits.sigmoid()).square()).exp()
            soft_mask = soft_mask.clamp(SURPRISE, 1 - BELIEF)
        return torch.lerp(likely, torch.full_like(likely, chance), soft_mask.expand_as(likely)).log().sum(-1)

    def predict_mask(self, queries: Tensor) -> Tensor | None:
        """How likely each value of queries (items, *shape) is corrupted, in [0, 1]; None without a detector.

        Mask and row are estimated in turn, as in expectation-maximisation. The detector's mask finds the likeliest
        rows. For each of these, the second estimate compares its image with the query, and judges whether it is the
        right one. The second estimates are weighted by that and by how likely they make the query.
        """
        if self.detector is None:
            return None
        first = self.detector.logits(queries)
        mask = first.sigmoid().expand_as(queries)
        if self.revision is None:
            return mask
        logits = self.decode(self.memory.rows())
        rows = (self.evidence(logits, queries, mask) + self.written()).topk(min(CANDIDATES, len(logits)), 1).indices
        recalled, count = logits[rows], rows.shape[1]
        several = queries.repeat_interleave(count, 0)
        estimates, evidence = self.revision(first.repeat_interleave(count, 0), several, recalled.view_as(several))
        masks = estimates.sigmoid().expand_as(several).reshape_as(recalled)
        likely = self.likelihood(recalled, queries.flatten(1)[:, None], masks) + evidence.view_as(rows)
        return ((likely + self.written()[rows]).softmax(1)[:, :, None] * masks).sum(1).view_as(queries)

    def recover(self, recalled: Tensor, codes: Tensor, queries: Tensor, soft_mask: Tensor) -> Tensor:
        """Logits (steps, items, *shape) of images that begin as recalled, and come to fit their codes and the queries.

        Those of binary images include what the query tells, log ((1 − m) q + m / 2) − log ((1 − m) (1 − q) + m / 2),
        the log-odds of a value that is right with probability 1 − m and random otherwise. Without `recovery`, that is
        the one step. Recalled logits, queries and soft mask are (items, *shape), codes (items, code).
        """

        def lacking(image: Tensor, gain: Tensor) -> Tensor:
            found, pull = vjp(self.features, image)[:2]
            back: Tensor = pull(gain * (codes - found))[0]
            return back

        logits = recalled[None] if self.recovery is None else self.recovery(lacking, recalled, queries, soft_mask)
        if not self.binary:
            return logits
        ink = DOUBT + (1 - 2 * DOUBT) * queries
        half = torch.full_like(ink, 0.5)
        return logits + torch.lerp(ink, half, soft_mask).log() - torch.lerp(1 - ink, half, soft_mask).log()

    def features(self, x: Tensor) -> Tensor:
        """The encoder's codes (items, code) of x (items, *shape), of mean square 1, as rows have it.

        Writing leaves them unchanged.
        """
        return normalised(self.encode((2 * (x - self.typical)).flatten(1)))

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy of autoencoding patterns (items, *shape), and the losses of mask and recovery, in nats.

        The codes get noise, as writing many patterns and keeping a state in few bits add it, so that decoding does not
        depend on digits that are lost. Their common part is penalised, because patterns whose codes point the same way
        would share rows. The convolutions cost the most, so their losses are taken of one pattern in `COMPARED`. Half
        of the images get the true mask, the others the estimated one. Returns (items,).
        """
        codes = self.features(patterns)
        shared = codes.mean(0).square().sum()
        spread = NOISE * torch.rand_like(codes[:, :1])
        blurred = normalised(codes + spread * torch.randn_like(codes))
        logits = self.decode(blurred).view_as(patterns)
        loss = cross_entropy(logits, patterns).sum(1) + shared
        loss = loss + (patterns - self.typical).flatten(1).square().sum(1)
        some = slice(None, None, COMPARED)
        return loss + self.comparison_loss(blurred, logits, patterns[some], queries[some], mask[some])

    def comparison_loss(self, codes: Tensor, logits: Tensor, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """What detector, revision and recovery lose, averaged over items: a scalar.

        Noise on all values tells none apart. Binary values are recovered from it anyway, see `recover`, and its mask
        counts as empty. Of others, the mask says how much to trust each value: the answer's error trains it as well.

        Codes (rows, code) and the logits (rows, *shape) decoded from them are of the rows; every `COMPARED`-th is one
        of the patterns (items, *shape), whose shape queries and mask have.
        """
        everywhere = covers_everything(mask)
        soft_mask, loss = informative(mask).to(patterns), logits.new_zeros(())
        told_apart = (~everywhere.flatten() | self.binary).to(patterns)
        rows = torch.arange(0, len(logits), COMPARED, device=logits.device)
        if self.detector is not None:
            estimate = self.detector.logits(queries)
            loss = loss + (told_apart * mask_loss(estimate, mask)).mean()
            if self.revision is not None:
                rivals = self.rivals(logits, queries, estimate.sigmoid().expand_as(queries), rows)
                pair = torch.stack([rows, rivals])
                first, recalled = estimate.detach().repeat(2, 1, 1, 1), logits[pair].detach()
                estimates, evidence = self.revision(first, queries.repeat(2, 1, 1, 1), recalled.flatten(0, 1))
                loss = loss + (told_apart.repeat(2) * mask_loss(estimates, mask.repeat(2, 1, 1, 1))).mean()
                masks = estimates.detach().sigmoid().view(2, *estimate.shape).expand_as(recalled)
                likely = self.likelihood(recalled.flatten(2), queries.flatten(1), masks.flatten(2))
                likely = likely + evidence.view(2, -1)
                loss = loss + FOUND * F.softplus(likely[1] - likely[0]).mean()
                estimate = estimates[: len(rows)]
            known = (torch.rand_like(everywhere.to(patterns)) < 0.5) & ~everywhere
            soft_mask = torch.where(known, soft_mask, estimate.detach().sigmoid().expand_as(patterns))
        if self.recovery is not None:
            steps = self.recover(logits[rows], codes[rows], queries, soft_mask)
            nats = [cross_entropy(step, patterns).sum(1).mean() for step in steps]
            loss = loss + EMPHASIS * (nats[-1] + EARLIER * sum(nats[:-1]))
            if self.detector is not None and not self.binary:
                answer = torch.lerp(queries, steps[-1].detach().sigmoid(), estimate.sigmoid().expand_as(queries))
                loss = loss + ANSWER * (answer - patterns).flatten(1).square().sum(1).mean()
        return loss

    @torch.no_grad()
    def rivals(self, logits: Tensor, queries: Tensor, soft_mask: Tensor, own: Tensor) -> Tensor:
        """For each query (items, *shape) the likeliest row but its own, both (items,); logits are (rows, *shape)."""
        evidence = self.evidence(logits.flatten(1), queries, soft_mask)
        return evidence.scatter(1, own[:, None], -torch.inf).argmax(1)


def cross_entropy(logits: Tensor, patterns: Tensor) -> Tensor:
    """The cross-entropy of each value, (items, values), in nats, of logits and patterns (items, *shape)."""
    return F.binary_cross_entropy_with_logits(logits, patterns, reduction="none").flatten(1)
