"""What a state costs in bits: kept at lower precision, and counted."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_ebm.memory import AssociativeMemory, State
from lightning_ebm.schema import PRECISIONS

SCALE_BITS = 32  # of the scale that int8 and int4 keep for each tensor of an episode


def rounded(state: State, precision: str) -> State:
    """A state as it is after having been kept at a precision; the values come back in their own dtype.

    Integers at low precision are symmetric: with b bits, a tensor of one episode is kept as whole multiples, from
    -(2^(b-1) - 1) to 2^(b-1) - 1, of its largest absolute value over 2^(b-1) - 1. Tensors that are not floating-point
    numbers (counters) are kept as they are.

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
    levels = 2 ** (PRECISIONS[precision] - 1) - 1
    largest = tensor.flatten(1).abs().amax(1).view(-1, *[1] * (tensor.ndim - 1))
    step = largest / levels
    return (tensor / torch.where(step > 0, step, torch.ones_like(step))).round() * step


def straight_through(state: State, precision: str) -> State:
    """The rounded state, whose gradient is that of the state itself (Bengio, Léonard and Courville, 2013)."""
    return {name: state[name] + (kept - state[name]).detach() for name, kept in rounded(state, precision).items()}


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
