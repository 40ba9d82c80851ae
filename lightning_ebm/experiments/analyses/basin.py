"""How far from a pattern a query may lie and still be led to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from matplotlib.figure import Figure

from lightning_ebm.data.distortions import Pixels, PixelsConfig
from lightning_ebm.experiments.analysis import Analysis, Answer
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import measure
from lightning_ebm.metrics import unit
from lightning_ebm.reporting.figures.lines import Lines, error_lines
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.training.trainer import Run


@dataclass
class BasinConfig:
    """Settings of `Basin`.

    Attributes:
        shares: shares of a pattern's places that are re-drawn, each above 0 and at most 1.
    """

    shares: list[float] = field(default_factory=lambda: [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


class Basin(Analysis):
    """The error that is left against the share of values that are lost: where it rises, basins of attraction end.

    Args:
        shares: as in `BasinConfig`.

    Raises:
        ValueError: if a share is out of range.
    """

    config = BasinConfig

    def __init__(self, shares: list[float]) -> None:
        if not shares or not all(0 < share <= 1 for share in shares):
            raise ValueError(f"analysis.shares must lie above 0 and be at most 1, got {shares}")
        self.shares = sorted(shares)

    @classmethod
    def from_config(cls, config: BasinConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.shares)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`."""
        spec = next(iter(runs.values())).data.source.spec
        lines: Lines = {}
        rows = []
        for label, run in runs.items():
            for share in self.shares:
                episodes = test_loader(run, run.config.episodes.items, distortion=Pixels(spec, PixelsConfig(share)))
                found = measure(run.memory, episodes, spec, device=run.device)
                point = mean_and_band(found.error)
                lines.setdefault(label, []).append((share, *point))
                rows.append([label, share, *point, found.exact])

        def figure(dark: bool) -> Figure:
            return error_lines(lines, "share of the places that are re-drawn", unit(spec), dark)

        return Answer(
            "Basins of attraction",
            f"Error ({unit(spec)}) against the share of places that are re-drawn at random, all values counted; the"
            " mask is unknown. Lines are means, bands reach from the 5th to the 95th percentile of test episodes.",
            ["memory", "share re-drawn", "error", "5th percentile", "95th percentile", "recalled exactly"],
            rows,
            figure,
        )
