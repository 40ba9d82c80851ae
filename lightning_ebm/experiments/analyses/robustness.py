"""Other kinds of noise than that of training, and other strengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from matplotlib.figure import Figure

from lightning_ebm.data.distortions import Block, BlockConfig, Half, HalfConfig, Pixels, PixelsConfig
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.experiments.analysis import Analysis, Answer
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import measure
from lightning_ebm.memory import PatternSpec
from lightning_ebm.metrics import unit
from lightning_ebm.registry import choices, distortions
from lightning_ebm.reporting.figures.bars import error_bars
from lightning_ebm.reporting.record import mean_and_band
from lightning_ebm.training.trainer import Run


@dataclass
class RobustnessConfig:
    """Settings of `Robustness`.

    Attributes:
        distortions: what to test with, by name, each with its settings; empty: a block of noise over a sixteenth, a
            quarter and over half of a pattern, a tenth and half of the values re-drawn, salt and pepper on a quarter,
            and half of a pattern erased.
    """

    distortions: list[Any] = choices(distortions)


class Robustness(Analysis):
    """The error under distortions that a memory was not trained with.

    Args:
        chosen: as `RobustnessConfig.distortions`.
    """

    config = RobustnessConfig

    def __init__(self, chosen: list[Any]) -> None:
        self.chosen = chosen

    @classmethod
    def from_config(cls, config: RobustnessConfig) -> Self:
        """See `Analysis.from_config`."""
        return cls(config.distortions)

    def answer(self, runs: Mapping[str, Run]) -> Answer:
        """See `Analysis.answer`."""
        spec = next(iter(runs.values())).data.source.spec
        kinds = {str(choice): distortions.build(choice, spec) for choice in self.chosen} or usual(spec)
        bars: dict[str, dict[str, tuple[float, float, float]]] = {}
        rows = []
        for label, run in runs.items():
            for kind, distortion in kinds.items():
                episodes = test_loader(run, run.config.episodes.items, distortion=distortion)
                found = measure(run.memory, episodes, spec, device=run.device)
                bars.setdefault(label, {})[kind] = point = mean_and_band(found.error_corrupted)
                rows.append([label, str(run.config.distortion), kind, *point, found.exact])

        def figure(dark: bool) -> Figure:
            return error_bars(bars, unit(spec), dark)

        return Answer(
            "Other noise than in training",
            f"Error on corrupted values ({unit(spec)}) for each distortion of the query; the mask is unknown. Bars are"
            " means, lines reach from the 5th to the 95th percentile of test episodes.",
            ["memory", "trained with", "tested with", "error", "5th percentile", "95th percentile", "recalled exactly"],
            rows,
            figure,
        )


def usual(spec: PatternSpec) -> dict[str, Distortion]:
    """Distortions that make sense for such patterns."""
    side = min(spec.shape[1:]) if len(spec.shape) == 3 else spec.size
    shares = {"a sixteenth": 0.25, "a quarter": 0.5, "a half": 0.7} if len(spec.shape) == 3 else {
        "a sixteenth": 1 / 16, "a quarter": 0.25, "a half": 0.5
    }  # fmt: skip
    found: dict[str, Distortion] = {
        f"noise block, {name}": Block(spec, BlockConfig(max(1, round(share * side)))) for name, share in shares.items()
    }
    found |= {f"{share:.0%} re-drawn": Pixels(spec, PixelsConfig(share)) for share in (0.1, 0.5)}
    return found | {
        "25% salt and pepper": Pixels(spec, PixelsConfig(0.25, "salt_and_pepper")),
        "half erased": Half(spec, HalfConfig(fill=0)),
    }
