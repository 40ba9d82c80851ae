"""No memory, a bound: a denoising network that never sees the patterns of the episode."""

from torch import Tensor

from baselines.coders import AutoencoderMemory, CodeSettings
from lightning_ebm.memory import PatternSpec, State


class NoMemory(AutoencoderMemory):
    """A denoising autoencoder (Vincent et al. 2008): answer = σ(dec(enc(query))).

    It knows what patterns look like in general and nothing of an episode: what a memory with the same coders recalls
    beyond it, it has from its state. For random bits nothing is better than the query.

    State: none, 0 floats.
    """

    config = CodeSettings
    citation = (
        "P. Vincent, H. Larochelle, Y. Bengio and P.-A. Manzagol, Extracting and Composing Robust Features with"
        " Denoising Autoencoders, ICML 2008"
    )
    order_invariant = True

    def __init__(self, spec: PatternSpec, config: CodeSettings = CodeSettings()) -> None:
        super().__init__(spec, config.width, config.coders)

    def initial_state(self, episodes: int) -> State:
        """Nothing."""
        return {}

    def write(self, patterns: Tensor) -> State:
        """Checks the patterns and keeps nothing."""
        return {}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Completes the queries."""
        return self.iterate(lambda codes: codes, queries, mask, 1)
