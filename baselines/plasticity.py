"""Differentiable plasticity: a recurrent net each of whose connections has a learned plastic part."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.coders import AutoencoderMemory, CodersConfig
from baselines.hopfield import above_diagonal, symmetric
from lightning_ebm.memory import PatternSpec, State
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class PlasticityConfig(Settings):
    """Settings of `Plasticity`."""

    neurons: int = setting(90, at_least=2)
    """Neurons n of the net, one of them always on; the state has n² traces."""
    symmetric: bool = False
    """Whether the two connections between a pair of neurons share one trace, and a neuron's connection to itself has
    none, as in a Hopfield net; the state then has n (n - 1) / 2 traces."""
    rule: str = setting("decay", one_of=("decay", "oja"))
    """Of the traces: decay or oja."""
    on_steps: int = setting(2, at_least=1)
    """Steps for which a pattern is presented."""
    off_steps: int = setting(0, at_least=0)
    """Steps without input after each pattern."""
    read_steps: int = setting(2, at_least=1)
    """Steps for which a query is presented."""
    gain: float = setting(3.0, above=0, below=math.inf)
    """Factor of the input, which is the code, about ±1 at the start of training."""
    alpha: float = setting(0.0, above=-math.inf, below=math.inf)
    """Mean plasticity of the connections at the start of training. A written pattern drives each of its neurons by
    about (on_steps - 1) · alpha · eta · n; where that is well below 1, training starts without recall."""
    eta: float = setting(0.01, above=0, below=1)
    """Rate of the traces at the start of training."""
    coders: CodersConfig = CodersConfig()
    """Sizes of encoder and decoder."""


class Plasticity(AutoencoderMemory):
    """A fully recurrent net of one neuron for each value of a code, and one that is always on.

    A step is (Miconi, Clune and Stanley 2018, section 3, equations 1 and 2)

        y ← tanh((W + α ⊙ H)' y + g enc(x)),   H ← (1 − η) H + η y_before ⊗ y,

    or with Oja's rule H ← H + η y ⊗ (y_before − H y), elementwise over connections. With `symmetric`, H is then
    replaced by the mean of itself and its transpose, without its diagonal. Writing presents the patterns one
    after the other. Reading presents each query, from neurons at rest, to the traces, which stay as they are; then the
    net runs for one step without input, and the answer is σ(dec(y)).

    In the paper bits enter as they are and with g = 20, which pins the neurons to the input: the encoder would
    get no gradient, hence a smaller gain. Images enter through the encoder too, where the paper clamps one
    neuron to each pixel, whose traces would be a million for 32x32 pixels.

    The first step of a pattern also ties the pattern before to it, which is noise in recall, and the smaller a share of
    the traces the more `on_steps` there are.

    State: `traces` (episodes, neurons, neurons), with `symmetric` (episodes, n (n - 1) / 2); and `activity`
    (episodes, neurons).
    """

    config = PlasticityConfig
    citation = (
        "T. Miconi, J. Clune and K. O. Stanley, Differentiable plasticity: training plastic neural networks with"
        " backpropagation, ICML 2018, arXiv:1804.02464"
    )
    bookkeeping = frozenset({"activity"})

    def __init__(self, spec: PatternSpec, config: PlasticityConfig = PlasticityConfig()) -> None:
        super().__init__(spec, config.neurons - 1, config.coders)
        self.settings, self.neurons = config, config.neurons
        self.weight = nn.Parameter(0.01 * torch.randn(self.neurons, self.neurons))
        self.plasticity = nn.Parameter(config.alpha + 0.01 * torch.randn(self.neurons, self.neurons))
        self.eta = nn.Parameter(torch.tensor(config.eta))

    def initial_state(self, episodes: int) -> State:
        """Traces of zero, and neurons at rest."""
        return {
            "traces": self.pack(self.weight.new_zeros(episodes, self.neurons, self.neurons)),
            "activity": self.weight.new_zeros(episodes, self.neurons),
        }

    def update(self, state: State, patterns: Tensor) -> State:
        """Presents more patterns."""
        codes = self.coders.encode(patterns)
        traces, y = self.unpack(state["traces"].to(codes)), state["activity"].to(codes)
        nothing = torch.zeros_like(codes[:, 0])
        for x in codes.unbind(1):
            for shown in [x] * self.settings.on_steps + [nothing] * self.settings.off_steps:
                before, y = y, self.step(traces, y[:, None], shown[:, None])[:, 0]
                traces = self.learn(traces, before, y)
        return {"traces": self.pack(traces), "activity": y}

    def learn(self, traces: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Traces (episodes, neurons, neurons) after a step from activities `before` to `after`."""
        if self.settings.rule == "decay":
            traces = (1 - self.eta) * traces + self.eta * before[:, :, None] * after[:, None, :]
        else:
            traces = traces + self.eta * after[:, None, :] * (before[:, :, None] - after[:, None, :] * traces)
        if self.settings.symmetric:
            upper = (traces + traces.mT).triu(1) / 2
            return upper + upper.mT
        return traces

    def pack(self, traces: Tensor) -> Tensor:
        """What a state keeps of traces (episodes, neurons, neurons): all, or one for each pair of neurons."""
        return above_diagonal(traces) if self.settings.symmetric else traces

    def unpack(self, kept: Tensor) -> Tensor:
        """Traces (episodes, neurons, neurons) from what a state keeps of them."""
        return symmetric(kept, self.neurons) if self.settings.symmetric else kept

    def step(self, traces: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Activities (episodes, items, neurons) one step after y, if a code x is presented, which is zero for none."""
        current = y @ (self.weight + self.plasticity * traces)
        y = torch.tanh(current[..., :-1] + self.settings.gain * x)
        return torch.cat([y, torch.ones_like(current[..., -1:])], -1)

    def after_memory(self, codes: Tensor) -> Tensor:
        """Activities of neurons that see a code and nothing else, which is what traces learn."""
        return torch.tanh(self.settings.gain * codes)

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Presents each query; values that the mask says were corrupted enter as the mean pattern, as no input."""
        x, answered = self.look(queries, mask, blank=True)
        traces = self.unpack(state["traces"].to(x))
        y = x.new_zeros(*x.shape[:2], self.neurons)
        for _ in range(self.settings.read_steps):
            y = self.step(traces, y, x)
        y = self.step(traces, y, torch.zeros_like(x))
        return answered(y[..., :-1])[None]
