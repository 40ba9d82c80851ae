"""Objectives that start the memory of an energy net, before the meta-loss can train it.

Write x_n for the patterns, q for a query, θ̄ for the prior weights of the memory layers. One write step of a small rate
η changes the slope that reading descends at q by η Δ(q) uphill, where to first order in η

    Δ(q) = ∇ₓ ⟨∂E(q)/∂θ, Σ_n ∂E(x_n)/∂θ⟩        (all at θ = θ̄).

So a freshly written memory is a kernel memory with the kernel ⟨∂E(q)/∂θ, ∂E(x_n)/∂θ⟩. For a linear memory layer with
input φ(x) and g(x) = ∂E/∂(output of the layer), ∂E/∂W = g φᵀ and the kernel is ⟨g(q), g(x_n)⟩ ⟨φ(q), φ(x_n)⟩: the
layer's input is what is recalled, and g is the *key* under which it is stored. In a net that was just initialised, the
keys of all patterns nearly agree, so every query recalls the mean pattern. The meta-loss does not change that: as long
as nothing is recalled, each read step only adds error, and rates and step sizes are learned towards zero first.

What is recalled is a layer's input, and reading moves x. The layers below the memory pull the recalled input back to a
move of x by their transposed Jacobian at q. In a fresh convolutional encoder this move is noise.

All objectives look at the first-order change alone. It does not depend on write rates or read step sizes, which are
therefore searched afterwards (`rate_search`). None is from the EBMM paper. They need an energy and its memory
layers, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp, vmap
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


def recall_loss(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
    """Keys and values: the own key is found, the own input is pulled back to the own pattern, and both together recall.

    For memory layers that lie deep in the energy. With φ̃ for inputs of the layers minus their mean over the episode,
    J for the Jacobian of φ at q, and cos′ for the cosine within the corrupted values, the mean over queries of

        cross-entropy(softmax_n(10 cos(g(q), g(x_n))), own)                          keys
        + 2 − cos(Jᵀφ̃(x_own), x̃_own) − cos′(Jᵀφ̃(x_own), x̃_own)                       values
        + 2 − cos(Jᵀr, x̃_own) − cos′(Jᵀr, x̃_own),   r = Σ_n ⟨g(q), g(x_n)⟩ φ̃(x_n)    recall

    For layers that are used at several places of an input, such as convolutions, r is what the layer with the weights
    Σ_n g(x_n) φ̃(x_n)ᵀ, summed over places, passes back from g(q). It costs second derivatives only.

    Args:
        memory: the memory; its energy's parameters get gradients, writing and reading do not.
        patterns: (episodes, items, *shape), values in [0, 1].
        queries: the same shape; query i is a corrupted pattern i.
        mask: the same shape, bool, True where a query was corrupted.

    Returns:
        A scalar, at least 0.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its input is not seen.
    """
    items = patterns.shape[:2]
    x = queries.flatten(0, 1).detach().requires_grad_()
    written, asked = layer_passes(memory, patterns.flatten(0, 1)), layer_passes(memory, x)
    own, recalled = [], []
    for stored, found in zip(written, asked, strict=True):
        values = stored.input.unflatten(0, items)
        values = values - values.mean(1, keepdim=True)
        own.append(values.flatten(0, 1))
        keyed = (found.input.unflatten(0, items), found.key.unflatten(0, items))
        recalled.append(recalled_input(found.layer, values, stored.key.unflatten(0, items), *keyed).flatten(0, 1))

    found_keys, stored_keys = (
        torch.cat([one.key.flatten(1) for one in p], 1).unflatten(0, items) for p in (asked, written)
    )
    cosines = F.normalize(found_keys, dim=-1) @ F.normalize(stored_keys, dim=-1).mT
    loss = contrast(cosines)
    target, corrupted = centred(patterns), mask.flatten(2).to(patterns)
    inputs = [one.input for one in asked]
    for values in (own, recalled):
        move = torch.autograd.grad(inputs, x, values, create_graph=True)[0].unflatten(0, items).flatten(2)
        for part in (torch.ones_like(corrupted), corrupted):
            loss = loss + 1 - F.cosine_similarity(move * part, target * part, dim=-1).mean()
    return loss


def alignment_loss(memory: EBMM, patterns: Tensor, queries: Tensor, mask: Tensor) -> Tensor:
    """Contrastive write alignment: what writing changes in the slope points to the query's own pattern, not to others.

    With c′_n for the cosines of Δ(q) and x̃_n within the corrupted values, the mean over queries of

        cross-entropy(softmax_n(10 c′_n), own) − c′_own − cos(Δ(q), x̃_own).

    The contrast leaves out the values that the query shows, since a change that copies them finds the own pattern
    whatever was written. It costs a third-order derivative, fits memory layers of any kind at any depth, and takes the
    whole slope into account.

    Args:
        memory: the memory; its energy's parameters get gradients, writing and reading do not.
        patterns: (episodes, items, *shape), values in [0, 1].
        queries: the same shape; query i is a corrupted pattern i.
        mask: the same shape, bool, True where a query was corrupted.

    Returns:
        A scalar, at least −2.
    """
    change, target = first_order_change(memory, patterns, queries).flatten(2), centred(patterns)
    inside = cosines_within(change, target, mask.flatten(2).to(change))
    everywhere = F.cosine_similarity(change, target, dim=-1)
    return contrast(inside) - inside.diagonal(dim1=1, dim2=2).mean() - everywhere.mean()


OBJECTIVES: dict[str, Callable[[EBMM, Tensor, Tensor, Tensor], Tensor]] = {
    "keys": key_loss,
    "recall": recall_loss,
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
    passes = layer_passes(memory, x.flatten(0, 1))
    return torch.cat([one.key.flatten(1) for one in passes], 1).unflatten(0, x.shape[:2])


class LayerPass(NamedTuple):
    """What a memory layer did while the energy of some items was computed, at the prior weights.

    Attributes:
        layer: the layer.
        input: φ, its input, (items, ...).
        key: g, the gradient of the items' energies in its output, (items, ...), differentiable.
    """

    layer: nn.Module
    input: Tensor
    key: Tensor


def layer_passes(memory: EBMM, x: Tensor) -> list[LayerPass]:
    """The passes of all memory layers for items x (items, *shape), in the order in which the energy calls them.

    Raises:
        UncalledLayerError: if a memory layer is used without being called, so that its output is not seen.
    """
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    net: Any = memory.energy_net
    layers = [net.get_submodule(name) for name in sorted({key.rpartition(".")[0] for key in memory.initial_state(1)})]
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: calls.append((layer, inputs[0], output)))
        for layer in layers
    ]
    try:
        with torch.enable_grad():
            energy = net(x).sum()
    finally:
        for hook in hooks:
            hook.remove()
    if len(calls) < len(layers):
        raise UncalledLayerError(
            f"{type(net).__name__} reads its memory layers' weights without calling the layers, so they have no output"
            " to take keys from: choose the objective alignment"
        )
    gradients = torch.autograd.grad(energy, [output for _, _, output in calls], create_graph=True)
    return [LayerPass(layer, phi, key) for (layer, phi, _), key in zip(calls, gradients, strict=True)]


def recalled_input(layer: nn.Module, values: Tensor, stored_keys: Tensor, inputs: Tensor, keys: Tensor) -> Tensor:
    """What a layer returns to its input at queries after values were stored in it under keys, to first order.

    Args:
        layer: a memory layer that is linear in its input.
        values: what was its input, (episodes, items, ...).
        stored_keys: gradients in its output, shaped as that, (episodes, items, ...).
        inputs: its input at the queries, (episodes, queries, ...).
        keys: the gradients in its output at the queries, (episodes, queries, ...).

    Returns:
        The shape of `inputs`; for a linear layer Σ_n ⟨key, stored key_n⟩ value_n.
    """
    prior = dict(layer.named_parameters())

    def recall(values: Tensor, stored_keys: Tensor, inputs: Tensor, keys: Tensor) -> Tensor:
        written = vjp(lambda weights: functional_call(layer, weights, values), prior)[1](stored_keys)[0]
        back: Tensor = vjp(lambda inputs: functional_call(layer, written, inputs), inputs)[1](keys)[0]
        return back

    return vmap(recall)(values, stored_keys, inputs, keys)


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
