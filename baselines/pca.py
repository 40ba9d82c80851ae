"""Principal components, a bound: each pattern as a few numbers in a meta-trained basis."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.slots import CodeMemory
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class PCAConfig(Settings):
    """Settings of `PCA`."""

    components: int = setting(128, at_least=1)
    """Numbers kept of each pattern, at most the number of its values."""
    slots: int | None = setting(64, at_least=1)
    """Patterns that there is room for; one more overwrites the oldest. None: the state grows."""


class PCA(CodeMemory):
    """Patterns as codes c = Q'(x - μ) in an orthonormal basis Q; a query is answered by the nearest μ + Q c.

    Q and μ are learned by gradient on the mean squared error of μ + Q c, of which the principal components and the
    mean of the training patterns are the only minimum, but for rotations and shifts within their span (Baldi and
    Hornik 1989).

    State: as of `SlotMemory`, with rows of `components` values.
    """

    config = PCAConfig
    citation = (
        "H. Hotelling, Analysis of a complex of statistical variables into principal components, Journal of"
        " Educational Psychology 24, 1933; P. Baldi and K. Hornik, Neural networks and principal component analysis:"
        " Learning from examples without local minima, Neural Networks 2, 1989"
    )

    def __init__(self, spec: PatternSpec, config: PCAConfig = PCAConfig()) -> None:
        components, size = config.components, spec.size
        super().__init__(spec, config.slots, components)
        if components > size:
            raise ValueError(f"components must be at most the {size} values of a pattern, got {components}")
        self.mean = nn.Parameter(torch.full((size,), 0.5))
        self.directions = nn.Parameter(torch.empty(size, components))  # Q before it is made orthonormal
        nn.init.orthogonal_(self.directions)

    def basis(self) -> Tensor:
        """Q, (d, components), with orthonormal columns."""
        return torch.linalg.qr(self.directions).Q

    def rows(self, patterns: Tensor) -> Tensor:
        """Codes c."""
        return (patterns.flatten(2) - self.mean) @ self.basis()

    def decode(self, codes: Tensor) -> Tensor:
        """μ + Q c."""
        return self.mean + codes @ self.basis().T
