"""Other kinds of noise than that of training, and other strengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lightning_ebm.data.distortions import Block, BlockConfig, Half, HalfConfig, Pixels, PixelsConfig
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, measure_run
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import choices, distortions
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Robustness(ErrorAnalysis):
    """The error under distortions that a memory was not trained with."""

    distortions: list[Any] = choices(distortions)
    """What to test with, by name, each with its settings; empty: a block of noise over a sixteenth, a quarter and over
    half of a pattern, a tenth and half of the values re-drawn, salt and pepper on a quarter, half of a pattern erased.
    """

    title = "Other noise than in training"
    caption = "Error on corrupted values for each distortion of the query."
    columns = ("trained with", "tested with")

    def conditions(self, run: Run) -> Iterator[Condition]:
        """One for each distortion."""
        spec = run.data.source.spec
        kinds = {str(choice): distortions.build(choice, spec) for choice in self.distortions} or usual(spec)
        for kind, distortion in kinds.items():
            found = measure_run(run, distortion=distortion)
            yield Condition(kind, found.error_corrupted, [str(run.config.distortion), kind], found.exact)


def usual(spec: PatternSpec) -> dict[str, Distortion]:
    """Distortions that make sense for such patterns."""
    image = len(spec.shape) == 3
    side, names = min(spec.shape[1:]) if image else spec.size, ("a sixteenth", "a quarter", "a half")
    shares = dict(zip(names, (0.25, 0.5, 0.7) if image else (1 / 16, 0.25, 0.5), strict=True))
    found: dict[str, Distortion] = {
        f"noise block, {name}": Block(spec, BlockConfig(max(1, round(share * side)))) for name, share in shares.items()
    }
    found |= {f"{share:.0%} re-drawn": Pixels(spec, PixelsConfig(share)) for share in (0.1, 0.5)}
    return found | {
        "25% salt and pepper": Pixels(spec, PixelsConfig(0.25, "salt_and_pepper")),
        "half erased": Half(spec, HalfConfig(fill=0)),
    }
