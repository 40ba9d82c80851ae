"""The generative pseudo-inverse memory: patterns are written and read by least squares, in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.coders import AutoencoderMemory, CodeSettings
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class GenerativePseudoinverseConfig(CodeSettings):
    """Settings of `GenerativePseudoinverse`."""

    slots: int = setting(64, at_least=1)
    """Rows of the memory; the state has slots · width floats."""
    iterations: int = setting(0, at_least=0)
    """Steps of the iterative pseudo-inverse that takes the solver's place; 0: the solver."""
    steps: int = setting(5, at_least=1)
    """Read steps, each from the last one's answer."""


class GenerativePseudoinverse(AutoencoderMemory):
    """Generative pseudo-inverse memory (Pham et al. 2022), the memory of Larimar (Das et al. 2024).

    Codes Z of all patterns get addresses by a learned memory R0, and the memory solves for them:

        W0 = Z R0⁺,   M = W0⁺ Z;   reading: w = z M⁺, z' = w M.

    The papers' noise on addresses is omitted. While there are no more patterns than rows, codes are read back
    exactly: z' is the projection on their span. Reading repeats encoding, projection and decoding.

    State: `memory` M (episodes, rows, width).
    """

    config = GenerativePseudoinverseConfig
    citation = (
        "K. Pham, H. Le, M. Ngo, T. Tran, B. Ho and S. Venkatesh, Generative Pseudo-Inverse Memory, ICLR 2022;"
        " P. Das et al., Larimar: Large Language Models with Episodic Memory Control, ICML 2024, arXiv:2403.11901"
    )
    order_invariant = True

    def __init__(
        self, spec: PatternSpec, config: GenerativePseudoinverseConfig = GenerativePseudoinverseConfig()
    ) -> None:
        super().__init__(spec, config.width, config.coders)
        self.iterations, self.steps = config.iterations, config.steps
        self.prior = nn.Parameter(nn.init.trunc_normal_(torch.empty(config.slots, self.coders.width)))  # R0

    def initial_state(self, episodes: int) -> State:
        """R0, from which addresses are made."""
        return {"memory": self.prior.expand(episodes, -1, -1)}

    def write(self, patterns: Tensor) -> State:
        """Solves for the memory that holds all patterns."""
        codes = self.coders.encode(patterns).double()
        memory = self.inverse(codes @ self.inverse(self.prior)) @ codes
        return {"memory": memory.to(self.prior)}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Reads `steps` times, each time with the last answer as the query."""
        memory = state["memory"].double()
        inverse = self.inverse(memory)
        return self.iterate(lambda codes: (codes.double() @ inverse @ memory).to(codes), queries, mask, self.steps)

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """Half the squared distance of a code from what is read for it, (episodes, items); 0 for a stored code."""
        memory, codes = state["memory"].double(), self.coders.encode(patterns).double()
        missed = codes - codes @ self.inverse(memory) @ memory
        return (missed.square().sum(-1) / 2).to(self.prior)

    def inverse(self, matrix: Tensor) -> Tensor:
        """The pseudo-inverse (..., b, a) of matrices (..., a, b), by the solver or by iteration; in float64."""
        if self.iterations:
            return iterative_pseudo_inverse(matrix.double(), self.iterations)
        # With fewer patterns than rows M has a smaller rank; the rest is rounding errors of the state's dtype.
        cutoff = min(0.1, 4 * max(matrix.shape[-2:]) * torch.finfo(self.prior.dtype).eps)
        return torch.linalg.pinv(matrix.double(), rtol=cutoff)


def iterative_pseudo_inverse(matrix: Tensor, iterations: int) -> Tensor:
    """Pseudo-inverses (..., b, a) of X (..., a, b), by A ← 2 A - A X A from A = X'/|X|² (Ben-Israel and Cohen 1966).

    A singular value s of X becomes (1 - (1 - s²/|X|²)^(2^iterations)) / s, instead of 1/s.
    """
    # Larimar starts from 0.0005 X', which three steps bring nowhere; with |X|² no singular value diverges.
    scale = matrix.square().sum((-2, -1), keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
    inverse = matrix.mT / scale
    for _ in range(iterations):
        inverse = 2 * inverse - inverse @ matrix @ inverse
    return inverse
