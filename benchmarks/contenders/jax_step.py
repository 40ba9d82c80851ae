"""JAX: the meta-step under `jit`, episodes under `vmap`, the loops over steps unrolled or scanned."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.cases import Case
from benchmarks.contenders import Contender
from benchmarks.contenders.jax_energies import Energy, Parameters, energy_of
from lightning_ebm.ebmm.memory import written_parameters

Step = Callable[[Any, Any], tuple[Any, Any]]
Loop = Callable[..., tuple[Any, Any]]
NET = "energy_net."


def unrolled(step: Step, carry: Any, inputs: Any) -> tuple[Any, Any]:
    """What `lax.scan` computes, as a Python loop."""
    outputs = []
    for entry in zip(*jax.tree.leaves(inputs), strict=True):
        carry, output = step(carry, jax.tree.unflatten(jax.tree.structure(inputs), entry))
        outputs.append(output)
    return carry, outputs[0] if outputs[0] is None else jnp.stack(outputs)


class JaxUnrolled(Contender):
    """One compiled function in which the write and read steps follow each other."""

    loop: ClassVar[Callable[..., tuple[Any, Any]]] = staticmethod(unrolled)

    def prepare(self, case: Case, dtype: str, device: str) -> None:
        """Copies parameters and data; the meta-step is compiled when it is first run."""
        if device != "cpu":
            raise NotImplementedError("JAX is timed on the CPU only")
        jax.config.update("jax_enable_x64", dtype == "float64")
        memory = case.memory(dtype)
        layers = written_parameters(memory.energy_net, memory.energy_net.memory_layers)
        row = {name: row for row, names in enumerate(layers.values()) for name in names}
        self.parameters = {name: jnp.array(p.detach().numpy()) for name, p in memory.named_parameters()}
        self.patterns, self.queries = (jnp.array(values.numpy()) for values in case.data(dtype))
        loss = meta_loss(case, row, self.loop)
        self.step = jax.jit(jax.value_and_grad(loss))

    def meta_step(self) -> tuple[Any, dict[str, Any]]:
        """The loss and its gradient by parameter name."""
        result: tuple[Any, dict[str, Any]] = self.step(self.parameters, self.patterns, self.queries)
        return jax.block_until_ready(result)


class JaxScan(JaxUnrolled):
    """The same with `lax.scan` over the write steps and over the read steps: one step of each is compiled."""

    loop = staticmethod(lax.scan)


def meta_loss(case: Case, row: dict[str, int], loop: Loop) -> Callable[[Parameters, Any, Any], Any]:
    """The loss as a function of parameters by name, patterns and queries (episodes, items, *shape).

    Args:
        case: energy, steps and terms.
        row: layer of each written weight, by its name in the energy.
        loop: `lax.scan`, or a function that does the same.
    """
    energy = energy_of(case)

    def episode_loss(parameters: Parameters, patterns: Any, queries: Any) -> Any:
        net = {name.removeprefix(NET): value for name, value in parameters.items() if name.startswith(NET)}
        prior = {name: net[name] for name in row}
        step = write_step(energy, net, prior, row, patterns, case.gradient_term)
        raw = parameters["writing.learned_rates"]
        rates = jnp.broadcast_to(jnp.exp(raw), (case.write_steps, *raw.shape[1:]))
        written = {**net, **loop(step, prior, rates)[0]}
        start = queries, jnp.zeros_like(queries)
        return loop(read_step(energy, written, patterns), start, schedule(parameters))[1].sum() / len(patterns)

    def loss(parameters: Parameters, patterns: Any, queries: Any) -> Any:
        return jax.vmap(episode_loss, (None, 0, 0))(parameters, patterns, queries).mean()

    return loss


def write_step(
    energy: Energy, net: Parameters, prior: Parameters, row: dict[str, int], patterns: Any, gradient_term: bool
) -> Step:
    """One step of writing, from weights by name and rates (layers, terms) to weights."""

    def mean_energy(weights: Parameters) -> Any:
        return energy({**net, **weights}, patterns).mean()

    def mean_squared_gradient(weights: Parameters) -> Any:
        slope = jax.grad(lambda x: energy({**net, **weights}, x).sum())(patterns)
        return jnp.square(slope).sum() / len(slope)

    def step(weights: Parameters, rates: Any) -> tuple[Parameters, None]:
        terms = [jax.grad(mean_energy)(weights), {name: 2 * (weights[name] - prior[name]) for name in weights}]
        if gradient_term:
            terms.append(jax.grad(mean_squared_gradient)(weights))
        return {
            name: weight - sum(rates[row[name], i] * term[name] for i, term in enumerate(terms))
            for name, weight in weights.items()
        }, None

    return step


def read_step(energy: Energy, written: Parameters, patterns: Any) -> Step:
    """One step of reading, from (x, velocity) and (step size, momentum) to (x, velocity) and its squared error."""
    slope = jax.grad(lambda x: energy(written, x).sum())

    def step(moving: tuple[Any, Any], rates: tuple[Any, Any]) -> tuple[tuple[Any, Any], Any]:
        (x, velocity), (step_size, momentum) = moving, rates
        velocity = momentum * velocity - step_size * slope(clamp(x + momentum * velocity))
        x = clamp(x + velocity)
        return (x, velocity), jnp.square(x - patterns).sum()

    return step


def schedule(parameters: Parameters) -> tuple[Any, Any]:
    """Step sizes and momenta, (K,) each, as `Reading.schedule`."""

    def never_growing(first: Any, logits: Any) -> Any:
        return first * jnp.cumprod(jnp.concatenate([jnp.ones(1, first.dtype), jax.nn.sigmoid(logits)]))

    return (
        never_growing(jnp.exp(parameters["reading.log_step_size"]), parameters["reading.step_decay"]),
        never_growing(jax.nn.sigmoid(parameters["reading.raw_momentum"]), parameters["reading.momentum_decay"]),
    )


def clamp(x: Any) -> Any:
    """To [0, 1]; the bounds themselves pass gradients as in `torch.clamp`, where `jnp.clip` passes half of them."""
    return jnp.where(x < 0, jnp.zeros_like(x), jnp.where(x > 1, jnp.ones_like(x), x))
