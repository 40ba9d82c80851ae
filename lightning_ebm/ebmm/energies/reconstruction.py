"""An energy that asks how well a pattern is reconstructed from its own keys."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_ebm.ebmm.energies.restored import RestoredEnergy
from lightning_ebm.layers import LayerNorm, check_sides, cosines
from lightning_ebm.memory import PatternSpec
from lightning_ebm.restoration import RestorationConfig
from lightning_ebm.settings import setting


@dataclass(frozen=True)
class ReconstructionConfig(RestorationConfig):
    """Settings of `Reconstruction`."""

    keys: int = setting(31, at_least=1)
    """Inputs of the written layer; about as many patterns can be distinguished."""
    code_dim: int = setting(256, at_least=1)
    """Outputs of the written layer, at most the values in a pattern. The state has (keys + 1) · code_dim floats."""
    hidden: int = setting(32, at_least=1)
    """Width of the feature net: units for vectors, channels for images."""
    slow: int = setting(32, at_least=1)
    """Hidden units of the energy term that is not written."""


class Reconstruction(RestoredEnergy):
    """Energy of a pattern: the logistic loss of reconstructing it through a written layer, plus a slow prior.

    With x in ±1, features f(x), keys k(x) and a basis B whose columns span what can be stored,

        E(x) = Σ_d softplus(−x_d · (B · memory(k(x)) + b)_d) + slow(f(x)).

    Only `memory` is written. The energy's gradient in it is the outer product of keys and reconstruction errors,
    so that the very first write steps, before any training, are error-correcting updates of a linear
    associative memory from keys to patterns; reading pulls x towards what its keys recall. B starts as the
    identity for vectors and as the lowest spatial frequencies of the cosine transform for images, the ones
    that tell most about an image; meta-training then moves it.

    It is not in the paper, but an energy in the paper's sense: a smooth net, some of whose weights are written.
    """

    config = ReconstructionConfig
    memory_layers = ("memory",)

    def __init__(self, spec: PatternSpec, config: ReconstructionConfig = ReconstructionConfig()) -> None:
        super().__init__()
        shape, size, keys, code = spec.shape, spec.size, config.keys, config.code_dim
        if code > size:
            raise ValueError(f"energy.code_dim must be at most the {size} values of a pattern, got {code}")
        images = len(shape) == 3
        self.seen = image_features(shape, config.hidden) if images else vector_features(size, config.hidden)
        width = self.seen(torch.zeros(1, *shape)).shape[1]
        self.key = nn.Sequential(nn.Linear(width, keys), LayerNorm(keys))
        self.memory = nn.Linear(keys, code)
        self.basis = nn.Linear(code, size)
        self.slow = nn.Sequential(nn.Linear(width, config.slow), nn.Tanh(), nn.Linear(config.slow, 1, bias=False))
        with torch.no_grad():
            self.memory.weight.mul_(0.1)  # what is not written should recall next to nothing
            self.basis.weight.copy_(cosines(shape, code) if images else torch.eye(size, code))
            self.basis.bias.zero_()
        self.restore(spec, config)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What writing leaves unchanged: keys (items, keys), pattern in ±1 (items, size), slow term (items,)."""
        x = 2 * x - 1
        seen = self.seen(x)
        return self.key(seen), x.flatten(1), self.slow(seen).squeeze(1)

    def writing_energy(self, features: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Energies (items,) from what `features` returned."""
        keys, x, slow = features
        return F.softplus(-x * self.basis(self.memory(keys))).sum(1) + slow


def vector_features(size: int, hidden: int) -> nn.Sequential:
    """Two tanh layers: (items, size) to (items, hidden)."""
    return nn.Sequential(nn.Flatten(1), nn.Linear(size, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())


def image_features(shape: Sequence[int], channels: int) -> nn.Sequential:
    """One tanh layer of overlapping 8x8 windows, 4 apart: (items, *shape) to (items, channels · windows)."""
    check_sides(shape, 4, "energy")
    return nn.Sequential(Windows(shape[0], channels, 8, stride=4, padding=2), nn.Tanh(), nn.Flatten(1))


class Windows(nn.Conv2d):
    """A strided convolution as one matrix product over unfolded windows: on CPUs, its derivatives are faster."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (items, channels_in, height, width); returns (items, channels_out, windows)."""
        windows = F.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)  # type: ignore[arg-type]
        return F.linear(windows.transpose(1, 2), self.weight.flatten(1), self.bias).transpose(1, 2)
