"""The dense associative memory: a Hopfield network with a steeper energy, updated bit by bit; nothing is learned."""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.hopfield import settle, to_units
from baselines.slots import SlotMemory
from lightning_ebm.memory import PatternSpec, State, keep_known
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class DenseAssociativeMemoryConfig(Settings):
    """Settings of `DenseAssociativeMemory`."""

    function: str = setting("rectified", one_of=("rectified", "polynomial", "exponential"))
    """rectified, F(u) = max(u, 0)^n; polynomial, F(u) = u^n; or exponential, F(u) = exp(u)."""
    power: int = setting(3, at_least=2)
    """n; exponential has none."""
    slots: int | None = setting(None, at_least=1)
    """Patterns that there is room for; one more overwrites the oldest. None: the state grows."""


class DenseAssociativeMemory(SlotMemory):
    """Units s_i = ±1 with the energy E = -Σ_m F(x_m·s) of the stored patterns x_m (Krotov and Hopfield 2016, eq. 1).

    Each unit in turn takes the value of lower energy (eq. 3), and keeps its own on a tie,

        s_i ← sign(Σ_m F(x_mi + r_mi) - F(-x_mi + r_mi)),   r_mi = Σ_{j≠i} x_mj s_j.

    With the polynomial of n = 2 it is Hebb's network; the exponential is that of Demircigil et al. (2017).
    A value of at least 0.5 is +1, any other -1. With a mask, the known values are clamped.

    State: as of `SlotMemory`, with rows of d values.
    """

    config = DenseAssociativeMemoryConfig
    max_sweeps = 20  # updates of every unit after which reading ends at the latest
    citation = (
        "D. Krotov and J. J. Hopfield, Dense Associative Memory for Pattern Recognition, NeurIPS 2016,"
        " arXiv:1606.01164; M. Demircigil et al., On a Model of Associative Memory with Huge Storage Capacity,"
        " Journal of Statistical Physics 168, 2017"
    )

    def __init__(
        self, spec: PatternSpec, config: DenseAssociativeMemoryConfig = DenseAssociativeMemoryConfig()
    ) -> None:
        super().__init__(spec, config.slots, spec.size)
        self.function, self.power = config.function, config.power

    def rows(self, patterns: Tensor) -> Tensor:
        """Units ±1, flattened."""
        return to_units(patterns)

    @torch.no_grad()
    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Updates unit after unit until a sweep changes nothing, or for `max_sweeps`, and gives the last bits alone."""
        stored = self.stored(state)
        units = to_units(queries).to(stored)
        free = torch.ones_like(units, dtype=torch.bool) if mask is None else mask.flatten(2)
        units = settle(lambda units: self.sweep(stored, units, free), units, self.max_sweeps)
        answer = (units > 0).to(queries).reshape(queries.shape)
        return keep_known(answer, queries, mask)[None]

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """E = -Σ_m F(x_m·s / d) of the patterns as units; of exponential, -log Σ_m exp(x_m·s), for it may overflow.

        Empty slots of the state count as patterns of zeros.
        """
        stored = self.stored(state)
        overlaps = self.rows(patterns).to(stored) @ stored.mT
        if self.function == "exponential":
            return -overlaps.logsumexp(-1).to(patterns)
        return -self.steepen(overlaps / self.width).sum(-1).to(patterns)

    def stored(self, state: State) -> Tensor:
        """The stored patterns (episodes, slots, d) in float32 at least."""
        return state["slots"].to(torch.promote_types(state["slots"].dtype, torch.float32))

    def sweep(self, stored: Tensor, units: Tensor, free: Tensor) -> Tensor:
        """Updates all units (episodes, items, d), ±1, once, from the first to the last, but those that are not free.

        Empty slots of what is stored, (episodes, slots, d), are zero and have no say.
        """
        units, overlaps = units.clone(), units @ stored.mT  # (episodes, items, slots)
        for i in range(self.width):
            x = stored[:, None, :, i]
            rest = overlaps - x * units[:, :, i, None]
            up, down = rest + x, rest - x
            if self.function == "exponential":
                highest = torch.maximum(up, down).amax(-1, keepdim=True)
                up, down = (up - highest).exp(), (down - highest).exp()
            else:
                up, down = self.steepen(up / self.width), self.steepen(down / self.width)
            gain = (up - down).sum(-1)
            # Fields are often exactly zero but for rounding, and the unit then keeps its value.
            tie = 64 * torch.finfo(gain.dtype).eps * (up.abs() + down.abs()).sum(-1)
            new = torch.where(free[:, :, i] & (gain.abs() > tie), gain.sign(), units[:, :, i])
            overlaps = overlaps + x * (new - units[:, :, i])[:, :, None]
            units[:, :, i] = new
        return units

    def steepen(self, u: Tensor) -> Tensor:
        """F of overlaps u, a power."""
        return (u.clamp_min(0) if self.function == "rectified" else u) ** self.power
