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
from typing import Any

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
    """An energy uses a memory layer's weights without calling the layer, or calls it on other than patterns."""


def key_loss(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
    """Keys first: what the keys alone recall points towards the query's own pattern.

    The mean over queries of 1 − cos(Σ_n ⟨g(q), g(x_n)⟩ x̃_n, x̃_own), where x̃ is a pattern minus the mean of its episode
    and g is the energy's gradient in the outputs of all memory layers (of a convolution, at all positions). It is the
    cheapest start: one derivative of the energy, and no writing or reading. It fits memory layers whose input is the
    pattern or close to it, since it assumes that a recalled input moves x towards the pattern.

    Arguments as of an `Objective`; the mask is not used. The energy's parameters get gradients, writing and reading
    do not. The loss lies in [0, 2]; it is 0 if every query recalls its own pattern alone.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its output is not seen.
    """
    keys_of_queries, keys_of_patterns = (inputs_and_keys(memory, x)[1] for x in (queries, patterns))
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

    Arguments as of an `Objective`. The energy's parameters and the write rates get gradients, read steps do not. The
    loss is at least 0.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its input is not seen.
    """
    x = queries.detach().requires_grad_()
    (values, stored), (inputs, found) = inputs_and_keys(memory, patterns), inputs_and_keys(memory, x)
    cosines = F.normalize(found, dim=-1) @ F.normalize(stored, dim=-1).mT
    own = [value - value.mean(1, keepdim=True) for value in values]
    move = torch.autograd.grad(inputs, x, own, create_graph=True)[0]
    values_missed = misdirection(move.flatten(2), centred(patterns), mask.flatten(2))
    return contrast(cosines) + values_missed + alignment_loss(memory, patterns, queries, mask)


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

    Arguments as of an `Objective`. The energy's parameters and the write rates get gradients, read steps do not. The
    loss is at least 0.
    """
    prior = slope(memory, memory.initial_state(len(patterns)), queries).flatten(2)
    downhill = -slope(memory, memory.write(patterns), queries).flatten(2)
    change, target, corrupted = prior + downhill, centred(patterns), mask.flatten(2)
    found = contrast(cosines_within(change, target, corrupted.to(change)))
    reading_missed = misdirection(downhill, (patterns - queries).flatten(2), corrupted)
    return found + misdirection(change, target, corrupted) + reading_missed


def start_loss(
    objective: Objective, memory: EBMM, known: bool, patterns: Tensor, queries: Tensor, mask: Tensor
) -> Tensor:
    """An objective, at the points where reading starts; plus the energy's own objective of single patterns, if any.

    `known` says whether reading gets the mask. The other arguments are those of an `Objective`.
    """
    with torch.no_grad():
        start, _ = memory.read_start(queries, mask if known else None, memory.initial_state(len(queries)))
    loss = objective(memory, patterns, start, mask)
    try:
        return loss + memory.auxiliary_loss(patterns, queries, mask)
    except NotImplementedError:
        return loss


Objective = Callable[[EBMM, Tensor, Tensor, Tensor], Tensor]
"""A scalar, of a memory; patterns (episodes, items, *shape), values in [0, 1]; queries of the same shape, query i being
a corrupted pattern i; and a mask, the same shape, bool, True where a query was corrupted."""
OBJECTIVES: dict[str, Objective] = {"keys": key_loss, "recall": recall_loss, "alignment": alignment_loss}
"""What training may begin with, by the name that a configuration gives it."""


def inputs_and_keys(memory: EBMM, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """What the memory layers see of x (episodes, items, *shape), and under which keys, at the prior weights.

    Returns:
        The input φ of each layer, (episodes, items, ...), in the order in which the energy calls them; and the keys g,
        the energy's gradient in the outputs of all layers, side by side: (episodes, items, values), differentiable.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its output is not seen, or called on
            a tensor whose first axis is not that of patterns, so that it is not seen which are whose.
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
            energy = net(x.flatten(0, 1)).sum()
    finally:
        for hook in hooks:
            hook.remove()
    if {layer for layer, *_ in calls} != set(layers):
        raise UncalledLayerError(
            f"{type(net).__name__} reads its memory layers' weights without calling the layers, so they have no output"
            " to take keys from: choose the objective alignment"
        )
    items = x.shape[:2].numel()
    if other := {part.shape[:1].numel() for _, *both in calls for part in both} - {items}:
        raise UncalledLayerError(
            f"{type(net).__name__} calls a memory layer on {other.pop()} rows for {items} patterns, so no pattern has a"
            " key of its own: keep patterns the first axis, or choose the objective alignment"
        )
    gradients = torch.autograd.grad(energy, [output for *_, output in calls], create_graph=True)
    keys = torch.cat([gradient.flatten(1) for gradient in gradients], 1)
    return [phi.unflatten(0, x.shape[:2]) for _, phi, _ in calls], keys.unflatten(0, x.shape[:2])


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
