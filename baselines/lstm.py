"""LSTM: patterns are written one after another into the hidden state and the cell of a recurrent net."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.coders import AutoencoderMemory, CodeSettings
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.settings import setting


class LSTMCell(nn.Module):
    """The long short-term memory cell with a forget gate (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

        i, f, g, o = W x + U h + b,   c ← σ(f + 1) c + σ(i) tanh(g),   h ← σ(o) tanh(c)

    U starts with orthogonal blocks, one for each gate; if a `rank` is given, it is the product of two matrices.
    """

    def __init__(self, size_in: int, hidden: int, rank: int | None = None) -> None:
        super().__init__()
        self.inputs = nn.Linear(size_in, 4 * hidden)
        self.narrow = nn.Identity() if rank is None else nn.Linear(hidden, rank, bias=False)
        self.recurrent = nn.Linear(hidden if rank is None else rank, 4 * hidden, bias=False)
        nn.init.zeros_(self.inputs.bias)
        for matrix in (*self.recurrent.weight.chunk(4), *self.narrow.parameters()):
            nn.init.orthogonal_(matrix)

    def forward(self, driven: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """The next h and c, each (..., hidden), from these, which may broadcast, and `inputs(x)`, (..., 4 · hidden)."""
        enter, forget, candidate, leave = (driven + self.recurrent(self.narrow(hidden))).chunk(4, -1)
        cell = (forget + 1).sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        return leave.sigmoid() * cell.tanh(), cell


def flagged(codes: Tensor, flag: float) -> Tensor:
    """Codes (episodes, items, width) with one more column: +1 says that they are to be written, -1 to be read."""
    return torch.cat([codes, torch.full_like(codes[..., :1], flag)], -1)


@dataclass(frozen=True)
class LSTMConfig(CodeSettings):
    """Settings of `LSTM`."""

    hidden: int = setting(256, at_least=1)
    """Size H of hidden state and cell; the state has 2 · H floats."""
    rank: int | None = setting(None, at_least=1, at_most="hidden")
    """Rank of the recurrent matrix (4 · H, H), which is the product of two smaller ones; None: full."""


class LSTM(AutoencoderMemory):
    """A recurrent net whose hidden state and cell are the memory.

    Each pattern's code, with a flag for writing, is one step of the cell. Each query, with a flag for reading,
    is one step from the written state, and does not change it; the answer is decoded from h after that step.
    It is the weakest comparator of the EBMM paper (table 1): on random bits it errs by 30 of 128 for 16
    patterns, and by 64, which is chance, for 64. A low `rank` is what makes H = 4128, that is 8,256 floats, affordable:
    the full recurrent matrix has 68 million weights.

    State: `hidden` and `cell`, each (episodes, H).
    """

    config = LSTMConfig
    citation = (
        "S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997; F. Gers,"
        " J. Schmidhuber and F. Cummins, Learning to Forget: Continual Prediction with LSTM, Neural"
        " Computation 12(10), 2000"
    )

    def __init__(self, spec: PatternSpec, config: LSTMConfig = LSTMConfig()) -> None:
        super().__init__(spec, config.width, config.coders)
        self.hidden = config.hidden
        self.lstm = LSTMCell(self.coders.width + 1, config.hidden, config.rank)
        self.output = nn.Linear(config.hidden, self.coders.width)

    def initial_state(self, episodes: int) -> State:
        """Zeros."""
        zeros = self.output.weight.new_zeros(episodes, self.hidden)
        return {"hidden": zeros, "cell": zeros.clone()}

    def update(self, state: State, patterns: Tensor) -> State:
        """Continues from a state with more patterns."""
        driven = self.lstm.inputs(flagged(self.coders.encode(patterns), 1.0))
        hidden, cell = state["hidden"].to(driven), state["cell"].to(driven)
        for step in driven.unbind(1):
            hidden, cell = self.lstm(step, hidden, cell)
        return {"hidden": hidden, "cell": cell}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """One step from the written state for each query."""
        codes, answered = self.look(queries, mask)
        driven = self.lstm.inputs(flagged(codes, -1.0))
        hidden, cell = (state[name].to(driven)[:, None] for name in ("hidden", "cell"))
        hidden, _ = self.lstm(driven, hidden, cell)
        return answered(self.output(hidden))[None]
