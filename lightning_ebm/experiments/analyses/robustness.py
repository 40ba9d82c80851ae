"""Other kinds of noise than that of training, and other strengths."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightning_ebm.data.distortions import Block, BlockConfig, Half, HalfConfig, Pixels, PixelsConfig
from lightning_ebm.data.episodes import Distortion
from lightning_ebm.experiments.analyses.incremental_writing import write_in_portions
from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, measure_run, test_episodes
from lightning_ebm.experiments.controls import QueryItself
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.experiments.measure import Written, measure
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import choices, distortions
from lightning_ebm.reporting.record import Record
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


class Setting(NamedTuple):
    """How a memory is tested, but for the distortion; of no portions, nothing is written."""

    items: int
    portions: int
    precision: str
    mask: str


@dataclass(frozen=True)
class Robustness(ErrorAnalysis):
    """The error under distortions that a memory may not have been trained with.

    Each distortion is tested with the first of `compare.patterns_per_episode` and of `compare.precisions` and the mask
    as `compare.mask` says, and with each other value of one of them, or number of portions, at a time.
    """

    distortions: list[Any] = choices(distortions)
    """What to test with, by name, each with its settings; empty: a block of noise over a sixteenth, a quarter and over
    half of a pattern, a tenth and half of the values re-drawn, salt and pepper on a quarter, half of a pattern erased.
    """
    portions: list[int] = setting([], at_least=0)
    """Further numbers of portions in which patterns are written, by `update`; 0: nothing is written, which shows what
    the reader does without a memory."""

    title = "Other noise than in training"
    caption = (
        "Error on all values for each distortion of the query, and the query's own; by the number of patterns, the"
        " portions in which they are written, the precision of the state, and whether the mask is given."
    )
    columns = ("tested with", "patterns", "portions", "precision", "mask", "query")
    needs = "can add to a state"
    masks = ""

    def conditions(self, run: Run) -> Iterator[Condition]:
        spec = run.data.source.spec
        kinds = {str(choice): distortions.build(choice, spec) for choice in self.distortions} or usual(spec)
        settings, written = self.settings(run), dict[tuple[int, int], Written]()
        shown = [[value or "nothing" for value in one] for one in settings]
        for kind, distortion in kinds.items():
            query_errors = {
                items: measure(QueryItself(), test_loader(run, items, distortion=distortion), spec).mean("error")
                for items in {one.items for one in settings}
            }
            for one, cells in zip(settings, shown, strict=True):
                found = measured(run, one, distortion, written)
                changes = "".join(f", {new}" for new, old in zip(cells, shown[0], strict=True) if new != old)
                row = [kind, *cells, query_errors[one.items]]
                yield Condition(kind, found.error, row, found.exact, line=changes)

    def settings(self, run: Run) -> list[Setting]:
        """The first setting, and those that differ from it in one respect."""
        compare = run.config.compare
        items = compare.patterns_per_episode or [run.config.episodes.patterns_per_episode]
        masks = ["unknown", "known"] if compare.mask == "both" else [compare.mask]
        if any(portions > items[0] for portions in self.portions):
            raise ValueError(f"analysis.portions must be at most {items[0]}, the patterns stored, got {self.portions}")
        first = Setting(items[0], 1, compare.precisions[0], masks[0])
        return [
            first,
            *(first._replace(mask=mask) for mask in masks[1:]),
            *(first._replace(precision=precision) for precision in compare.precisions[1:]),
            *(first._replace(items=count) for count in items[1:]),
            *(first._replace(portions=portions) for portions in self.portions),
        ]


def measured(run: Run, one: Setting, distortion: Distortion, written: dict[tuple[int, int], Written]) -> Record:
    """What a memory recalls in a setting. `written` keeps states by numbers of patterns and of portions."""
    states = written.setdefault((one.items, one.portions), [])
    if one.portions > 1 and not states:
        with test_episodes(run, one.items) as episodes:
            states += [(write_in_portions(run.memory, batch.patterns, one.portions), 0.0) for batch in episodes]
    return measure_run(
        run,
        test_loader(run, one.items, distortion=distortion),
        mask_known=one.mask == "known",
        nothing_written=not one.portions,
        precision=one.precision,
        written=states,
    )


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
