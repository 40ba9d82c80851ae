"""Plain `torch.autograd.grad` in a Python loop over episodes: the reference, and the base of other loops."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call

from benchmarks.cases import Case
from benchmarks.contenders.ours import TorchContender
from lightning_ebm.ebmm.memory import written_parameters

Weights = dict[str, Tensor]
Energy = Callable[[Tensor], Tensor]


class AutogradLoop(TorchContender):
    """Meta-gradients with `create_graph=True`, added up over episodes, so that one episode's graph lives at a time.

    The energy is a black box, as its author's module: what lies below the written layers is run in every step.
    """

    def prepare(self, case: Case, dtype: str, device: str) -> None:
        """Builds the EBMM and the data, and notes which row of the rates belongs to which weight."""
        super().prepare(case, dtype, device)
        self.net = self.memory.energy_net
        self.layers = written_parameters(self.net, self.net.memory_layers)
        self.row = {name: row for row, names in enumerate(self.layers.values()) for name in names}

    def loss_and_gradients(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss, and its gradients in the order of `self.parameters`."""
        total, sums = self.patterns.new_zeros(()), [torch.zeros_like(p) for p in self.parameters]
        for patterns, queries in zip(self.patterns, self.queries, strict=True):
            loss = self.episode_loss(patterns, queries) / len(self.patterns)
            for gradient_sum, gradient in zip(sums, torch.autograd.grad(loss, self.parameters), strict=True):
                gradient_sum += gradient
            total += loss.detach()
        return total, tuple(sums)

    def episode_loss(self, patterns: Tensor, queries: Tensor) -> Tensor:
        """Squared error of all read steps, averaged over the patterns (items, *shape) of one episode."""
        prior: Weights = {name: self.net.get_parameter(name) for name in self.row}
        weights = prior
        for rates in self.memory.writing.rates():
            weights = self.write_step(weights, prior, patterns, rates)
        energy = self.energy(weights)
        error, velocity, x = patterns.new_zeros(()), torch.zeros_like(queries), queries.clone().requires_grad_()
        for step_size, momentum in zip(*self.memory.reading.schedule(), strict=True):
            ahead = (x + momentum * velocity).clamp(0, 1)
            (slope,) = torch.autograd.grad(energy(ahead).sum(), ahead, create_graph=True)
            velocity = momentum * velocity - step_size * slope
            x = (x + velocity).clamp(0, 1)
            error = error + (x - patterns).square().sum()
        return error / len(patterns)

    def write_step(self, weights: Weights, prior: Weights, patterns: Tensor, rates: Tensor) -> Weights:
        """One step of writing; `rates` (layers, terms) in the order energy, prior, gradient.

        x is fresh in each step: the weights depend on the patterns, so that reusing one x would make the slope
        a total derivative. One backward pass gives both the slope and the energy's gradient in the weights.
        """
        inside = list(weights.values())
        x = patterns.clone().requires_grad_(self.memory.writing.gradient_term)
        total = self.energy(weights)(x).sum()
        wanted = [*inside, x] if x.requires_grad else inside
        gradients = torch.autograd.grad(total, wanted, create_graph=True)
        terms = [[gradient / len(patterns) for gradient in gradients[: len(inside)]]]
        terms.append([2 * (weights[name] - prior[name]) for name in weights])
        if x.requires_grad:
            squared = gradients[-1].square().sum() / len(patterns)
            terms.append(list(torch.autograd.grad(squared, inside, create_graph=True)))
        return {
            name: weight - sum(rate * term for rate, term in zip(rates[self.row[name]], gradients, strict=True))
            for (name, weight), *gradients in zip(weights.items(), *terms, strict=True)
        }

    def energy(self, weights: Weights) -> Energy:
        """The energy under written weights: maps (items, *shape) to (items,)."""
        return lambda x: functional_call(self.net, weights, (x,))

    def losses(self, weights: Weights, prior: Weights, patterns: Tensor, rates: Tensor) -> list[tuple[Tensor, Tensor]]:
        """One write step as losses for an optimiser, each with a learning rate for each layer, (layers,).

        With one layer, the rates weigh the terms of a single loss. With several, no single loss gives each
        layer its own rates of all terms: then every term is a loss.
        """
        x = patterns.clone().requires_grad_()
        energies = self.energy(weights)(x)
        pulls = torch.stack([(weights[name] - prior[name]).square().sum() for name in weights])
        terms = [energies.mean(), pulls.sum()]
        if self.memory.writing.gradient_term:
            (slope,) = torch.autograd.grad(energies.sum(), x, create_graph=True)
            terms.append(slope.square().sum() / len(patterns))
        if len(rates) == 1:
            return [((rates[0] * torch.stack(terms)).sum(), rates.new_ones(1))]
        return list(zip(terms, rates.unbind(1), strict=True))
