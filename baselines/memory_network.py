"""Memory network: one slot for each pattern, read by several hops of soft attention.

    memory = MemoryNetwork((128,))
    state = memory.write(patterns)              # patterns: (episodes, items, 128), values in [0, 1]
    recalled = memory.read(state, queries)[-1]  # exact, untrained, while items <= slots

Encoder, decoder and attention are meta-trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

from baselines.coders import Autoencoded, Coders, CodersConfig, identity
from baselines.slots import SlotMemory
from lightning_ebm.memory import PatternSpec, State, keep_known


@dataclass
class MemoryNetworkConfig:
    """Settings of `MemoryNetwork`.

    Attributes:
        slots: patterns that there is room for.
        overwrite: what happens to one more: it takes the place of the oldest (oldest), or it is kept, in the place
            of any, with the probability that makes all patterns so far equally likely to stay (reservoir).
        width: size of a slot; the state has slots · width floats. None: the size of a vector pattern, or
            `coders.code` for images.
        hops: attention steps of one reading.
        sharpness: the inverse temperature of attention at the start of training, for scores between -1 and 1.
        coders: sizes of encoder and decoder.
    """

    slots: int = 64
    overwrite: str = "oldest"
    width: int | None = None
    hops: int = 3
    sharpness: float = 12.0
    coders: CodersConfig = field(default_factory=CodersConfig)


class MemoryNetwork(Autoencoded, SlotMemory):
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

    State: as of `SlotMemory`, with rows of `width` values.

    Args:
        shape: shape of one pattern: (size,) or (channels, height, width).
        slots: as in `MemoryNetworkConfig`.
        width: as in `MemoryNetworkConfig`.
        hops: as in `MemoryNetworkConfig`.
        sharpness: as in `MemoryNetworkConfig`.
        coders: as in `MemoryNetworkConfig`.
        overwrite: as in `MemoryNetworkConfig`.

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

    def __init__(
        self,
        shape: Sequence[int],
        slots: int = 64,
        width: int | None = None,
        hops: int = 3,
        sharpness: float = 12.0,
        coders: CodersConfig | None = None,
        overwrite: str = "oldest",
    ) -> None:
        for name, value in {"slots": slots, "hops": hops}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not (sharpness > 0 and math.isfinite(sharpness)):
            raise ValueError(f"sharpness must be above 0 and finite, got {sharpness}")
        shared = Coders(shape, width, coders)
        width = shared.width
        super().__init__(shape, slots, width, overwrite)
        self.coders, self.hops = shared, hops
        self.to_key, self.to_value, self.to_query = (identity(width, width) for _ in range(3))  # A, C and B
        self.carry = identity(width, width) if hops > 1 else nn.Identity()  # H
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))

    @classmethod
    def from_config(cls, config: MemoryNetworkConfig, spec: PatternSpec) -> Self:
        """Builds the network for patterns of `spec`; see the base class."""
        settings = (config.slots, config.width, config.hops, config.sharpness, config.coders, config.overwrite)
        return cls(spec.shape, *settings)

    def rows(self, patterns: Tensor, what: str = "patterns") -> Tensor:
        """Their codes; see the base class."""
        return self.coders.encode(patterns, what)

    def as_recalled(self, codes: Tensor) -> Tensor:
        """Values C c of the slots; see `Autoencoded`."""
        return self.to_value(codes)

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attends to the slots `hops` times; see the base class. The mask is used on the answer alone.

        Returns:
            (1, episodes, items, *shape): the answer; what lies between the hops is no pattern.
        """
        u = self.to_query(self.coders.encode(queries, "queries"))
        slots = state["slots"].to(u)
        keys, values = self.to_key(slots), self.to_value(slots)
        filled = self.filled(state)
        beta = self.log_sharpness.exp() / self.coders.overlap
        recalled = torch.zeros_like(u)
        for hop in range(self.hops):
            if hop:
                u = self.carry(u) + recalled
            scores = beta * u @ keys.mT
            scores = scores.masked_fill(~filled, torch.finfo(scores.dtype).min)
            attention = scores.softmax(-1) * filled  # all zero where nothing was written
            recalled = attention @ values
        answer = self.coders.decode((u + recalled) / (self.hops + 1))
        return keep_known(answer, queries, mask)[None]
