"""The energies of the cases in jax.numpy, on the parameters of the PyTorch modules, by their names."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.cases import Case

Parameters = Mapping[str, Any]
Energy = Callable[[Parameters, Any], Any]


def energy_of(case: Case) -> Energy:
    """Maps parameters, by name in the energy, and patterns (items, *shape) to energies (items,)."""
    sizes = case.sizes
    if case.energy == "mlp":
        return mlp
    if case.energy == "gated_rnn":
        return lambda p, x: gated_rnn(p, x, sizes.get("hops", 5))
    if case.energy == "resnet_conv":
        return lambda p, x: resnet_conv(p, x, tuple(sizes.get("strides", (1, 2))), sizes.get("hops", 3))
    raise NotImplementedError(f"the energy {case.energy} is not written in JAX")


def mlp(p: Parameters, x: Any) -> Any:
    """`cases.MLP`."""
    hidden = jnp.tanh(linear(p, "input", 2 * x - 1))
    return (jnp.tanh(linear(p, "memory", hidden)) @ p["output.weight"].T)[:, 0]


def gated_rnn(p: Parameters, x: Any, hops: int) -> Any:
    """`GatedRNN`, as the paper writes it.

    The module computes the share of x in all hops once. Under XLA the slices of weights that this takes made the
    meta-step 1.2 to 1.9 times slower, so that JAX is given the form that serves it best.
    """
    x = 2 * x.reshape(len(x), -1) - 1
    recalled = linear(p, "memory", x)
    state = jnp.zeros((len(x), p["gate.bias"].shape[0]), x.dtype)
    for _ in range(hops):
        z = jnp.concatenate([x, state], 1)
        candidate = jnp.tanh(jnp.concatenate([recalled, linear(p, "static", z)], 1))
        update = jax.nn.sigmoid(linear(p, "gate", z))
        state = update * candidate + (1 - update) * state
    return (state @ p["output.weight"].T)[:, 0]


def resnet_conv(p: Parameters, x: Any, strides: tuple[int, ...], hops: int) -> Any:
    """`ResNetConv`."""
    x = 2 * x - 1
    blocks = len({name.split(".")[1] for name in p if name.startswith("blocks.")})
    for block in (f"blocks.{i}." for i in range(blocks)):
        y = jnp.tanh(layer_norm(p, block + "norm1", conv(p, block + "conv1", x, stride=2)))
        y = jnp.tanh(layer_norm(p, block + "norm2", conv(p, block + "conv2", y)))
        x = y + conv(p, block + "shortcut", x, stride=2)
    for i, stride in enumerate(strides):
        block = f"bottlenecks.{i}."
        y = jnp.tanh(layer_norm(p, block + "norm1", conv(p, block + "reduce", x)))
        both = [conv(p, block + part, y, stride) for part in ("memory", "static")]
        y = jnp.tanh(layer_norm(p, block + "norm2", jnp.concatenate(both, 1)))
        x = y + conv(p, block + "shortcut.conv", average_pool(x, stride))
    state = jnp.zeros_like(x)
    for _ in range(hops):
        z = jnp.concatenate([x, state], 1)
        candidate = jnp.tanh(layer_norm(p, "candidate_norm", conv(p, "candidate", z)))
        update = jax.nn.sigmoid(layer_norm(p, "gate_norm", conv(p, "gate", z)))
        state = update * candidate + (1 - update) * state
    head = jnp.tanh(linear(p, "head", state.reshape(len(state), -1)))
    return (head @ p["output.weight"].T)[:, 0]


def linear(p: Parameters, name: str, x: Any) -> Any:
    """`nn.Linear`: (items, inputs) to (items, outputs)."""
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def conv(p: Parameters, name: str, x: Any, stride: int = 1) -> Any:
    """`nn.Conv2d` with padding that keeps the size at stride 1, or without padding if the kernel is even."""
    kernel = p[f"{name}.weight"]
    margin = (kernel.shape[-1] - 1) // 2
    dimensions = ("NCHW", "OIHW", "NCHW")
    y = lax.conv_general_dilated(x, kernel, (stride, stride), [(margin, margin)] * 2, dimension_numbers=dimensions)
    return y + p[f"{name}.bias"][:, None, None]


def average_pool(x: Any, stride: int) -> Any:
    """3x3 average pooling that counts the zeros around the image; nothing at stride 1."""
    if stride == 1:
        return x
    margins = [(0, 0), (0, 0), (1, 1), (1, 1)]
    return lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 3), (1, 1, stride, stride), margins) / 9


def layer_norm(p: Parameters, name: str, x: Any) -> Any:
    """`layers.LayerNorm` of images (items, channels, height, width)."""
    centred = x - x.mean((1, 2, 3), keepdims=True)
    normed = centred * lax.rsqrt(jnp.square(centred).mean((1, 2, 3), keepdims=True) + 1e-5)
    return normed * p[f"{name}.weight"][:, None, None] + p[f"{name}.bias"][:, None, None]
