"""The generative pseudo-inverse memory: patterns are written and read by least squares, in closed form.

    memory = GenerativePseudoinverse((128,))
    state = memory.write(patterns)              # patterns: (episodes, items, 128), values in [0, 1]
    recalled = memory.read(state, queries)[-1]  # codes are exact while items <= rows

Encoder, decoder and the memory that addresses are made from are meta-trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

from baselines.coders import Autoencoded, Coders, CodersConfig
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, keep_known


@dataclass
class GenerativePseudoinverseConfig:
    """Settings of `GenerativePseudoinverse`.

    Attributes:
        rows: rows of the memory; the state has rows · width floats.
        width: size of a code. None: the size of a vector pattern, or `coders.code` for images.
        iterations: steps of the iterative pseudo-inverse that takes the solver's place; 0: the solver.
        steps: read steps, each from the last one's answer.
        coders: sizes of encoder and decoder.
    """

    rows: int = 64
    width: int | None = None
    iterations: int = 0
    steps: int = 5
    coders: CodersConfig = field(default_factory=CodersConfig)


class GenerativePseudoinverse(Autoencoded, AssociativeMemory):
    """Generative pseudo-inverse memory (Pham et al. 2022), the memory of Larimar (Das et al. 2024).

    Codes Z of all patterns get addresses by a learned memory R0, and the memory solves for them:

        W0 = Z R0⁺,   M = W0⁺ Z;   reading: w = z M⁺, z' = w M.

    The papers' noise of addresses is left out. While there are no more patterns than rows, codes are read back
    exactly: z' is the projection on their span. Reading repeats encoding, projection and decoding.

    State: `memory` M (episodes, rows, width).

    Args:
        shape: shape of one pattern: (size,) or (channels, height, width).
        rows: as in `GenerativePseudoinverseConfig`.
        width: as in `GenerativePseudoinverseConfig`.
        iterations: as in `GenerativePseudoinverseConfig`.
        steps: as in `GenerativePseudoinverseConfig`.
        coders: as in `GenerativePseudoinverseConfig`.

    Raises:
        ValueError: if a setting is out of range, or the coders do not suit the patterns.
    """

    config = GenerativePseudoinverseConfig
    citation = (
        "K. Pham, H. Le, M. Ngo, T. Tran, B. Ho and S. Venkatesh, Generative Pseudo-Inverse Memory, ICLR 2022;"
        " P. Das et al., Larimar: Large Language Models with Episodic Memory Control, ICML 2024, arXiv:2403.11901"
    )
    order_invariant = True

    def __init__(
        self,
        shape: Sequence[int],
        rows: int = 64,
        width: int | None = None,
        iterations: int = 0,
        steps: int = 5,
        coders: CodersConfig | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("rows", rows, 1), ("iterations", iterations, 0), ("steps", steps, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.coders = Coders(shape, width, coders)
        self.iterations, self.steps = iterations, steps
        self.prior = nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, self.coders.width)))  # R0

    @classmethod
    def from_config(cls, config: GenerativePseudoinverseConfig, spec: PatternSpec) -> Self:
        """Builds the memory for patterns of `spec`; see the base class."""
        return cls(spec.shape, config.rows, config.width, config.iterations, config.steps, config.coders)

    def initial_state(self, episodes: int) -> State:
        """R0, from which addresses are made."""
        return {"memory": self.prior.expand(episodes, -1, -1)}

    def write(self, patterns: Tensor) -> State:
        """Solves for the memory that holds all patterns; see the base class."""
        codes = self.coders.encode(patterns, "patterns").double()
        memory = self.inverse(codes @ self.inverse(self.prior)) @ codes
        return {"memory": memory.to(self.prior)}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Reads `steps` times, each time with the last answer as the query; see the base class.

        Values that the mask says are right are put back after each step, and used in no other way.
        """
        memory = state["memory"].double()
        inverse = self.inverse(memory)
        answer, trajectory = queries, []
        for _ in range(self.steps):
            codes = self.coders.encode(answer, "queries")
            recalled = (codes.double() @ inverse @ memory).to(codes)
            answer = keep_known(self.coders.decode(recalled), queries, mask).to(queries)
            trajectory.append(answer)
        return torch.stack(trajectory)

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """Half the squared distance of a code from what is read for it, (episodes, items); 0 for a stored code."""
        memory = state["memory"].double()
        codes = self.coders.encode(patterns, "patterns")
        missed = codes.double() - codes.double() @ self.inverse(memory) @ memory
        return (missed.square().sum(-1) / 2).to(codes)

    def inverse(self, matrix: Tensor) -> Tensor:
        """The pseudo-inverse (..., b, a) of matrices (..., a, b), by the solver or by iteration; in float64."""
        if self.iterations:
            return iterative_pseudo_inverse(matrix.double(), self.iterations)
        # With fewer patterns than rows M has a smaller rank; the rest is rounding errors of the state's dtype.
        cutoff = min(0.1, 4 * max(matrix.shape[-2:]) * torch.finfo(self.prior.dtype).eps)
        return torch.linalg.pinv(matrix.double(), rtol=cutoff)


def iterative_pseudo_inverse(matrix: Tensor, iterations: int) -> Tensor:
    """Pseudo-inverses by A ← 2 A - A X A from A = X'/|X|² (Ben-Israel and Cohen 1966).

    A singular value s of X becomes (1 - (1 - s²/|X|²)^(2^iterations)) / s, instead of 1/s.

    Args:
        matrix: X, (..., a, b).
        iterations: steps, of two matrix products each.

    Returns:
        (..., b, a).
    """
    # Larimar starts from 0.0005 X', which three steps bring nowhere; with |X|² no singular value diverges.
    scale = matrix.square().sum((-2, -1), keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
    inverse = matrix.mT / scale
    for _ in range(iterations):
        inverse = 2 * inverse - inverse @ matrix @ inverse
    return inverse
