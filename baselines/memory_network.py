"""Memory network: one slot for each pattern, read by several hops of soft attention.

    memory = MemoryNetwork((128,))
    state = memory.write(patterns)              # patterns: (episodes, items, 128), values in [0, 1]
    recalled = memory.read(state, queries)[-1]  # exact, untrained, while items <= slots

Encoder, decoder and attention are meta-trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

from lightning_ebm.layers import ImageDecoder, ImageEncoder, he_init
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, check_patterns, keep_known


@dataclass
class MemoryNetworkConfig:
    """Settings of `MemoryNetwork`; the defaults are for 32x32 images.

    Attributes:
        slots: patterns that there is room for; one more overwrites the oldest.
        width: size of a slot; the state has slots · width floats. None: the size of a vector pattern, or
            `code` for images.
        hops: attention steps of one reading.
        sharpness: the inverse temperature of attention at the start of training, for scores between -1 and 1.
        hidden: hidden units of the coders of vector patterns.
        channels: widths of the image encoder's ResBlocks; each halves the image.
        code: size of the image encoder's output.
    """

    slots: int = 64
    width: int | None = None
    hops: int = 3
    sharpness: float = 12.0
    hidden: int = 256
    channels: list[int] = field(default_factory=lambda: [32, 64, 96])
    code: int = 256


class MemoryNetwork(AssociativeMemory):
    """Key-value memory with one slot c = enc(x) for each pattern x.

    Reading starts with u = B enc(query), and each of K hops computes

        p = softmax(β · (A c)'u),   o = Σ_i p_i · C c_i,   u ← H u + o,

    the last one without H: answer = σ(dec((u + o) / (K + 1))). This is the end-to-end memory network
    (Sukhbaatar et al. 2015, section 2) with keys A c and values C c made from one slot (Miller et al. 2016,
    section 3.1). Time embeddings are left out, for patterns are a set. β is new: sharp attention from the
    first update on takes the place of a start without the softmax.

    All matrices start as the identity, and vector patterns pass through coders that start close to it. So it
    is a soft nearest neighbour before any training: from a query with half of its bits re-drawn, the right
    one of 64 random patterns leads the others by about 3 in the exponent.

    When all slots are full, the oldest pattern is overwritten. As long as that does not happen, the order of
    the patterns does not matter; hence `order_invariant`.

    State: `slots` (episodes, slots, width), and `written` (episodes), int64, the number of patterns written.

    Args:
        shape: shape of one pattern: (size,) or (channels, height, width).
        slots: as in `MemoryNetworkConfig`.
        width: as in `MemoryNetworkConfig`.
        hops: as in `MemoryNetworkConfig`.
        sharpness: as in `MemoryNetworkConfig`.
        hidden: as in `MemoryNetworkConfig`.
        channels: as in `MemoryNetworkConfig`.
        code: as in `MemoryNetworkConfig`.

    Raises:
        ValueError: if a setting is out of range, or the patterns are neither vectors nor images that can be
            halved as often as there are channels.
    """

    config = MemoryNetworkConfig
    citation = (
        "J. Weston, S. Chopra and A. Bordes, Memory Networks, arXiv:1410.3916, 2014; S. Sukhbaatar, A. Szlam,"
        " J. Weston and R. Fergus, End-To-End Memory Networks, NeurIPS 2015, arXiv:1503.08895; A. Miller et"
        " al., Key-Value Memory Networks for Directly Reading Documents, EMNLP 2016, arXiv:1606.03126"
    )
    order_invariant = True
    bookkeeping = frozenset({"written"})

    def __init__(
        self,
        shape: Sequence[int],
        slots: int = 64,
        width: int | None = None,
        hops: int = 3,
        sharpness: float = 12.0,
        hidden: int = 256,
        channels: Sequence[int] = (32, 64, 96),
        code: int = 256,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        if len(self.shape) not in (1, 3):
            raise ValueError(f"a memory_network stores vectors or images, not patterns of shape {self.shape}")
        size = self.shape[0] if len(self.shape) == 1 else code
        width = size if width is None else width
        counts = {"slots": slots, "hops": hops, "hidden": hidden, "code": code, "width": width}
        for name, value in (counts | {f"channels[{i}]": n for i, n in enumerate(channels)}).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not (sharpness > 0 and math.isfinite(sharpness)):
            raise ValueError(f"sharpness must be above 0 and finite, got {sharpness}")
        self.slots, self.width, self.hops = slots, width, hops
        self.overlap = min(width, size)  # largest product of two codes that start as ±1 in `size` places

        self.encoder: nn.Module
        self.decoder: nn.Module
        if len(self.shape) == 1:
            self.encoder = VectorCoder(size, width, hidden)
            self.decoder = VectorCoder(width, size, hidden, gain=6.0)  # σ(6) is 1 but for 0.0025
        else:
            try:
                image_encoder = ImageEncoder(self.shape, channels, code)
                image_decoder = ImageDecoder(self.shape, channels, code)
            except (ValueError, IndexError) as error:
                raise ValueError(f"channels={list(channels)} does not suit {self.shape}: {error}") from error
            he_init(image_encoder)
            he_init(image_decoder)
            with torch.no_grad():  # else σ is saturated at the start: logits would have a deviation of about 5
                image_decoder.logits.weight.mul_(0.1)
            self.encoder = nn.Sequential(image_encoder, identity(code, width))
            self.decoder = nn.Sequential(identity(width, code), image_decoder)

        self.to_key, self.to_value, self.to_query = (identity(width, width) for _ in range(3))  # A, C and B
        self.carry = identity(width, width) if hops > 1 else nn.Identity()  # H
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))

    @classmethod
    def from_config(cls, config: MemoryNetworkConfig, spec: PatternSpec) -> Self:
        """Builds the network for patterns of `spec`; see the base class."""
        return cls(spec.shape, **asdict(config))

    def initial_state(self, episodes: int) -> State:
        """Empty slots, which get no attention."""
        weight = self.to_key.weight
        return {
            "slots": weight.new_zeros(episodes, self.slots, self.width),
            "written": torch.zeros(episodes, dtype=torch.int64, device=weight.device),
        }

    def write(self, patterns: Tensor) -> State:
        """Writes the patterns into the first slots, one each; see the base class."""
        return self.update(self.initial_state(len(patterns)), patterns)

    def update(self, state: State, patterns: Tensor) -> State:
        """Writes patterns into the next slots, over the oldest ones if none is free; see the base class."""
        codes = self.encode(patterns, "patterns")
        turn = state["written"][:, None] + torch.arange(codes.shape[1], device=codes.device)
        # Of more patterns than slots only the last ones stay, so that no slot is written twice.
        codes, turn = codes[:, -self.slots :], turn[:, -self.slots :]
        index = (turn % self.slots)[:, :, None].expand_as(codes)
        return {
            "slots": state["slots"].scatter(1, index, codes.to(state["slots"])),
            "written": state["written"] + patterns.shape[1],
        }

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attends to the slots `hops` times; see the base class. The mask is used on the answer alone.

        Returns:
            (1, episodes, items, *shape): the answer; what lies between the hops is no pattern.
        """
        u = self.to_query(self.encode(queries, "queries"))
        slots = state["slots"].to(u)
        keys, values = self.to_key(slots), self.to_value(slots)
        filled = torch.arange(self.slots, device=u.device) < state["written"][:, None, None]
        beta = self.log_sharpness.exp() / self.overlap
        recalled = torch.zeros_like(u)
        for hop in range(self.hops):
            if hop:
                u = self.carry(u) + recalled
            scores = beta * u @ keys.mT
            scores = scores.masked_fill(~filled, torch.finfo(scores.dtype).min)
            attention = scores.softmax(-1) * filled  # all zero where nothing was written
            recalled = attention @ values
        logits = self.decoder(((u + recalled) / (self.hops + 1)).flatten(0, 1))
        return keep_known(logits.sigmoid().view(queries.shape), queries, mask)[None]

    def encode(self, patterns: Tensor, what: str) -> Tensor:
        """Codes (episodes, items, width) of patterns or queries (episodes, items, *shape) in [0, 1].

        Raises:
            ValueError: if they cannot be stored.
        """
        check_patterns(patterns, what, self.shape)
        codes = self.encoder(2 * patterns.flatten(0, 1) - 1)  # ±1: the overlap of random bits is then 0
        return codes.unflatten(0, patterns.shape[:2])


class VectorCoder(nn.Module):
    """x ↦ gain · x, plus a small two-layer perceptron; everything is learned from there.

    Args:
        size_in: size of the input.
        size_out: size of the output; the identity between different sizes cuts off, or pads with zeros.
        hidden: hidden units.
        gain: factor of the identity at the start.
    """

    def __init__(self, size_in: int, size_out: int, hidden: int, gain: float = 1.0) -> None:
        super().__init__()
        self.straight = nn.Linear(size_in, size_out)
        self.inner = nn.Linear(size_in, hidden)
        self.outer = nn.Linear(hidden, size_out, bias=False)  # `straight` has one
        with torch.no_grad():
            nn.init.eye_(self.straight.weight).mul_(gain)
            nn.init.zeros_(self.straight.bias)
            nn.init.normal_(self.outer.weight, std=0.01)  # small, but at zero `inner` would get no gradient

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, size_in); returns (items, size_out)."""
        return self.straight(x) + self.outer(torch.tanh(self.inner(x)))


def identity(size_in: int, size_out: int) -> nn.Linear:
    """A learned matrix without bias that starts as the identity, cut off or padded with zeros."""
    linear = nn.Linear(size_in, size_out, bias=False)
    nn.init.eye_(linear.weight)
    return linear
