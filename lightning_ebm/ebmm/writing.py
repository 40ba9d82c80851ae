"""Writing: a few gradient steps turn N patterns into minima of the energy (EBMM paper, eq. 3 and 4)."""

from __future__ import annotations  # torch.compile cannot evaluate those of the function within `forward`

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad

from lightning_ebm.settings import Settings, setting

Weights = dict[str, Tensor]

LOG_ZERO = -120.0
"""A number whose exponential is 0 in float32."""


@dataclass(frozen=True)
class WritingConfig(Settings):
    """How patterns are written. The defaults suit the reconstruction energy; the paper's are those of recipe=paper."""

    steps: int = setting(5, at_least=1)
    """T, gradient steps from the meta-learned weights."""
    write_rate: float = 0.3
    """Initial rate of the energy term in every layer, above 0 if `rates` is layer; the paper's is 1e-4."""
    gradient_rate: float = 1e-4
    """The same for the term in the energy's gradient."""
    prior_rate: float = 0.01
    """Initial rate of the prior term, a pull back to θ̄. From 0.5 on, one step returns to θ̄ exactly."""
    gradient_term: bool = False
    """Whether the writing loss has the term in the squared norm of the energy's gradient. Without it the meta-gradient
    is of second instead of third order and several times cheaper; the paper (figure 4) puts the loss at 5 % or less."""
    per_step: bool = False
    """Whether each step learns rates of its own; eq. 4 allows both."""
    rates: str = setting("layer", one_of=("layer", "parameter"))
    """layer, the paper's: one rate per written layer and term, never negative; or parameter: one per written parameter
    (weight, bias) and term, of either sign, as Meta-SGD has them (Li et al., 2017)."""
    bias_rate: float = 0.0
    """Initial rate of the energy term for biases when `rates` is parameter; may be negative."""
    reduction: str = setting("mean", one_of=("mean", "sum"))
    """mean, the paper's, or sum of the writing loss over patterns. With a sum, the same rates serve any number of
    patterns wherever each pattern changes weights of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("write_rate", "gradient_rate", "prior_rate") if self.rates == "layer" else ():
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0 while rates is layer, got {getattr(self, key)}")


class Writing(nn.Module):
    """T steps of gradient descent on the writing loss, from the meta-learned weights.

    The loss of eq. 3 is the mean over patterns of E(x; θ) + α‖∇ₓE(x; θ)‖² + β‖θ − θ̄‖². Its weights α and β
    are absorbed in the rates: each written layer learns one non-negative rate per term (section 3),

        θ ← θ − (a · ∂E/∂θ + b · ∂‖∇ₓE‖²/∂θ + c · ∂‖θ − θ̄‖²/∂θ).

    Their logarithms are what is learned, since rates that work lie between 1e-4 and 1e2, as the energy is scaled: an
    update of Adam then changes any of them by the same share. Signed rates are learned as they are.

    Args:
        layers: written layers, and the names of the parameters of each.
        config: steps, rates and terms.
    """

    def __init__(self, layers: Mapping[str, Sequence[str]], config: WritingConfig) -> None:
        super().__init__()
        self.steps, self.gradient_term, self.signed = config.steps, config.gradient_term, config.rates == "parameter"
        self.mean = config.reduction == "mean"
        rows = [[name] for names in layers.values() for name in names] if self.signed else list(layers.values())
        self.row_of = {name: row for row, names in enumerate(rows) for name in names}
        terms = [config.write_rate, config.prior_rate] + [config.gradient_rate] * config.gradient_term
        initial = torch.tensor(terms if self.signed else [math.log(rate) for rate in terms])
        initial = initial.repeat(config.steps if config.per_step else 1, len(rows), 1)
        biases = {row for name, row in self.row_of.items() if self.signed and name.endswith("bias")}
        self.of_weights = [row for row in range(len(rows)) if row not in biases]
        initial[:, [*biases], 0] = config.bias_rate
        self.learned_rates = nn.Parameter(initial)
        self.gradient_rate = config.gradient_rate

    @torch.no_grad()
    def set_rate(self, rate: float) -> None:
        """Gives the energy term this rate, above 0, in all layers and steps. Signed rates of biases stay."""
        self.learned_rates[:, self.of_weights, 0] = rate if self.signed else math.log(rate)

    @torch.no_grad()
    def hold_back_gradient_term(self) -> None:
        """Leaves the gradient term out, its rates at zero, until `add_gradient_term`."""
        self.gradient_term = False
        self.learned_rates[:, :, 2] = 0.0 if self.signed else LOG_ZERO

    @torch.no_grad()
    def add_gradient_term(self) -> None:
        """Takes the gradient term in, at its initial rate."""
        self.gradient_term = True
        self.learned_rates[:, :, 2] = self.gradient_rate if self.signed else math.log(self.gradient_rate)

    def rates(self) -> Tensor:
        """(T, layers or parameters, terms); terms in the order energy, prior and, if it is on, gradient."""
        return (self.learned_rates if self.signed else self.learned_rates.exp()).expand(self.steps, -1, -1)

    def forward(
        self,
        energy: Callable[[Weights, Any], Tensor],
        start: Weights,
        prior: Weights,
        features: Any,
        items: int,
        pullback: Callable[[Any], Tensor],
        rates: Tensor,
        counted: Tensor | None = None,
    ) -> Weights:
        """The weights of one episode, by name, after one step for each entry of `rates`.

        Args:
            energy: maps weights and the features of all patterns to energies (items,).
            start: the weights to write into, by name: the prior's, or those that hold earlier patterns.
            prior: the meta-learned weights θ̄, by name.
            features: what patterns become below the memory layers, which writing does not change: a tensor (items, ...)
                or several.
            items: number of patterns.
            pullback: maps a gradient in the features to the gradient in the patterns, (items, *shape).
            rates: (steps, layers or parameters, terms), some of what `rates()` returns.
            counted: (items,), 1 for each pattern to be written and 0 for one that only fills up; None: all are written.
        """

        def energies(weights: Weights, features: Any) -> Tensor:
            found = energy(weights, features)
            return found.sum() if counted is None else (found * counted).sum()

        def squared_gradients(weights: Weights) -> tuple[Tensor, Weights]:
            # one derivative of the energy serves both terms
            downhill, slope = grad(energies, argnums=(0, 1))(weights, features)
            return pullback(slope).square().sum(), downhill

        share = (1 / items if counted is None else 1 / counted.sum()) if self.mean else 1
        weights = start
        for of_step in rates[:, :, : 3 if self.gradient_term else 2]:
            # each term with a rate of its own: the sum of separate descents is one descent of eq. 3
            if self.gradient_term:
                of_gradient, of_energy = grad(squared_gradients, has_aux=True)(weights)
                descents = [of_energy, of_gradient]
            else:
                descents = [grad(energies)(weights, features)]
            weights = {
                name: step(weight, prior[name], [term[name] for term in descents], of_step[self.row_of[name]], share)
                for name, weight in weights.items()
            }
        return weights


def step(weight: Tensor, prior: Tensor, gradients: Sequence[Tensor], rates: Tensor, share: float | Tensor) -> Tensor:
    """One parameter after one step, in few passes over it: parameters are large, and passes are what costs.

    The prior term, of gradient 2 (weight - prior), has the second of the rates; the others' gradients are summed over
    patterns, each with weight `share`. The pull stops at the prior: a rate learned above 0.5 would turn what is written
    into its opposite, and a memory that went there did not come back. Such a rate keeps the gradient of one below, so
    that it can fall again.
    """
    pull = 2 * rates[1]
    weight = torch.lerp(weight, prior, pull - (pull - 1).clamp(min=0).detach())
    for rate, gradient in zip((rates[0], *rates[2:]), gradients, strict=True):
        weight = torch.addcmul(weight, -share * rate, gradient)
    return weight
