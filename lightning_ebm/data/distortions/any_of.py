"""Several distortions at once: each pattern suffers one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lightning_ebm.data.episodes import Distortion
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import choices, distortions


@dataclass
class AnyOfConfig:
    """Settings of `AnyOf`.

    Attributes:
        of: distortions by name, with their settings, such as [half, {name: noise_block, size: 8}]; one that is
            named twice is twice as likely.
    """

    of: Any = choices(distortions)


class AnyOf(Distortion):
    """Draws one of several distortions for each pattern, all equally likely.

    Args:
        of: the distortions.

    Raises:
        ValueError: if there are none.
    """

    config = AnyOfConfig

    def __init__(self, of: Sequence[Distortion]) -> None:
        if not of:
            raise ValueError("distortion.of must name distortions, such as [half, random_pixels], got []")
        self.of = list(of)

    @classmethod
    def from_config(cls, config: AnyOfConfig, spec: PatternSpec) -> Self:
        """See `Distortion.from_config`."""
        of = []
        for place, one in enumerate(config.of):
            try:
                of.append(distortions.build(one, spec))
            except ValueError as error:
                raise ValueError(f"distortion.of[{place}]: {error}") from None
        return cls(of)

    def __call__(self, patterns: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Distortion.__call__`."""
        drawn = random.integers(len(self.of), size=len(patterns))
        queries, mask = patterns.copy(), np.zeros(patterns.shape, np.bool_)
        for number, distort in enumerate(self.of):
            mine = drawn == number
            # of all patterns, as some distortions take from the others
            all_queries, all_mask = distort(patterns, random)
            queries[mine], mask[mine] = all_queries[mine], all_mask[mine]
        return queries, mask
