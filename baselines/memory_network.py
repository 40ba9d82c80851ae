"""Memory network: one slot for each pattern, read by several hops of meta-trained soft attention."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.coders import AutoencoderMemory, Coders, CodeSettings, identity
from baselines.slots import SlotMemory
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class MemoryNetworkConfig(CodeSettings):
    """Settings of `MemoryNetwork`; the state has slots · width floats."""

    slots: int = setting(64, at_least=1)
    """Patterns that there is room for."""
    overwrite: str = setting("oldest", one_of=("oldest", "reservoir"))
    """What happens to one more: it takes the place of the oldest (oldest), or it is kept, in the place of any, with the
    probability that makes all patterns so far equally likely to stay (reservoir)."""
    hops: int = setting(3, at_least=1)
    """Attention steps of one reading."""
    sharpness: float = setting(12.0, above=0, below=math.inf)
    """The inverse temperature of attention at the start of training, for scores between -1 and 1."""


class MemoryNetwork(AutoencoderMemory, SlotMemory):
    """Key-value memory with one slot c = enc(x) for each pattern x.

    Reading starts with u = B enc(query), and each of K hops computes

        p = softmax(β · (A c)'u),   o = Σ_i p_i · C c_i,   u ← H u + o,

    the last one without H: answer = σ(dec((u + o) / (K + 1))). This is the end-to-end memory network
    (Sukhbaatar et al. 2015, section 2) with keys A c and values C c made from one slot (Miller et al. 2016,
    section 3.1). Time embeddings are omitted, because patterns form a set. β is new: sharp attention from the
    first update on takes the place of a start without the softmax. All matrices start as the identity, and vector
    patterns pass through coders that start close to it. So it is a soft nearest neighbour before any training.

    State: as of `SlotMemory`, with rows of `width` values.
    """

    config = MemoryNetworkConfig
    citation = (
        "J. Weston, S. Chopra and A. Bordes, Memory Networks, arXiv:1410.3916, 2014; S. Sukhbaatar, A. Szlam,"
        " J. Weston and R. Fergus, End-To-End Memory Networks, NeurIPS 2015, arXiv:1503.08895; A. Miller et"
        " al., Key-Value Memory Networks for Directly Reading Documents, EMNLP 2016, arXiv:1606.03126"
    )

    def __init__(self, spec: PatternSpec, config: MemoryNetworkConfig = MemoryNetworkConfig()) -> None:
        coders = Coders(spec.shape, config.width, config.coders)
        width = coders.width
        SlotMemory.__init__(self, spec, config.slots, width, config.overwrite)
        self.coders, self.hops = coders, config.hops
        self.to_key, self.to_value, self.to_query = (identity(width, width) for _ in range(3))  # A, C and B
        self.carry = identity(width, width) if self.hops > 1 else nn.Identity()  # H
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(config.sharpness)))

    def rows(self, patterns: Tensor) -> Tensor:
        """Codes."""
        return self.coders.encode(patterns)

    def after_memory(self, codes: Tensor) -> Tensor:
        """Values C c of the slots."""
        return self.to_value(codes)

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attends to the slots `hops` times."""
        codes, answered = self.look(queries, mask)
        u = self.to_query(codes)
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
        return answered((u + recalled) / (self.hops + 1))[None]
