"""Objectives that start the memory of an energy net, before the meta-loss can train it.

Write x_n for the patterns, q for a query, θ̄ for the prior weights of the memory layers. One write step of a small rate
η changes the slope that reading descends at q by η Δ(q) uphill, where to first order in η

    Δ(q) = ∇ₓ ⟨∂E(q)/∂θ, Σ_n ∂E(x_n)/∂θ⟩        (all at θ = θ̄).

So a freshly written memory is a kernel memory with the kernel ⟨∂E(q)/∂θ, ∂E(x_n)/∂θ⟩. For a linear memory layer with
input φ(x) and g(x) = ∂E/∂(output of the layer), ∂E/∂W = g φᵀ and the kernel is ⟨g(q), g(x_n)⟩ ⟨φ(q), φ(x_n)⟩: the
layer's input is what is recalled, and g is the *key* under which it is stored. In a net that was just initialised, the
keys of all patterns nearly agree, so every query recalls the mean pattern. The meta-loss does not change that: as long
as nothing is recalled, each read step only adds error, and rates and step sizes are learned towards zero first.

Both objectives look at the first-order change alone. It does not depend on write rates or read step sizes, which are
therefore searched afterwards (`rate_search`). Neither is from the EBMM paper. They need an energy and its memory
layers, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp
from torch.nn import functional as F

from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.memory import State

SHARPNESS = 10.0
"""Inverse temperature of the cross-entropy over cosines."""


class UncalledLayerError(ValueError):
    """An energy uses a memory layer's weights without calling the layer."""


def key_loss(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
    """Keys first: what the keys alone recall points towards the query's own pattern.

    The mean over queries of 1 − cos(Σ_n ⟨g(q), g(x_n)⟩ x̃_n, x̃_own), where x̃ is a pattern minus the mean of its episode
    and g is the energy's gradient in the outputs of all memory layers (of a convolution, at all positions). It is the
    cheapest start: one derivative of the energy, and no writing or reading. It fits memory layers whose input is the
    pattern or close to it, since it assumes that a recalled input moves x towards the pattern.

    Args:
        memory: the memory; its energy's parameters get gradients, writing and reading do not.
        patterns: (episodes, items, *shape), values in [0, 1].
        queries: the same shape; query i is a corrupted pattern i.
        mask: not used; see `alignment_loss`.

    Returns:
        A scalar in [0, 2]; 0 if every query recalls its own pattern alone.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its output is not seen.
    """
    keys_of_queries, keys_of_patterns = (keys(memory, x) for x in (queries, patterns))
    target = centred(patterns)
    recalled = keys_of_queries @ keys_of_patterns.mT @ target
    return 1 - F.cosine_similarity(recalled, target, dim=-1).mean()


def alignment_loss(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
    """Contrastive write alignment: what writing changes in the slope points to the query's own pattern, not to others.

    With the cosines c_n = cos(Δ(q), x̃_n) of the first-order change, the mean over queries of

        cross-entropy(softmax_n(10 c_n), own) − c_own − cos(Δ(q), x̃_own within the corrupted values).

    The prior's own slope is not part of Δ, so a slow net that removes noise without remembering earns nothing. It costs
    a third-order derivative, fits memory layers of any kind at any depth, and takes the whole slope into account.

    Args:
        memory: the memory; its energy's parameters get gradients, writing and reading do not.
        patterns: (episodes, items, *shape), values in [0, 1].
        queries: the same shape; query i is a corrupted pattern i.
        mask: the same shape, bool, True where a query was corrupted.

    Returns:
        A scalar, at least −2 if the corrupted values are not empty.
    """
    change, target = first_order_change(memory, patterns, queries).flatten(2), centred(patterns)
    cosines = F.normalize(change, dim=-1) @ F.normalize(target, dim=-1).mT
    own = torch.arange(cosines.shape[1], device=cosines.device).repeat(len(cosines))
    contrast = F.cross_entropy(SHARPNESS * cosines.flatten(0, 1), own)
    corrupted = mask.flatten(2).to(change)
    inside = F.cosine_similarity(change * corrupted, target * corrupted, dim=-1)
    return contrast - cosines.diagonal(dim1=1, dim2=2).mean() - inside.mean()


OBJECTIVES: dict[str, Callable[[EBMM, Tensor, Tensor, Tensor], Tensor]] = {
    "keys": key_loss,
    "alignment": alignment_loss,
}
"""By the name that a configuration gives them."""


def keys(memory: EBMM, x: Tensor) -> Tensor:
    """The energy's gradient in the outputs of the memory layers, at the prior weights.

    Args:
        memory: the memory.
        x: (episodes, items, *shape).

    Returns:
        (episodes, items, values), all outputs of all memory layers, differentiable in the energy's parameters.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its output is not seen.
    """
    outputs: list[Tensor] = []
    net: Any = memory.energy_net
    layers = [net.get_submodule(name) for name in sorted({key.rpartition(".")[0] for key in memory.initial_state(1)})]
    hooks = [layer.register_forward_hook(lambda _, __, output: outputs.append(output)) for layer in layers]
    try:
        with torch.enable_grad():
            energy = net(x.flatten(0, 1)).sum()
    finally:
        for hook in hooks:
            hook.remove()
    if len(outputs) < len(layers):
        raise UncalledLayerError(
            f"{type(net).__name__} reads its memory layers' weights without calling the layers, so they have no output"
            " to take keys from: choose the objective alignment"
        )
    gradients = torch.autograd.grad(energy, outputs, create_graph=True)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1).unflatten(0, x.shape[:2])


def first_order_change(memory: EBMM, patterns: Tensor, queries: Tensor) -> Tensor:
    """Δ: the change of the descent direction at the queries per unit of write rate, in the limit of a small rate.

    Args:
        memory: the memory, of which only the energy and its prior state are used.
        patterns: those written, (episodes, items, *shape).
        queries: where the slope is taken, (episodes, queries, *shape).

    Returns:
        The shape of `queries`. All written parameters share one rate, and the writing loss is the sum of the energies.
    """
    prior = {name: weight.clone() for name, weight in memory.initial_state(len(patterns)).items()}  # jvp takes no views
    uphill = grad(lambda state: memory.energy(state, patterns).sum())(prior)
    return jvp(lambda state: slope(memory, state, queries), (prior,), (uphill,))[1]


def slope(memory: EBMM, state: State, x: Tensor) -> Tensor:
    """∇ₓE of a state at x (episodes, items, *shape); the same shape."""
    return grad(lambda x: memory.energy(state, x).sum())(x)


def centred(patterns: Tensor) -> Tensor:
    """Patterns minus the mean of their episode, flattened: (episodes, items, values). A lone pattern becomes zero."""
    return (patterns - patterns.mean(1, keepdim=True)).flatten(2)
