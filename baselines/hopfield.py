"""The classical Hopfield network with its learning rules: what a memory of d(d-1)/2 weights can do unlearned."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, keep_known
from lightning_ebm.settings import Settings, setting


def hebb(weights: Tensor, patterns: Tensor) -> Tensor:
    """W += Σ x x' / d (Hopfield 1982, eq. 2)."""
    return weights + patterns.mT @ patterns / patterns.shape[-1]


def storkey(weights: Tensor, patterns: Tensor) -> Tensor:
    """W += (x x' - x h' - h x') / d with h = W x, pattern by pattern, the diagonal zeroed after each.

    This simplified form leaves the terms of units i and j in the local field h. Its errors, not those of the
    exact form, agree with the row "Hopfield (Storkey)" in table 1 of the EBMM paper (arXiv:1910.02720).
    """
    for x in patterns.unbind(1):
        crossed = outer(x, torch.einsum("eij,ej->ei", weights, x))
        weights = without_diagonal(weights + (outer(x, x) - crossed - crossed.mT) / x.shape[-1])
    return weights


def storkey_exact(weights: Tensor, patterns: Tensor, second_order: bool = False) -> Tensor:
    """W_ij += (x_i x_j - x_i h_ji - h_ij x_j) / d with h_ij = Σ_{k≠i,j} W_ik x_k (Storkey 1997).

    The second-order rule adds h_ij h_ji / d. Its weights grow beyond bounds above 0.7 d patterns.
    """
    for x in patterns.unbind(1):
        field = torch.einsum("eij,ej->ei", weights, x)  # k ≠ i, because the diagonal is zero
        local = field[:, :, None] - weights * x[:, None, :]  # and k ≠ j
        crossed = local * x[:, None, :]
        change = outer(x, x) - crossed - crossed.mT
        if second_order:
            change = change + local * local.mT
        weights = without_diagonal(weights + change / x.shape[-1])
    return weights


def pseudo_inverse(weights: Tensor, patterns: Tensor) -> Tensor:
    """W = X⁺ X, the projection on the span of the patterns, whatever the old weights (Personnaz et al. 1986).

    Computed as V V' from X = U S V', which stays exact where X is nearly singular (near-duplicate images), and
    in float64, without singular values that are rounding errors, so that repeated or dependent patterns do no harm.
    """
    _, values, basis = torch.linalg.svd(patterns.double(), full_matrices=False)
    basis = basis * (values > 1e-10 * values.amax(-1, keepdim=True))[:, :, None]
    return (basis.mT @ basis).to(weights)


RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hebb": hebb,
    "storkey": storkey,
    "storkey_exact": storkey_exact,
    "storkey_second_order": partial(storkey_exact, second_order=True),
    "pseudo_inverse": pseudo_inverse,
}
"""From weights (episodes, d, d) and patterns (episodes, items, d), ±1 or centred, to the new weights."""


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Outer products (episodes, d, d) of vectors (episodes, d)."""
    return a[:, :, None] * b[:, None, :]


def without_diagonal(weights: Tensor) -> Tensor:
    """(episodes, d, d) with zeros on the diagonal."""
    return weights - torch.diag_embed(weights.diagonal(dim1=1, dim2=2))


def above_diagonal(matrix: Tensor) -> Tensor:
    """The values (episodes, d (d - 1) / 2) above the diagonal of matrices (episodes, d, d), row by row."""
    i, j = torch.triu_indices(matrix.shape[1], matrix.shape[1], 1, device=matrix.device)
    return matrix[:, i, j]


def symmetric(upper: Tensor, size: int) -> Tensor:
    """Symmetric matrices (episodes, d, d) without a diagonal, from what `above_diagonal` gives."""
    i, j = torch.triu_indices(size, size, 1, device=upper.device)
    matrix = upper.new_zeros(len(upper), size, size)
    matrix[:, i, j] = upper
    return matrix + matrix.mT


def settle(sweep: Callable[[Tensor], Tensor], units: Tensor, most: int) -> Tensor:
    """The units after sweeps until one changes nothing, or after `most` sweeps."""
    for _ in range(most):
        before, units = units, sweep(units)
        if torch.equal(units, before):
            break
    return units


def to_units(values: Tensor) -> Tensor:
    """Units (episodes, items, d), +1 where a value is at least 0.5 and -1 elsewhere."""
    return torch.where(values.flatten(2) >= 0.5, 1.0, -1.0).to(values)


@dataclass(frozen=True)
class HopfieldConfig(Settings):
    """Settings of `Hopfield`."""

    rule: str = setting("hebb", one_of=tuple(RULES))
    """Learning rule: hebb, storkey (simplified), storkey_exact, storkey_second_order or pseudo_inverse."""
    center: bool = False
    """Subtract the episode's mean pattern before learning; for biased patterns, such as images."""


class Hopfield(AssociativeMemory):
    """Hopfield network: symmetric weights without a diagonal, read by running its dynamics from the query.

    Its units are ±1: in patterns and in queries, a value of at least 0.5 is +1, any other -1.

    With a mask, the known values are clamped while the others are updated. This is the protocol that gives
    the Hopfield rows of table 1 in the EBMM paper. Without a mask errors are far larger.

    With `center`, the rule sees x - μ, where μ is the episode's mean pattern, and the field is that of the
    affine model x ≈ μ + W (x - μ). So the thresholds are b = μ - W μ, with the diagonal still in W: units
    that never vary are held at their value, and the pseudo-inverse keeps each pattern a fixed point. (The
    covariance rule of Amit, Gutfreund and Sompolinsky, 1987, has b = -W μ, which lets go of units that
    hardly vary.)

    State: `weights` (episodes, d(d-1)/2), the upper triangle row by row; with `center` also `thresholds`
    (episodes, d).
    """

    config = HopfieldConfig
    max_sweeps = 100  # updates of every unit after which reading ends at the latest
    citation = (
        "J. J. Hopfield, Neural networks and physical systems with emergent collective computational"
        " abilities, PNAS 79, 1982; A. Storkey, Increasing the capacity of a Hopfield network without"
        " sacrificing functionality, ICANN 1997; L. Personnaz, I. Guyon and G. Dreyfus, Collective"
        " computational properties of neural networks: New learning mechanisms, Physical Review A 34, 1986"
    )
    reference: Tensor

    def __init__(self, spec: PatternSpec, config: HopfieldConfig = HopfieldConfig()) -> None:
        super().__init__()
        self.shape, self.size = spec.shape, spec.size
        self.rule, self.center = config.rule, config.center
        self.order_invariant = config.rule in ("hebb", "pseudo_inverse")
        # An empty buffer, so that .to() and .double() decide where and in which precision a state begins.
        self.register_buffer("reference", torch.empty(0), persistent=False)

    def initial_state(self, episodes: int) -> State:
        """Zero weights (and thresholds); reading from them returns the query, binarised."""
        state = {"weights": self.reference.new_zeros(episodes, self.size * (self.size - 1) // 2)}
        if self.center:
            state["thresholds"] = self.reference.new_zeros(episodes, self.size)
        return state

    def write(self, patterns: Tensor) -> State:
        """Learns all patterns. The state has their dtype.

        Raises:
            ValueError: also if the weights overflow, as storkey_second_order's do with about d patterns, and
                storkey_exact's with many more.
        """
        x = to_units(patterns)
        mean = x.mean(1) if self.center else x.new_zeros(len(x), self.size)
        weights = self.learn(x.new_zeros(len(x), self.size, self.size), x - mean[:, None])
        state = {"weights": above_diagonal(weights)}
        if self.center:
            state["thresholds"] = mean - torch.einsum("eij,ej->ei", weights, mean)
        return state

    def update(self, state: State, patterns: Tensor) -> State:
        """Learns further patterns.

        Raises:
            NotImplementedError: for the pseudo-inverse and for a centred network.
        """
        if self.rule == "pseudo_inverse":
            raise NotImplementedError(
                f"rule={self.rule} writes all patterns at once: to add one, the diagonal of the projection"
                " would be needed, which a Hopfield network does not keep"
            )
        if self.center:
            raise NotImplementedError("center=true writes all patterns at once: new ones would move the mean")
        weights, _ = self.unpack(state)
        return {"weights": above_diagonal(self.learn(weights, to_units(patterns)))}

    @torch.no_grad()
    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Runs the dynamics until a sweep changes nothing, or for `max_sweeps`, and gives the last one's bits alone."""
        weights, thresholds = self.unpack(state)
        units = to_units(queries).to(weights).mT.contiguous()  # (episodes, d, items)
        free = torch.ones_like(units, dtype=torch.bool) if mask is None else mask.flatten(2).mT
        # Fields are often exactly zero (Hebb), and the unit then keeps its value: rounding must not decide.
        tie = 64 * torch.finfo(weights.dtype).eps * weights.abs().sum(-1).clamp_min(1)

        def sweep(units: Tensor) -> Tensor:
            """Updates one unit after the other, from the first to the last (Hopfield 1982, eq. 1).

            The energy never increases, so that sweeps end in a fixed point. A new order in each sweep recalls slightly
            worse (pseudo-inverse, table 1, 64 patterns: 6.4 wrong bits instead of 6.2).
            """
            units = units.clone()
            for i in range(self.size):
                field = torch.bmm(weights[:, i : i + 1], units).squeeze(1) + thresholds[:, i, None]
                moves = free[:, i] & (field.abs() > tie[:, i, None])
                units[:, i] = torch.where(moves, field.sign(), units[:, i])
            return units

        answer = (settle(sweep, units, self.max_sweeps).mT > 0).to(queries).reshape(queries.shape)
        return keep_known(answer, queries, mask)[None]

    def energy(self, state: State, patterns: Tensor) -> Tensor:
        """E = -½ s'W s - b's of the patterns as units s = ±1 (Hopfield 1982, eq. 7)."""
        weights, thresholds = self.unpack(state)
        s = to_units(patterns).to(weights)
        field = s @ weights / 2 + thresholds[:, None]
        return -(s * field).sum(-1).to(patterns)

    def learn(self, weights: Tensor, x: Tensor) -> Tensor:
        """New weights (episodes, d, d) from old ones and patterns x (episodes, items, d), unless they overflow."""
        weights = RULES[self.rule](weights, x.to(weights))
        if not weights.isfinite().all():
            raise ValueError(f"rule={self.rule} overflowed after {x.shape[1]} patterns of {self.size} values")
        return weights

    def unpack(self, state: State) -> tuple[Tensor, Tensor]:
        """Weights (episodes, d, d) and thresholds (episodes, d) of a state, in float32 at least.

        Raises:
            ValueError: if the state is not finite: with NaN weights no unit would move, as if all were well.
        """
        for name, tensor in state.items():
            if not tensor.isfinite().all():
                raise ValueError(f"the state's {name!r} must be finite")
        upper = state["weights"].to(torch.promote_types(state["weights"].dtype, torch.float32))
        thresholds = state["thresholds"].to(upper) if self.center else upper.new_zeros(len(upper), self.size)
        return symmetric(upper, self.size), thresholds
