"""GradMem: memory vectors, written by gradient steps on how well a small transformer reconstructs the patterns."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn import functional as F

from baselines.coders import AutoencoderMemory, CodeSettings, identity, near_identity
from lightning_ebm.memory import Keep, PatternSpec, State, as_is, reading_error
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class GradMemConfig(CodeSettings):
    """Settings of `GradMem`; the state has vectors · width floats."""

    vectors: int = setting(64, at_least=1)
    """Memory vectors m."""
    blocks: int = setting(1, at_least=1)
    """Blocks of attention and perceptron that a query passes."""
    hidden: int = setting(64, at_least=1)
    """Units of a block's perceptron."""
    parts: int = setting(2, at_least=2)
    """Parts of a pattern, each of which is reconstructed from the others when writing."""
    steps: int = setting(5, at_least=1)
    """Gradient steps of one writing."""
    rate: float = setting(0.3, above=0, below=math.inf)
    """Step size at the start of training."""
    sharpness: float = setting(12.0, above=0, below=math.inf)
    """Inverse temperature of attention at the start of training, for cosines."""
    every_step: bool = True
    """Whether meta-training also reads what each gradient step but the last has written."""


class GradMem(AutoencoderMemory):
    """Memory vectors M that are fitted to the patterns by gradient descent through a net whose weights stay.

    A query with code u passes blocks of attention to the memory vectors and of a perceptron,

        u ← u + V Σ_j softmax_j(β cos(Q u, K M_j)) M_j,   u ← u + perceptron(u),   answer = σ(dec(u)).

    Writing takes `steps` steps M ← M − η_k ∇_M L from learned M, with the reconstruction loss (Kuratov et al. 2026)

        L = m / N Σ_i Σ_p CE(answer to pattern i without its part p, its part p),

    in nats. A text is reconstructed token by token, each from those before it; a pattern has no such order, so each
    part, blanked with the mean pattern, is reconstructed from all others (J. Besag, Statistical analysis of non-lattice
    data, The Statistician 24, 1975). The factor m / N is there because a vector gets the gradient of its share of the
    patterns. In the paper memory vectors are a language model's tokens and attend to each other in every layer; here
    they do not. Matrices start as the identity and perceptrons close to zero: before any training, a step moves the
    vector that a pattern's parts attend to towards that pattern.

    State: `memory` (episodes, m, width).
    """

    config = GradMemConfig
    citation = (
        "Y. Kuratov, M. Kairov, A. Bulatov, I. Rodkin and M. Burtsev, GradMem: Learning to Write Context into Memory"
        " with Test-Time Gradient Descent, ICML 2026, arXiv:2603.13875"
    )
    order_invariant = True
    views: Tensor

    def __init__(self, spec: PatternSpec, config: GradMemConfig = GradMemConfig()) -> None:
        super().__init__(spec, config.width, config.coders)
        width = self.coders.width
        if config.parts > spec.size:
            raise ValueError(f"memory.parts must be at most {spec.size}, the values of a pattern, got {config.parts}")
        part = (torch.arange(spec.size) * config.parts // spec.size).view(spec.shape)
        views = torch.stack([part == number for number in range(config.parts)])
        self.register_buffer("views", views[:, None], persistent=False)  # (parts, 1, *shape), True in a part
        self.every_step = config.every_step
        self.blocks = nn.ModuleList(Block(width, config.hidden, config.sharpness) for _ in range(config.blocks))
        self.initial = nn.Parameter(0.3 * torch.randn(config.vectors, width))
        self.rates = nn.Parameter(torch.full((config.steps,), config.rate))  # η

    def initial_state(self, episodes: int) -> State:
        """The learned M."""
        return {"memory": self.initial.expand(episodes, -1, -1)}

    def update(self, state: State, patterns: Tensor) -> State:
        """Fits a state to more patterns by the same steps, which may overwrite."""
        return self.written(state, patterns)[-1]

    def written(self, state: State, patterns: Tensor) -> list[State]:
        """The states after each gradient step from a state."""
        blanked = torch.where(self.views, self.coders.mean_pattern, patterns[:, None]).clamp(0, 1)
        codes = self.coders.encode(blanked.flatten(1, 2))  # of (episodes, parts · items, *shape)
        memory, states = state["memory"].to(codes), []
        slope = grad(self.lost)
        for rate in self.rates:
            memory = memory - rate * slope(memory, codes, patterns)
            states.append({"memory": memory})
        return states

    def lost(self, memory: Tensor, codes: Tensor, patterns: Tensor) -> Tensor:
        """L of the memory and of patterns whose parts are missing in codes (episodes, parts · items, width), summed."""
        logits = self.coders.logits(self.recall(memory, codes)).unflatten(1, (len(self.views), -1))
        nats = F.binary_cross_entropy_with_logits(logits, patterns[:, None].expand_as(logits), reduction="none")
        return memory.shape[1] / patterns.shape[1] * (nats * self.views).sum()

    def recall(self, memory: Tensor, codes: Tensor) -> Tensor:
        """What the decoder gets, for memory (episodes, m, width) and codes of queries (episodes, items, width)."""
        for block in self.blocks:
            codes = block(codes, memory)
        return codes

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Passes the queries through the blocks, with corrupted values, if they are known, blanked as in writing."""
        codes, answered = self.look(queries, mask, blank=True)
        return answered(self.recall(state["memory"].to(codes), codes))[None]

    def meta_loss(self, patterns: Tensor, queries: Tensor, mask: Tensor | None = None, keep: Keep = as_is) -> Tensor:
        """The error of reading, averaged over what each step has written, or of the last."""
        states = self.written(self.initial_state(len(patterns)), patterns)
        read = states if self.every_step else states[-1:]
        return torch.stack([reading_error(self.read(keep(state), queries, mask), patterns) for state in read]).mean()


class Block(nn.Module):
    """Attention of queries to memory vectors of the same `width`, and a perceptron; see `GradMem`."""

    def __init__(self, width: int, hidden: int, sharpness: float) -> None:
        super().__init__()
        self.to_query, self.to_key, self.to_value = (identity(width, width) for _ in range(3))  # Q, K and V
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
        self.perceptron = near_identity(width, width, hidden, gain=0.0)

    def forward(self, codes: Tensor, memory: Tensor) -> Tensor:
        """Codes (episodes, items, width) of queries that attended to memory (episodes, m, width)."""
        queries, keys = (F.normalize(x, dim=-1, eps=1e-6) for x in (self.to_query(codes), self.to_key(memory)))
        attention = (self.log_sharpness.exp() * queries @ keys.mT).softmax(-1)
        codes = codes + self.to_value(attention @ memory)
        return codes + self.perceptron(codes.flatten(0, 1)).view_as(codes)
