"""`higher`: its patched stateless module and its differentiable SGD (https://github.com/facebookresearch/higher)."""

import higher
import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.contenders.autograd_loop import AutogradLoop, Energy, Weights


class Higher(AutogradLoop):
    """The loop over episodes, with `monkeypatch` and `DifferentiableSGD` for writing.

    Learned rates are given to the optimiser as `override`, one for each parameter group, that is, layer; see
    `AutogradLoop.losses` for how several terms are given. The optimiser gets the written weights only:
    `innerloop_ctx` would differentiate in every parameter of the energy at every step.
    """

    def prepare(self, case: Case, dtype: str, device: str) -> None:
        """Patches the energy and makes the optimiser."""
        super().prepare(case, dtype, device)
        # without history: weights are handed over in every call, and a history of them would never be freed
        self.patched = higher.monkeypatch(self.net, copy_initial_weights=False, track_higher_grads=False)
        groups = [{"params": [self.net.get_parameter(n) for n in names]} for names in self.layers.values()]
        written = [self.net.get_parameter(name) for name in self.row]
        self.optimiser = higher.get_diff_optim(torch.optim.SGD(groups, lr=1.0), written)

    def energy(self, weights: Weights) -> Energy:
        """The patched energy under written weights."""
        parameters = [weights.get(name, parameter) for name, parameter in self.net.named_parameters()]
        return lambda x: self.patched(x, params=parameters)

    def write_step(self, weights: Weights, prior: Weights, patterns: Tensor, rates: Tensor) -> Weights:
        """One step of the optimiser for each loss, all from the same weights; their changes are added."""
        start = list(weights.values())
        first, *others = [
            self.optimiser.step(loss, params=start, override={"lr": list(layer_rates)})
            for loss, layer_rates in self.losses(weights, prior, patterns, rates)
        ]
        for other in others:
            first = [new + (more - old) for new, more, old in zip(first, other, start, strict=True)]
        return dict(zip(weights, first, strict=True))
