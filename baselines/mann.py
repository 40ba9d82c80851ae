"""Memory-augmented neural network: an LSTM controller that writes to the least recently used slot."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.coders import AutoencoderMemory, CodeSettings, identity
from baselines.lstm import LSTMCell, flagged
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.settings import setting

GATE = -4.0
"""Logit, at the start of training, of writing to the slot that was read last instead of to the least used one."""


@dataclass(frozen=True)
class MANNConfig(CodeSettings):
    """Settings of `MANN`."""

    slots: int = setting(64, at_least=1)
    """Rows of the memory matrix."""
    hidden: int = setting(32, at_least=1)
    """Size H of the controller's hidden state and cell; literature counts slots · width + 2 · H floats."""
    decay: float = setting(0.95, at_least=0, at_most=1)
    """What is left of a slot's usage after a step."""
    sharpness: float = setting(24.0, above=0, below=math.inf)
    """Factor of the cosines in the softmax of reading, at the start of training."""


class MANN(AutoencoderMemory):
    """Slots M, written by least recently used access and read by content (Santoro et al. 2016, section 3).

    A step with the code x of a pattern passes [x, flag, r] to an LSTM, r being the vector read last, and from
    its hidden state h come

        key k = tanh(A x + K h),   vector to add a = tanh(C x + V h),   gate g = σ(w'h + b).

    With read weights p and the one-hot l of the slot of smallest usage u, both of the step before, it writes,
    and then reads what it has written:

        q = g p + (1 - g) l,   M ← (1 - l) M + q a',   p = softmax(β cos(k, M)),   r = M'p,   u ← γ u + p + q.

    A query is one such step from the written state that does not write; the answer is σ(dec(O r + P h + Q x)).

    It differs from the paper in this: there is one head; β is learned (a softmax of bare cosines over many
    slots is nearly flat); what is added has a net of its own; and x takes part in k, a and the answer directly,
    for a small h cannot carry it: without Q, a pattern that was overwritten could only be answered by another one.
    A, C and O start as the identity, K, V and P small, and Q at zero. So, as in the memory network, it is a soft
    nearest neighbour before any training. No gradient passes through the usage.

    State: `memory` (episodes, slots, width), `usage` and `read_weights` (episodes, slots), `hidden` and `cell`
    (episodes, H). The literature counts memory, hidden and cell; r is M'p and needs no room.
    """

    config = MANNConfig
    citation = (
        "A. Santoro, S. Bartunov, M. Botvinick, D. Wierstra and T. Lillicrap, Meta-Learning with"
        " Memory-Augmented Neural Networks, ICML 2016, arXiv:1605.06065"
    )
    bookkeeping = frozenset({"usage", "read_weights"})

    def __init__(self, spec: PatternSpec, config: MANNConfig = MANNConfig()) -> None:
        super().__init__(spec, config.width, config.coders)
        self.slots, self.hidden, self.decay = config.slots, config.hidden, config.decay
        self.width = width = self.coders.width
        hidden = config.hidden
        self.controller = LSTMCell(width + 1, hidden)
        self.feedback = nn.Linear(width, 4 * hidden, bias=False)  # from r to the gates of the controller
        self.code_to_key, self.code_to_add, self.read_to_output = (identity(width, width) for _ in range(3))  # A, C, O
        # K, V, P: small, but at zero the controller would get no gradient
        self.hidden_to_key, self.hidden_to_add, self.hidden_to_output = (small(hidden, width) for _ in range(3))
        self.hidden_to_gate = small(hidden, 1)  # w and b
        nn.init.constant_(self.hidden_to_gate.bias, GATE)
        self.code_to_output = nn.Linear(width, width, bias=False)  # Q
        nn.init.zeros_(self.code_to_output.weight)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(config.sharpness)))

    def initial_state(self, episodes: int) -> State:
        """Zeros everywhere."""
        zeros = self.log_sharpness.new_zeros
        return {
            "memory": zeros(episodes, self.slots, self.width),
            "usage": zeros(episodes, self.slots),
            "read_weights": zeros(episodes, self.slots),
            "hidden": zeros(episodes, self.hidden),
            "cell": zeros(episodes, self.hidden),
        }

    def update(self, state: State, patterns: Tensor) -> State:
        """Continues from a state with more patterns."""
        codes = self.coders.encode(patterns)
        memory, usage, read_weights, hidden, cell = (
            state[name].to(codes) for name in ("memory", "usage", "read_weights", "hidden", "cell")
        )
        recalled = mix(read_weights, memory)
        driven = self.controller.inputs(flagged(codes, 1.0))
        keys, adds = self.code_to_key(codes), self.code_to_add(codes)
        for step, key, add in zip(driven.unbind(1), keys.unbind(1), adds.unbind(1), strict=True):
            hidden, cell = self.controller(step + self.feedback(recalled), hidden, cell)
            key, add = (key + self.hidden_to_key(hidden)).tanh(), (add + self.hidden_to_add(hidden)).tanh()
            gate = self.hidden_to_gate(hidden).sigmoid()

            least = F.one_hot(usage.argmin(-1), self.slots).to(codes)
            write_weights = gate * read_weights + (1 - gate) * least
            memory = torch.baddbmm(memory * (1 - least)[:, :, None], write_weights[:, :, None], add[:, None])
            read_weights = self.address(key[:, None], memory)[:, 0]
            recalled = mix(read_weights, memory)
            usage = self.decay * usage + (read_weights + write_weights).detach()
        return {"memory": memory, "usage": usage, "read_weights": read_weights, "hidden": hidden, "cell": cell}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """One step without writing for each query."""
        codes, answered = self.look(queries, mask)
        memory, read_weights, hidden, cell = (
            state[name].to(codes) for name in ("memory", "read_weights", "hidden", "cell")
        )
        driven = self.controller.inputs(flagged(codes, -1.0)) + self.feedback(mix(read_weights, memory))[:, None]
        after, _ = self.controller(driven, hidden[:, None], cell[:, None])
        keys = (self.code_to_key(codes) + self.hidden_to_key(after)).tanh()
        recalled = self.address(keys, memory) @ memory
        output = self.read_to_output(recalled) + self.hidden_to_output(after) + self.code_to_output(codes)
        return answered(output)[None]

    def after_memory(self, codes: Tensor) -> Tensor:
        """O tanh(C x), from a slot with one pattern, without what the controller adds."""
        return self.read_to_output(self.code_to_add(codes).tanh())

    def address(self, keys: Tensor, memory: Tensor) -> Tensor:
        """Read weights (episodes, items, slots) of keys (episodes, items, width): sharpened softmax of cosines."""
        directions = keys / norm(keys)
        cosines = directions @ memory.mT / norm(memory).mT
        return (self.log_sharpness.exp() * cosines).softmax(-1)


def mix(weights: Tensor, memory: Tensor) -> Tensor:
    """The rows of memory (episodes, slots, width) weighted by (episodes, slots): (episodes, width)."""
    return (weights[:, None] @ memory)[:, 0]


def norm(rows: Tensor) -> Tensor:
    """Lengths (..., 1) of rows (..., width), with an ε under the root, for empty slots are zero."""
    return (rows.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def small(size_in: int, size_out: int) -> nn.Linear:
    """A linear map that starts close to zero."""
    linear = nn.Linear(size_in, size_out)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear
