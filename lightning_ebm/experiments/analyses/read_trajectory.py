"""Energy and error along the read path."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from lightning_ebm.experiments.analysis import Analysis, AnalysisResult, spec_of, test_episodes
from lightning_ebm.metrics import pattern_errors, unit
from lightning_ebm.reporting.figures.style import COLOURS, legend, new_figure
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class ReadTrajectory(Analysis):
    """How energy and error fall from the query over the read steps (figure 2 of the EBMM paper)."""

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        spec = spec_of(runs)
        found = {label: along(run) for label, run in runs.items()}
        rows = []
        for label, (errors, energies, original) in found.items():
            for step, (error, energy) in enumerate(zip(errors, energies, strict=True)):
                rows.append([label, "query" if step == 0 else step, float(error), float(energy), float(original)])
        with new_figure(9.2, 3.4) as figure:
            panels = figure.subplots(1, 2)
            for rank, (label, (errors, energies, original)) in enumerate(found.items()):
                colour = COLOURS[rank % len(COLOURS)]
                panels[0].plot(errors, marker="o", color=colour, label=label)
                panels[1].plot(energies - original, marker="o", color=colour)
            panels[1].axhline(0, linewidth=0.8, color="grey", linestyle="dashed")
            panels[0].set(xlabel="read step (0: the query)", ylabel=f"error on corrupted values\n({unit(spec)})")
            panels[1].set(xlabel="read step (0: the query)", ylabel="energy above that of\nthe stored pattern")
            legend(figure)
        return AnalysisResult(
            "Along the read path",
            f"Left: error on corrupted values ({unit(spec)}) of the query and after each read step. Right: energy above"
            " that of the stored pattern, of memories that have an energy. Means over test episodes; mask unknown.",
            ["memory", "step", "error", "energy", "energy of the stored pattern"],
            rows,
            figure,
        )


def along(run: Run) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean errors and energies of query and read steps, (1 + steps,), and that of the stored patterns.

    Without an energy, energies are NaN.
    """
    errors: list[torch.Tensor] = []  # of each batch: (1 + steps, episodes)
    energies: list[torch.Tensor] = []
    originals: list[torch.Tensor] = []
    with test_episodes(run) as episodes:
        for batch in episodes:
            state = run.memory.write(batch.patterns)
            points = torch.cat([batch.queries[None], run.memory.read(state, batch.queries)])
            each = [pattern_errors(x, batch.patterns, run.data.source.spec, batch.mask).mean(1) for x in points]
            errors.append(torch.stack(each))
            try:
                energies.append(torch.stack([run.memory.energy(state, x).mean(1) for x in points]))
                originals.append(run.memory.energy(state, batch.patterns).mean(1))
            except NotImplementedError:
                energies.append(torch.full_like(errors[-1], torch.nan))
                originals.append(energies[-1][0])
    curves = [torch.cat(batches, 1).mean(1).cpu().numpy() for batches in (errors, energies)]
    return curves[0], curves[1], torch.cat(originals).mean().item()
