"""Differentiable plasticity: a recurrent net each of whose connections has a learned plastic part.

    memory = Plasticity((50,))
    state = memory.write(patterns)              # patterns: (episodes, items, 50), values in [0, 1]
    recalled = memory.read(state, queries)[-1]

Weights, plasticity and rate are meta-trained; the Hebbian traces are the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, check_patterns, keep_known


@dataclass
class PlasticityConfig:
    """Settings of `Plasticity`.

    Attributes:
        rule: of the traces: decay or oja.
        cycles: how often the patterns are presented, in the order given.
        on: steps for which a pattern is presented.
        off: steps without input after each pattern.
        read_steps: steps for which a query is presented.
        gain: factor of the input, -1 to 1, of vector patterns. The neurons of images are clamped instead.
        eta: rate of the traces at the start of training, in (0, 1).
    """

    rule: str = "decay"
    cycles: int = 1
    on: int = 3
    off: int = 1
    read_steps: int = 3
    gain: float = 20.0
    eta: float = 0.01


class Plasticity(AssociativeMemory):
    """A fully recurrent net of one neuron for each value of a pattern, and one that is always on.

    A step is (Miconi, Clune and Stanley 2018, section 3, equations 1 and 2)

        y ← tanh((W + α ⊙ H)' y + input),   H ← (1 − η) H + η y_before ⊗ y,

    or with Oja's rule H ← H + η y ⊗ (y_before − H y), elementwise over connections. The net's neurons are
    clamped to images, where the mask is known to the intact values alone; vectors enter as an input current.
    Writing presents the patterns one after the other; reading presents each query to the traces that writing
    left, which stay as they are, and from neurons at rest.

    State: `traces` (episodes, neurons, neurons), and `activity` (episodes, neurons).

    Args:
        shape: shape of one pattern, of any number of axes.
        config: the settings; None: the defaults.

    Raises:
        ValueError: if a setting is out of range.
    """

    config = PlasticityConfig
    citation = (
        "T. Miconi, J. Clune and K. O. Stanley, Differentiable plasticity: training plastic neural networks with"
        " backpropagation, ICML 2018, arXiv:1804.02464"
    )
    bookkeeping = frozenset({"activity"})

    def __init__(self, shape: Sequence[int], config: PlasticityConfig | None = None) -> None:
        super().__init__()
        config = config or PlasticityConfig()
        for name in ("cycles", "on", "read_steps"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
        if config.off < 0:
            raise ValueError(f"off must be at least 0, got {config.off}")
        if config.rule not in ("decay", "oja"):
            raise ValueError(f"rule must be one of decay, oja, got {config.rule!r}")
        if not (config.gain > 0 and math.isfinite(config.gain)):
            raise ValueError(f"gain must be above 0 and finite, got {config.gain}")
        if not 0 < config.eta < 1:
            raise ValueError(f"eta must lie between 0 and 1, got {config.eta}")
        self.shape, self.settings = tuple(shape), config
        self.neurons = torch.Size(self.shape).numel() + 1
        self.clamped = len(self.shape) > 1
        self.weight = nn.Parameter(0.01 * torch.randn(self.neurons, self.neurons))
        self.plasticity = nn.Parameter(0.01 * torch.randn(self.neurons, self.neurons))
        self.eta = nn.Parameter(torch.tensor(config.eta))

    @classmethod
    def from_config(cls, config: PlasticityConfig, spec: PatternSpec) -> Self:
        """Builds the net for patterns of `spec`; see the base class."""
        return cls(spec.shape, config)

    def initial_state(self, episodes: int) -> State:
        """Traces of zero, and neurons at rest."""
        return {
            "traces": self.weight.new_zeros(episodes, self.neurons, self.neurons),
            "activity": self.weight.new_zeros(episodes, self.neurons),
        }

    def write(self, patterns: Tensor) -> State:
        """Presents the patterns to a net at rest; see the base class."""
        return self.update(self.initial_state(len(patterns)), patterns)

    def update(self, state: State, patterns: Tensor) -> State:
        """Presents more patterns; see the base class."""
        check_patterns(patterns, "patterns", self.shape)
        inputs = 2 * patterns.flatten(2) - 1
        traces, y = state["traces"].to(inputs), state["activity"].to(inputs)
        nothing = torch.zeros_like(inputs[:, 0])
        everywhere, nowhere = (torch.full_like(nothing, x, dtype=torch.bool) for x in (True, False))
        for _ in range(self.settings.cycles):
            for x in inputs.unbind(1):
                for step in range(self.settings.on + self.settings.off):
                    shown = (x, everywhere) if step < self.settings.on else (nothing, nowhere)
                    before, y = y, self.step(traces, y[:, None], *(z[:, None] for z in shown))[:, 0]
                    traces = self.learn(traces, before, y)
        return {"traces": traces, "activity": y}

    def learn(self, traces: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Traces (episodes, neurons, neurons) after a step from activities `before` to `after`."""
        if self.settings.rule == "decay":
            return (1 - self.eta) * traces + self.eta * before[:, :, None] * after[:, None, :]
        return traces + self.eta * after[:, None, :] * (before[:, :, None] - after[:, None, :] * traces)

    def step(self, traces: Tensor, y: Tensor, x: Tensor, shown: Tensor) -> Tensor:
        """Activities (episodes, items, neurons) one step after `y`.

        Args:
            traces: (episodes, neurons, neurons).
            y: (episodes, items, neurons), in [-1, 1].
            x: (episodes, items, neurons - 1), the input in [-1, 1].
            shown: of the shape of x, bool, where there is input.
        """
        current = y @ (self.weight + self.plasticity * traces)
        current, last = current[..., :-1], torch.ones_like(current[..., -1:])
        if self.clamped:
            y = torch.where(shown, x, torch.tanh(current))
        else:
            y = torch.tanh(current + self.settings.gain * torch.where(shown, x, torch.zeros_like(x)))
        return torch.cat([y, last], -1)

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Presents each query to the written traces, then lets the net run for one step; see the base class.

        Where the mask is given, the distorted values are not presented, and the net runs on with the others.

        Returns:
            (1, episodes, items, *shape): the activities after the last step, in [0, 1].
        """
        check_patterns(queries, "queries", self.shape)
        x = 2 * queries.flatten(2) - 1
        shown = torch.ones_like(x, dtype=torch.bool) if mask is None else ~mask.flatten(2)
        traces = state["traces"].to(x)
        y = x.new_zeros(*x.shape[:2], self.neurons)
        for _ in range(self.settings.read_steps):
            y = self.step(traces, y, x, shown)
        y = self.step(traces, y, x, torch.zeros_like(shown) if mask is None else shown)
        answer = ((y[..., :-1] + 1) / 2).view_as(queries)
        return keep_known(answer, queries, mask)[None]
