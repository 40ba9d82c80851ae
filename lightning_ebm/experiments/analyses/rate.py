"""Error against bits: what each memory recalls when its state is kept at lower precision."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, measure_run, test_episodes
from lightning_ebm.reporting.figures.errors import Lines
from lightning_ebm.schema import PRECISIONS
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run


@dataclass(frozen=True)
class Rate(ErrorAnalysis):
    """The error against bits of state for each pattern, and for each of its values.

    For random bits, the bound of rate-distortion theory is drawn in: n (1 - H(e / n)) bits for each pattern of n bits
    that is recalled with e of them wrong, H being the binary entropy (Shannon 1959). It holds for what is known from
    the state alone; the intact part of a query tells n - c further bits, c of them corrupted, so the line is that for
    c bits, e of them wrong.
    """

    precisions: list[str] = setting(list(PRECISIONS), one_of=tuple(PRECISIONS), min_length=1)
    """How states are kept."""

    title = "Error against bits"
    caption = (
        "Error on corrupted values when the state is kept at lower precision, against its bits for each pattern"
        " (scales included)."
    )
    columns = ("precision", "bits", "bits per pattern", "bits per value")
    axis = "bits of state for each pattern"

    def conditions(self, run: Run) -> Iterator[Condition]:
        for precision in self.precisions:
            found = measure_run(run, precision=precision)
            bits = found.bits / run.config.episodes.patterns_per_episode
            cells = [precision, found.bits, bits, bits / run.data.source.spec.size]
            yield Condition(bits, found.error_corrupted, cells)

    def reference(self, runs: Mapping[str, Run]) -> Lines:
        first = next(iter(runs.values()))
        return {"least for random bits": bound(first)} if first.config.data.name == "bits" else {}


def bound(run: Run) -> list[tuple[float, float, float, float]]:
    """Bits for each pattern that its corrupted bits need at least, against how many of them stay wrong."""
    with test_episodes(run, 4) as episodes:
        counts = np.concatenate([batch.mask.flatten(2).sum(2).flatten().cpu().numpy() for batch in episodes])
    corrupted, share = float(np.mean(counts)), np.linspace(0.001, 0.45, 40)
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    wrong, bits = (corrupted * share).tolist(), (corrupted * (1 - entropy)).tolist()
    return [(rate, errors, errors, errors) for rate, errors in zip(bits, wrong, strict=True)]
