"""Other kinds of noise than that of training, and other strengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_ebm.data.distortions import Block, BlockConfig, Half, HalfConfig, Pixels, PixelsConfig
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.experiments.analysis import Analysis, AnalysisResult, Condition, errors_under, measure_run, spec_of
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import choices, distortions
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Robustness(Analysis):
    """The error under distortions that a memory was not trained with."""

    distortions: list[Any] = choices(distortions)
    """What to test with, by name, each with its settings; empty: a block of noise over a sixteenth, a quarter and over
    half of a pattern, a tenth and half of the values re-drawn, salt and pepper on a quarter, half of a pattern erased.
    """

    def result(self, runs: Mapping[str, Run]) -> AnalysisResult:
        """See `Analysis.result`."""
        spec = spec_of(runs)
        kinds = {str(choice): distortions.build(choice, spec) for choice in self.distortions} or usual(spec)

        def conditions(run: Run) -> Iterator[Condition]:
            for kind, distortion in kinds.items():
                found = measure_run(run, distortion=distortion)
                yield Condition(kind, found.error_corrupted, [str(run.config.distortion), kind], found.exact)

        return errors_under(
            runs,
            conditions,
            "Other noise than in training",
            "Error on corrupted values for each distortion of the query.",
            ["trained with", "tested with"],
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
