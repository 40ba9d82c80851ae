"""What a state costs in bits: kept at lower precision, and counted."""

import torch
from torch import Tensor

from lightning_ebm.memory import AssociativeMemory, State
from lightning_ebm.schema import PRECISIONS

SCALE_BITS = 32  # of the scale that int8 and int4 keep for each tensor of an episode
SHARES = [2 ** (-eighths / 8) for eighths in range(25)]
"""Of the scale that the largest value asks for: those that are tried."""


def rounded(state: State, precision: str) -> State:
    """A state as it is after having been kept at a precision; the values come back in their own dtype.

    Integers at low precision are symmetric: with b bits, a tensor of one episode is kept as whole multiples, from
    -(2^(b-1) - 1) to 2^(b-1) - 1, of a scale of least squared error; see `levels`. Tensors that are not
    floating-point numbers (counters) are kept as they are.

    Args:
        state: tensors (episodes, ...).
        precision: a key of `PRECISIONS`.
    """
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    return state | {name: round_tensor(tensor, precision) for name, tensor in floats.items()}


def round_tensor(tensor: Tensor, precision: str) -> Tensor:
    """One tensor (episodes, ...) as it is after having been kept at a precision."""
    if precision == "float32":
        return tensor.float().to(tensor)
    if precision == "float16":
        return tensor.half().to(tensor)  # what is too large for it becomes infinite, and is then seen in the error
    whole, scale = levels(tensor.flatten(1), 2 ** (PRECISIONS[precision] - 1) - 1, tensor.dtype)
    return (whole * scale[:, None]).view_as(tensor)


@torch.no_grad()
def levels(rows: Tensor, most: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows as whole multiples of a scale each, whose squared error is least of those tried.

    A scale at which the largest value just fits wastes most levels where few values are large. Smaller ones, by
    `SHARES`, cut such values off. The best uniform quantiser of a Gaussian does the same (J. Max, Quantizing for
    minimum distortion, IRE Trans. Information Theory 6, 1960).

    Args:
        rows: (rows, values).
        most: the greatest multiple, and minus it the least.
        dtype: of the scales.

    Returns:
        The multiples (rows, values), in the dtype of the rows, and the scales (rows,).
    """
    largest = rows.abs().amax(1)
    least = torch.full_like(largest, torch.inf, dtype=torch.float64)  # squares of large float32 values overflow
    # a row that is not finite has no error below infinity, and stays NaN, so that it is seen
    best, best_scale = torch.full_like(rows, torch.nan), torch.full_like(largest, torch.nan, dtype=dtype)
    for share in SHARES:
        scale = (largest * share / most).to(dtype)
        step = scale.to(rows)[:, None]
        whole = (rows / torch.where(step > 0, step, 1)).round().clamp(-most, most)
        error = (whole * step - rows).double().square().sum(1)
        better = error < least
        best, best_scale = torch.where(better[:, None], whole, best), torch.where(better, scale, best_scale)
        least = torch.minimum(error, least)
    return best, best_scale


def straight_through(state: State, precision: str) -> State:
    """The rounded state, whose gradient is that of the state itself (Bengio, Léonard and Courville, 2013)."""
    kept, floats = rounded(state, precision), {name: one for name, one in state.items() if one.is_floating_point()}
    return kept | {name: one + (kept[name] - one).detach() for name, one in floats.items()}


def state_bits(memory: AssociativeMemory, state: State, precision: str) -> int:
    """Bits of the state of one episode, as the literature counts it (without bookkeeping), scales included."""
    bits = 0
    for name, tensor in state.items():
        if name in memory.bookkeeping:
            continue
        if tensor.is_floating_point():
            bits += tensor[0].numel() * PRECISIONS[precision] + SCALE_BITS * precision.startswith("int")
        else:
            bits += tensor[0].numel() * 8 * tensor.element_size()
    return bits
