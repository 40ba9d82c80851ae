"""Objectives that start the memory of an energy net, before the meta-loss can train it.

Write x_n for the patterns, q for a query, θ̄ for the prior weights of the memory layers and θ for the written ones. One
write step of a small rate η changes the slope that reading descends at q by η Δ(q) uphill, where to first order in η

    Δ(q) = ∇ₓ ⟨∂E(q)/∂θ, Σ_n ∂E(x_n)/∂θ⟩        (all at θ = θ̄).

So a freshly written memory is a kernel memory with the kernel ⟨∂E(q)/∂θ, ∂E(x_n)/∂θ⟩. For a linear memory layer with
input φ(x) and g(x) = ∂E/∂(output of the layer), ∂E/∂W = g φᵀ and the kernel is ⟨g(q), g(x_n)⟩ ⟨φ(q), φ(x_n)⟩: the
layer's input is what is recalled, and g is the *key* under which it is stored. In a net that was just initialised, the
keys of all patterns nearly agree, so every query recalls the mean pattern. The meta-loss does not change that: as long
as nothing is recalled, each read step only adds error, and rates and step sizes are learned towards zero first.

What is recalled is a layer's input, and reading moves x. The layers below the memory pull the recalled input back to a
move of x by their transposed Jacobian at q. In a fresh convolutional encoder this move is noise.

A layer also saturates: before it does, writing can change its output by about 1, which is little next to random prior
weights. Where the prior weights are zero (`EBMMConfig.prior_scale`), what is written is all that the layer holds.

None of these objectives is from the EBMM paper. They need an energy and its memory layers, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad
from torch.nn import functional as F

from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.memory import State

SHARPNESS = 10.0
"""Inverse temperature of the cross-entropy over cosines."""


TINY = 1e-12
"""Least length of a vector in a cosine."""


class UncalledLayerError(ValueError):
    """An energy uses a memory layer's weights without calling the layer."""


def key_loss(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
    """Keys first: what the keys alone recall points towards the query's own pattern.

    The mean over queries of 1 − cos(Σ_n ⟨g(q), g(x_n)⟩ x̃_n, x̃_own), where x̃ is a pattern minus the mean of its episode
    and g is the energy's gradient in the outputs of all memory layers (of a convolution, at all positions). It is the
    cheapest start: one derivative of the energy, and no writing or reading. It fits memory layers whose input is the
    pattern or close to it, since it assumes that a recalled input moves x towards the pattern.

    Arguments as of `Objective.loss`; the mask is not used. The energy's parameters get gradients, writing and reading
    do not. The loss lies in [0, 2]; it is 0 if every query recalls its own pattern alone.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its output is not seen.
    """
    keys_of_queries, keys_of_patterns = (keys(memory, x) for x in (queries, patterns))
    target = centred(patterns)
    recalled = keys_of_queries @ keys_of_patterns.mT @ target
    return 1 - F.cosine_similarity(recalled, target, dim=-1).mean()


def recall_loss(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
    """Keys and values: the own key is found, the own input is pulled back to the own pattern, and writing does both.

    For memory layers that lie deep in the energy. With φ̃ for inputs of the layers and x̃ for patterns, minus their mean
    over the episode, J for the Jacobian of φ at q, and cos′ for the cosine within the corrupted values, the mean over
    queries of

        cross-entropy(softmax_n(10 cos(g(q), g(x_n))), own)                          keys
        + 2 − cos(Jᵀφ̃(x_own), x̃_own) − cos′(Jᵀφ̃(x_own), x̃_own)                       values

    plus `alignment_loss`, which hardly starts a deep net without these. It costs second derivatives only.

    Arguments as of `Objective.loss`. The energy's parameters and the write rates get gradients, read steps do not. The
    loss is at least 0.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its input is not seen.
    """
    items = patterns.shape[:2]
    x = queries.flatten(0, 1).detach().requires_grad_()
    written, asked = layer_passes(memory, patterns.flatten(0, 1)), layer_passes(memory, x)
    found, stored = (F.normalize(joined_keys(passes).unflatten(0, items), dim=-1) for passes in (asked, written))
    values = [one.input.unflatten(0, items) for one in written]
    own = [(value - value.mean(1, keepdim=True)).flatten(0, 1) for value in values]
    move = torch.autograd.grad([one.input for one in asked], x, own, create_graph=True)[0].unflatten(0, items)
    values_missed = misdirection(move.flatten(2), centred(patterns), mask.flatten(2))
    return contrast(found @ stored.mT) + values_missed + alignment_loss(memory, patterns, queries, mask)


def alignment_loss(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
    """Contrastive write alignment: what writing changes in the slope points to the query's own pattern, not to others.

    With Δ = ∇ₓE(q; θ̄) − ∇ₓE(q; θ) for what writing changed, and c′_n for the cosines of Δ and x̃_n within the corrupted
    values, the mean over queries of

        cross-entropy(softmax_n(10 c′_n), own)
        + 2 − cos(Δ, x̃_own) − cos′(Δ, x̃_own)                                        what writing changed
        + 2 − cos(−∇ₓE(q; θ), x_own − q) − cos′(−∇ₓE(q; θ), x_own − q)              where reading goes

    The patterns are written with all steps and at the memory's rates, which are trained too: how much can be written
    before a layer saturates is what separates a memory from its first-order change. The first two lines keep the slow
    part of the energy from doing the memory's work. The contrast leaves out the values that the query shows, since a
    change that copies them finds the own pattern whatever was written. It fits memory layers of any kind at any depth,
    and costs second derivatives (third ones with the gradient term of the writing loss).

    Arguments as of `Objective.loss`. The energy's parameters and the write rates get gradients, read steps do not. The
    loss is at least 0.
    """
    prior = slope(memory, memory.initial_state(len(patterns)), queries).flatten(2)
    downhill = -slope(memory, memory.write(patterns), queries).flatten(2)
    change, target, corrupted = prior + downhill, centred(patterns), mask.flatten(2)
    found = contrast(cosines_within(change, target, corrupted.to(change)))
    reading_missed = misdirection(downhill, (patterns - queries).flatten(2), corrupted)
    return found + misdirection(change, target, corrupted) + reading_missed


class Objective(NamedTuple):
    """What training may begin with.

    Attributes:
        loss: a scalar, of a memory; patterns (episodes, items, *shape), values in [0, 1]; queries of the same shape, of
            which query i is a corrupted pattern i; and a mask, the same shape, bool, True where a query was corrupted.
        writes: whether it writes patterns, and so trains the write rates.
    """

    loss: Callable[[EBMM, Tensor, Tensor, Tensor], Tensor]
    writes: bool


OBJECTIVES = {
    "keys": Objective(key_loss, writes=False),
    "recall": Objective(recall_loss, writes=True),
    "alignment": Objective(alignment_loss, writes=True),
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
    return joined_keys(layer_passes(memory, x.flatten(0, 1))).unflatten(0, x.shape[:2])


class LayerPass(NamedTuple):
    """What a memory layer did while the energy of some items was computed, at the prior weights.

    Attributes:
        input: φ, its input, (items, ...).
        key: g, the gradient of the items' energies in its output, (items, ...), differentiable.
    """

    input: Tensor
    key: Tensor


def layer_passes(memory: EBMM, x: Tensor) -> list[LayerPass]:
    """The passes of all memory layers for items x (items, *shape), in the order in which the energy calls them.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its output is not seen.
    """
    calls: list[tuple[Any, Tensor, Tensor]] = []
    net: Any = memory.energy_net
    layers = [net.get_submodule(name) for name in sorted({key.rpartition(".")[0] for key in memory.initial_state(1)})]
    hooks = [
        layer.register_forward_hook(lambda of, inputs, output: calls.append((of, inputs[0], output)))
        for layer in layers
    ]
    try:
        with torch.enable_grad():
            energy = net(x).sum()
    finally:
        for hook in hooks:
            hook.remove()
    if {layer for layer, *_ in calls} != set(layers):
        raise UncalledLayerError(
            f"{type(net).__name__} reads its memory layers' weights without calling the layers, so they have no output"
            " to take keys from: choose the objective alignment"
        )
    gradients = torch.autograd.grad(energy, [output for *_, output in calls], create_graph=True)
    return [LayerPass(phi, key) for (_, phi, _), key in zip(calls, gradients, strict=True)]


def joined_keys(passes: list[LayerPass]) -> Tensor:
    """The keys of items in all memory layers, flattened and side by side: (items, values)."""
    return torch.cat([one.key.flatten(1) for one in passes], 1)


def slope(memory: EBMM, state: State, x: Tensor) -> Tensor:
    """∇ₓE of a state at x (episodes, items, *shape); the same shape."""
    return grad(lambda x: memory.energy(state, x).sum())(x)


def centred(patterns: Tensor) -> Tensor:
    """Patterns minus the mean of their episode, flattened: (episodes, items, values). A lone pattern becomes zero."""
    return (patterns - patterns.mean(1, keepdim=True)).flatten(2)


def misdirection(move: Tensor, target: Tensor, corrupted: Tensor) -> Tensor:
    """2 − cos − cos′ of moves and targets, averaged over queries: a scalar in [0, 4].

    Args:
        move: (episodes, queries, values).
        target: the same shape.
        corrupted: the same shape, bool; cos′ is the cosine within these.
    """
    part = corrupted.to(move)
    whole, inside = F.cosine_similarity(move, target, dim=-1), F.cosine_similarity(move * part, target * part, dim=-1)
    return 2 - whole.mean() - inside.mean()


def cosines_within(change: Tensor, target: Tensor, part: Tensor) -> Tensor:
    """The cosine of each query's change to each pattern, over a part of the values.

    Args:
        change: (episodes, queries, values).
        target: (episodes, items, values).
        part: (episodes, queries, values), 1 where a value counts for that query and 0 elsewhere.

    Returns:
        (episodes, queries, items), in [-1, 1]; 0 where the part of either is zero.
    """
    product = (change * part) @ target.mT
    lengths = (change * part).norm(dim=-1, keepdim=True) * (part @ target.square().mT).clamp(min=TINY).sqrt()
    return product / lengths.clamp(min=TINY)


def contrast(cosines: Tensor) -> Tensor:
    """The mean cross-entropy of finding item i for query i among cosines (episodes, queries, items); a scalar."""
    own = torch.arange(cosines.shape[1], device=cosines.device).repeat(len(cosines))
    return F.cross_entropy(SHARPNESS * cosines.flatten(0, 1), own)
