"""Where in the image the error is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from lightning_ebm.experiments.analysis import Analysis, AnalysisResult, spec_of, test_episodes
from lightning_ebm.metrics import value_errors
from lightning_ebm.reporting.figures.style import new_figure
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class ErrorMap(Analysis):
    """The share of the error that lies in, next to, and far from the corrupted values; and a map of it.

    Next to them is within two pixels.
    """

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        shape = spec_of(runs).shape
        if len(shape) != 3:
            raise ValueError(f"analysis=error_map needs images, got patterns of shape {shape}")
        found = {label: maps(run) for label, run in runs.items()}
        rows = [[label, *parts.values()] for label, (_, parts) in found.items()]
        images = {label: image for label, (image, _) in found.items()}
        return AnalysisResult(
            "Where the error is",
            "Error of a value, averaged over test episodes, by its place: by position in the image (figure), and inside"
            " of the corrupted region, within two pixels of it, and further away (table). The mask is unknown.",
            ["memory", "inside", "within two pixels", "further away"],
            rows,
            error_maps(images),
        )


def maps(run: Run) -> tuple[np.ndarray, dict[str, float]]:
    """The mean error of each pixel (height, width), and that of values by their distance from the corrupted ones."""
    height, width = run.data.source.spec.shape[1:]
    total, count = np.zeros((height, width)), 0
    sums = {"inside": [0.0, 0.0], "near": [0.0, 0.0], "far": [0.0, 0.0]}
    with test_episodes(run) as episodes:
        for batch in episodes:
            answer = run.memory.read(run.memory.write(batch.patterns), batch.queries)[-1]
            errors = value_errors(answer, batch.patterns, run.data.source.spec)
            total += errors.mean(2).sum((0, 1)).double().cpu().numpy()
            count += errors.shape[0] * errors.shape[1]
            mask = batch.mask.flatten(0, 1)
            grown = torch.nn.functional.max_pool2d(mask.float(), 5, stride=1, padding=2).bool().view_as(batch.mask)
            parts = {"inside": batch.mask, "near": grown & ~batch.mask, "far": ~grown}
            for name, part in parts.items():
                sums[name][0] += (errors * part).sum().item()
                sums[name][1] += part.sum().item()
    return total / count, {name: error / places if places else np.nan for name, (error, places) in sums.items()}


def error_maps(images: Mapping[str, np.ndarray]) -> Figure:
    """One map for each memory, on one scale."""
    highest = max(float(image.max()) for image in images.values()) or 1.0
    with new_figure(1.2 + 2.0 * len(images), 2.6) as figure:
        panels = figure.subplots(1, len(images), squeeze=False)[0]
        for axes, (label, image) in zip(panels, images.items(), strict=True):
            shown = axes.imshow(image, vmin=0, vmax=highest, cmap="magma")
            axes.set_title(label, fontsize=8, wrap=True)
            axes.set_axis_off()
        figure.colorbar(shown, ax=list(panels), label="error of a value")
    return figure
