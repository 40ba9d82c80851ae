"""TorchOpt: its functional differentiable optimiser (https://github.com/metaopt/torchopt)."""

from typing import Any

import torchopt
from torch import Tensor
from torchopt.base import EmptyState, GradientTransformation

from benchmarks.contenders.autograd_loop import AutogradLoop, Weights


class TorchOpt(AutogradLoop):
    """The loop over episodes, with `FuncOptimizer` for writing.

    With one layer, it is `torchopt.sgd` of rate 1 on the weighted sum of the terms. With several, `torchopt.sgd`
    cannot express a rate for each layer, so that each term has a transformation of its own, written here in the
    form that `torchopt.chain` takes; see `AutogradLoop.losses`.
    """

    def write_step(self, weights: Weights, prior: Weights, patterns: Tensor, rates: Tensor) -> Weights:
        """One step of an optimiser for each loss, all from the same weights; their changes are added."""
        start = tuple(weights.values())
        plain = torchopt.sgd(lr=1.0)
        first, *others = [
            torchopt.FuncOptimizer(plain if len(rates) == 1 else self.scale_by_layer(layer_rates)).step(loss, start)
            for loss, layer_rates in self.losses(weights, prior, patterns, rates)
        ]
        for other in others:
            first = tuple(new + (more - old) for new, more, old in zip(first, other, start, strict=True))
        return dict(zip(weights, first, strict=True))

    def scale_by_layer(self, rates: Tensor) -> GradientTransformation:
        """Descent with a learned rate for each layer, `rates` (layers,)."""
        rows = list(self.row.values())

        def update(updates: Any, state: Any, *, params: Any = None, inplace: bool = True) -> tuple[Any, Any]:
            return tuple(-rates[row] * update for row, update in zip(rows, updates, strict=True)), state

        return GradientTransformation(lambda params: EmptyState(), update)
