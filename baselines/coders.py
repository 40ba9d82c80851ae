"""Encoder and decoder that all learned comparators share: patterns to codes and back (EBMM paper, appendix B)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.layers import ImageDecoder, ImageEncoder, SkipPerceptron, cosines, he_init
from lightning_ebm.memory import AssociativeMemory, PatternSpec, informative
from lightning_ebm.restoration import Restoration, RestorationConfig, answer
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class CodersConfig(RestorationConfig):
    """Settings of `Coders`; the defaults are for 32x32 images."""

    hidden: int = setting(256, at_least=1)
    """Units of each hidden layer of the coders of vector patterns, and of images that are treated as vectors."""
    layers: int = setting(1, at_least=1)
    """Hidden layers of these."""
    channels: list[int] = setting([32, 64, 96], at_least=1)
    """Widths of the image encoder's ResBlocks; each halves the image. Empty: images are treated as vectors."""
    code_dim: int = setting(256, at_least=1)
    """Size of the image encoder's output, and of a code for images unless another is asked for."""


@dataclass(frozen=True)
class CodeSettings(Settings):
    """Settings of every memory of codes."""

    width: int | None = setting(None, at_least=1)
    """Size of a code, or of a slot that holds one. None: that of a vector pattern, or `coders.code_dim` for images."""
    coders: CodersConfig = CodersConfig()
    """Sizes of encoder and decoder."""


class Coders(nn.Module):
    """An encoder from patterns to codes, and a decoder from codes to logits of patterns.

    Images pass through the paper's encoder and its transpose; vectors through coders that start close to the
    identity, so that a code is the pattern in ±1 at first, cut off or padded with zeros. Images that are treated as
    vectors pass through `wave_coders`, without what all of them share: codes of drawings on paper, which agree in
    nearly all values, would all point the same way, and no memory whose keys they are could tell them apart.

    Raises:
        ValueError: if the patterns are neither vectors nor images that can be halved as often as there are channels, or
            `width` exceeds what the image encoder returns.
    """

    def __init__(self, shape: Sequence[int], width: int | None, config: CodersConfig) -> None:
        super().__init__()
        self.shape = tuple(shape)
        if len(self.shape) not in (1, 3):
            raise ValueError(f"this memory stores vectors or images, not patterns of shape {self.shape}")
        vectors = len(self.shape) == 1
        images_as_vectors = not vectors and not config.channels
        size = math.prod(self.shape) if vectors or images_as_vectors else config.code_dim
        default = size if vectors else config.code_dim
        self.width = default if width is None else width
        self.overlap = min(self.width, size)  # largest product of two codes that start as ±1 in `size` places

        self.restoration = Restoration(self.shape, config, "coders")
        self.mean_pattern = nn.Parameter(torch.full(self.shape, 0.5)) if images_as_vectors else 0.5
        self.encoder: nn.Module
        self.decoder: nn.Module
        if vectors:
            self.encoder = near_identity(size, self.width, config.hidden, config.layers)
            self.decoder = near_identity(self.width, size, config.hidden, config.layers, gain=6.0)  # 1 − σ(6) = 0.0025
        elif images_as_vectors:
            self.encoder, self.decoder = wave_coders(self.shape, self.width, config.hidden, config.layers)
        else:
            if self.width > config.code_dim:  # the rest would stay zero: nothing leads out of it
                raise ValueError(
                    f"width must be at most coders.code_dim={config.code_dim}, the encoder's output, got {self.width}:"
                    " raise both"
                )
            key = f"coders.channels={config.channels}"
            image_encoder = ImageEncoder(self.shape, config.channels, config.code_dim, key)
            image_decoder = ImageDecoder(self.shape, config.channels, config.code_dim)
            he_init(image_encoder)
            he_init(image_decoder)
            with torch.no_grad():  # else σ is saturated at the start: logits would have a deviation of about 5
                image_decoder.logits.weight.mul_(0.1)
            self.encoder = nn.Sequential(image_encoder, identity(config.code_dim, self.width))
            self.decoder = nn.Sequential(identity(self.width, config.code_dim), image_decoder)

    def encode(self, patterns: Tensor) -> Tensor:
        """Codes (episodes, items, width) of patterns (episodes, items, *shape) in [0, 1]."""
        # ±1: the overlap of random bits is then 0
        codes = self.encoder(2 * (patterns.flatten(0, 1) - self.mean_pattern))
        return codes.unflatten(0, patterns.shape[:2])

    def spread(self, patterns: Tensor) -> Tensor:
        """Squared distances (episodes, items) of patterns to the mean pattern, which learns to be their mean by it."""
        return (patterns - self.mean_pattern).flatten(2).square().sum(2)

    def logits(self, codes: Tensor) -> Tensor:
        """Logits (episodes, items, *shape) of patterns from codes (episodes, items, width)."""
        return self.decoder(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])


class AutoencoderMemory(AssociativeMemory):
    """Base class of memories of codes: encoder and decoder `coders`, looking at queries, and a loss of the coders."""

    def __init__(self, spec: PatternSpec, width: int | None, config: CodersConfig) -> None:
        super().__init__()
        self.shape, self.coders = spec.shape, Coders(spec.shape, width, config)

    def after_memory(self, codes: Tensor) -> Tensor:
        """What would reach the decoder, for codes (episodes, items, width), if the memory lost nothing."""
        return codes

    def iterate(self, recall: Callable[[Tensor], Tensor], queries: Tensor, mask: Tensor | None, steps: int) -> Tensor:
        """A trajectory whose steps encode the last answer, recall codes from codes, and decode them.

        Values that the mask says are right are put back after each step, and do not enter in any other way.
        """
        codes, answered = self.look(queries, mask)
        trajectory: list[Tensor] = []
        for _ in range(steps):
            if trajectory:
                codes = self.coders.encode(trajectory[-1])
            trajectory.append(answered(recall(codes)).to(queries))
        return torch.stack(trajectory)

    def look(
        self, queries: Tensor, mask: Tensor | None, blank: bool = False
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The codes (episodes, items, width) of queries, and a function from recalled codes to answers.

        With `blank`, values that the mask says were corrupted enter as the mean pattern even where `Restoration` has no
        net; otherwise the mask then serves the answer alone. A mask of all values blanks none.
        """
        restoration = self.coders.restoration
        soft_mask = restoration.soft_mask(queries, mask)
        blanked = informative(mask, 2).to(queries) if blank and mask is not None else soft_mask
        seen = queries
        if blanked is not None:  # a learned mean pattern may leave [0, 1]
            seen = (queries + blanked * (self.coders.mean_pattern - queries)).clamp(0, 1)

        def answered(codes: Tensor) -> Tensor:
            completed = restoration.complete(self.coders.logits(codes), queries, soft_mask)
            return answer(completed.sigmoid(), queries, mask, soft_mask)

        return self.coders.encode(seen), answered

    def auxiliary_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy of patterns and what is decoded from their own codes, in nats, and `Restoration.loss`.

        Where the coders learn a mean pattern, `Coders.spread` is added. All is summed over the values of a pattern and
        averaged over items and episodes. Values between 0 and 1 count as probabilities: for them too the loss is least
        where the pattern itself is decoded, though not 0.
        """
        logits = self.coders.logits(self.after_memory(self.coders.encode(patterns)))
        loss = F.binary_cross_entropy_with_logits(logits, patterns, reduction="sum")
        if isinstance(self.coders.mean_pattern, nn.Parameter):
            loss = loss + self.coders.spread(patterns).sum()
        loss = loss / (patterns.shape[0] * patterns.shape[1])
        return loss + self.coders.restoration.loss(logits, patterns, queries, mask)


def near_identity(size_in: int, size_out: int, hidden: int, layers: int = 1, gain: float = 1.0) -> SkipPerceptron:
    """The map x ↦ gain · x, cut off or padded with zeros, plus a small perceptron; all is learned from there."""
    start = gain * torch.eye(size_out, size_in)
    return SkipPerceptron(start, hidden, spread=0.01, activation=torch.tanh, layers=layers)


def wave_coders(shape: Sequence[int], width: int, hidden: int, layers: int = 1) -> tuple[nn.Module, nn.Module]:
    """Coders of images as vectors: at first, a code is the image's cosine waves of lowest frequency.

    An image in ±1 that consists mostly of these waves has a code of mean square about 1, a photograph about 1/4.
    It is decoded to logits 2 x, x being the image in ±1 without higher frequencies: σ(2 x) is close to the image in
    [0, 1], and around middle grey rises as it does. A `width` above the number of values is padded with zeros.
    """
    size = math.prod(shape)
    waves = cosines(shape, width)
    scale = math.sqrt(waves.shape[1] / size)  # the squares of all waves of an image in ±1 sum to its number of values
    waves = F.pad(waves, (0, width - waves.shape[1]))
    encoder = SkipPerceptron(scale * waves.T, hidden, spread=0.01, activation=torch.tanh, layers=layers)
    decoder = SkipPerceptron(2 / scale * waves, hidden, spread=0.01, activation=torch.tanh, layers=layers)
    return nn.Sequential(nn.Flatten(1), encoder), nn.Sequential(decoder, nn.Unflatten(1, tuple(shape)))


def identity(size_in: int, size_out: int) -> nn.Linear:
    """A learned matrix without bias that starts as the identity, cut off or padded with zeros."""
    linear = nn.Linear(size_in, size_out, bias=False)
    nn.init.eye_(linear.weight)
    return linear
