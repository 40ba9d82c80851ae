"""A two-dimensional slice of the energy, before and after writing, with a read path drawn in."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lightning_ebm.experiments.analysis import Analysis, AnalysisResult, ask, test_episodes
from lightning_ebm.memory import State
from lightning_ebm.reporting.figures.style import COLOURS, new_figure
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Landscape(Analysis):
    """Energies in the plane through a stored pattern, its query, and another stored pattern.

    The plane's axes are the way from the pattern to its query and, orthogonal to it, towards the other pattern. Read
    steps are projected on it. Points of the plane may have values outside of [0, 1]; energies are taken of them
    clipped, as reading clips.
    """

    item: int = setting(0, at_least=0)
    """Which pattern of the first test episode, from 0."""
    points: int = setting(41, at_least=2)
    """Energies along each axis."""

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        found = ask(runs, self.slice, "has an energy")
        rows = []
        for label, plane in found.items():
            for when in ("before", "after"):
                row, column = np.unravel_index(plane[when].argmin(), plane[when].shape)
                rows.append([label, when, float(plane["x"][column]), float(plane["y"][row]), float(plane[when].min())])
        return AnalysisResult(
            "A slice of the energy, before and after writing",
            "The plane through a stored pattern (square, at 0, 0), its query (circle, at 1, 0) and another stored"
            " pattern (triangle); lengths are in units of the way from pattern to query. The line is the read path,"
            " projected.",
            ["memory", "writing", "x of the minimum", "y of the minimum", "energy there"],
            rows,
            planes(found),
        )

    def slice(self, run: Run) -> dict[str, np.ndarray]:
        """Energies in a plane, and what lies in it.

        Returns:
            Energies `before` and `after` writing, (points, points), over `x` and `y`, (points,); places `path` of query
            and read steps, (1 + steps, 2), and `other` of the other pattern, (2,).
        """
        items = run.config.episodes.patterns_per_episode
        if not (self.item < items and items > 1):
            raise ValueError(
                f"analysis.item must be below {items}, the patterns of an episode, which needs at least two"
            )
        with test_episodes(run, batch=1) as episodes:
            batch = next(episodes)
            pattern, query = batch.patterns[0, self.item].flatten(), batch.queries[0, self.item].flatten()
            other = batch.patterns[0, (self.item + 1) % items].flatten()
            length = (query - pattern).norm().clamp_min(1e-6)
            across = (query - pattern) / length
            up = other - pattern - ((other - pattern) @ across) * across
            up = up / up.norm().clamp_min(1e-6)

            def place(x: Tensor) -> Tensor:
                return torch.stack([(x - pattern) @ across, (x - pattern) @ up], -1) / length

            state = run.memory.write(batch.patterns)
            steps = run.memory.read(state, batch.queries[:, self.item : self.item + 1])[:, 0, 0].flatten(1)
            there = place(other)
            x = torch.linspace(-0.6, max(1.6, float(there[0]) + 0.4), self.points, device=run.device)
            y = torch.linspace(-0.6, max(1.0, float(there[1]) + 0.4), self.points, device=run.device)
            grid = pattern + length * (x[None, :, None] * across + y[:, None, None] * up)
            points = grid.clamp(0, 1).view(1, -1, *batch.patterns.shape[2:])

            def energies(of: State) -> np.ndarray:
                values: np.ndarray = run.memory.energy(of, points).view(self.points, self.points).cpu().numpy()
                return values

            return {
                "before": energies(run.memory.initial_state(1)),
                "after": energies(state),
                "x": x.cpu().numpy(),
                "y": y.cpu().numpy(),
                "path": place(torch.cat([query[None], steps])).cpu().numpy(),
                "other": there.cpu().numpy(),
            }


def planes(found: Mapping[str, dict[str, np.ndarray]]) -> Figure:
    """Two panels for each memory; the read path is drawn where it belongs, in the written energy."""
    with new_figure(8.4, 0.4 + 3.3 * len(found)) as figure:
        panels = figure.subplots(len(found), 2, squeeze=False)
        for row, (label, plane) in zip(panels, found.items(), strict=True):
            for axes, when in zip(row, ("before", "after"), strict=True):
                shown = axes.contourf(plane["x"], plane["y"], plane[when], 24, cmap="viridis")
                figure.colorbar(shown, ax=axes)
                axes.grid(False)
                axes.set_title(f"{label}, {when} writing")
                axes.plot(0, 0, "s", color="whitesmoke", markeredgecolor="black")
                axes.plot(1, 0, "o", color="whitesmoke", markeredgecolor="black")
                axes.plot(*plane["other"], "^", color="whitesmoke", markeredgecolor="black")
            row[1].plot(*plane["path"].T, ".-", color=COLOURS[1])
    return figure
