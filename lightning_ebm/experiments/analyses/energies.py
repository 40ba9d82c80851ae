"""The energy of stored, corrupted, unseen and foreign patterns: does it know what it holds?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from lightning_ebm.experiments.analysis import Analysis, AnalysisResult, ask, test_episodes
from lightning_ebm.reporting.figures.style import COLOURS, legend, new_figure
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Energies(Analysis):
    """Histograms of the energy, and how well it tells stored patterns from others.

    Unseen patterns are those of other test episodes, foreign ones are uniform noise, or random bits.
    """

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        found = ask(runs, energies, "has an energy")
        rows = [
            [label, kind, *mean_and_band(values.tolist()), auroc(kinds["stored"], values)]
            for label, kinds in found.items()
            for kind, values in kinds.items()
        ]
        return AnalysisResult(
            "Energies of stored and of other patterns",
            "Histograms of the energy of stored patterns, of their corrupted queries, of patterns of other episodes,"
            " and of foreign ones. AUROC: the chance that a stored pattern has less energy than one of the other kind.",
            ["memory", "patterns", "mean energy", "5th percentile", "95th percentile", "AUROC against stored"],
            rows,
            histograms(found),
        )


def energies(run: Run) -> dict[str, np.ndarray]:
    """The energies of all patterns of all test episodes, by kind.

    Raises:
        NotImplementedError: if the memory has no energy.
    """
    values: dict[str, list[np.ndarray]] = {}
    random = torch.Generator().manual_seed(0)
    with test_episodes(run) as episodes:
        for batch in episodes:
            state = run.memory.write(batch.patterns)
            noise = torch.rand(batch.patterns.shape, generator=random).to(batch.patterns)
            kinds = {
                "stored": batch.patterns,
                "corrupted": batch.queries,
                "unseen": batch.patterns.roll(1, 0),  # those of the episode before; of a lone one there are none
                "foreign": noise.round() if run.data.source.spec.binary else noise,
            }
            if len(batch.patterns) == 1:
                del kinds["unseen"]
            for kind, patterns in kinds.items():
                values.setdefault(kind, []).append(run.memory.energy(state, patterns).flatten().double().cpu().numpy())
    return {kind: np.concatenate(parts) for kind, parts in values.items()}


def auroc(stored: np.ndarray, others: np.ndarray) -> float:
    """The chance that a stored pattern has less energy than another; ties count half (Mann and Whitney, 1947)."""
    ordered = np.sort(stored)
    below, up_to = (np.searchsorted(ordered, others, side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(stored))


def histograms(found: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """One panel for each memory, one outline for each kind of pattern."""
    with new_figure(6.4, 0.7 + 2.2 * len(found)) as figure:
        panels = figure.subplots(len(found), squeeze=False)[:, 0]
        for axes, (label, kinds) in zip(panels, found.items(), strict=True):
            edges = np.histogram_bin_edges(np.concatenate(list(kinds.values())), 60)
            for rank, (kind, values) in enumerate(kinds.items()):
                colour = COLOURS[rank]
                axes.hist(values, edges, density=True, histtype="stepfilled", alpha=0.25, color=colour)
                axes.hist(values, edges, density=True, histtype="step", color=colour, label=kind)
            axes.set_title(label)
            axes.set_yticks([])
        panels[-1].set_xlabel("energy")
        legend(figure, 4)
    return figure
