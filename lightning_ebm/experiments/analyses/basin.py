"""How far from a pattern a query may lie and still be led to it."""

from collections.abc import Iterator
from dataclasses import dataclass

from lightning_ebm.data.distortions import Pixels, PixelsConfig
from lightning_ebm.experiments.analysis import Condition, ErrorAnalysis, measure_run
from lightning_ebm.experiments.experiment import test_loader
from lightning_ebm.settings import setting
from lightning_ebm.training.trainer import Run

SHARES = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@dataclass(frozen=True)
class Basin(ErrorAnalysis):
    """The remaining error against the share of values that are lost: where it rises, basins of attraction end."""

    shares: list[float] = setting(SHARES, above=0, at_most=1, min_length=1)
    """Shares of a pattern's places that are re-drawn."""

    title = "Basins of attraction"
    caption = "Error on all values against the share of places that are re-drawn at random."
    columns = ("share re-drawn",)
    axis = "share of the places that are re-drawn"
    xscale = "linear"

    def conditions(self, run: Run) -> Iterator[Condition]:
        for share in sorted(self.shares):
            distortion = Pixels(run.data.source.spec, PixelsConfig(share))
            found = measure_run(run, test_loader(run, distortion=distortion))
            yield Condition(share, found.error, exact=found.exact)
