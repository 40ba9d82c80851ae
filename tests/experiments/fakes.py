"""A small made-up comparison, with everything that makes reports go wrong."""

import dataclasses

import numpy as np

from lightning_ebm.reporting.record import PRIOR, QUERY, Comparison, Recall, Record

NASTY = "<script>alert(\"1\")</script> & 'co'"


def errors(mean: float, episodes: int = 40, seed: int = 0) -> list[float]:
    """Skewed errors of this mean exactly."""
    draws = np.random.default_rng(seed).gamma(2.0, size=episodes)
    return [float(x) for x in draws * mean / draws.mean()]


def result(label: str, memory: str, mean: float, floats: int = 1000, **changes) -> Record:
    role = "" if memory != "control" else QUERY if label == QUERY else PRIOR
    made = Record(
        label=label, memory=memory, role=role, items=16, floats=floats, floats_strict=floats,
        error=errors(1.5 * mean, seed=1), error_corrupted=errors(mean), write_ms=2.5, read_ms=1.25, updates=300,
        train_seconds=12.0, parameters=5000, series=label.split(", ")[0], bits=32 * floats, mse=0.01, ssim=0.5,
        exact=0.25,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def controls(items: int = 16, mask_known: bool = False) -> list[Record]:
    bare = {"items": items, "mask_known": mask_known, "updates": 0, "train_seconds": 0.0, "parameters": 0}
    return [
        result("query itself", "control", 32.0, 0, write_ms=0.0, read_ms=0.0, **bare),
        result("EBMM, prior state", "control", 24.0, 900, **bare),
        result("MANN, prior state", "control", 28.0, 900, **bare),
    ]


def gallery(channels: int = 1, items: int = 3, steps: int = 4) -> dict[str, Recall]:
    random = np.random.default_rng(channels)
    patterns = random.random((items, channels, 32, 32))
    shape = (steps, items, channels, 32, 32)
    return {label: Recall(patterns, 1 - patterns, random.random(shape)) for label in ("EBMM", NASTY)}


def comparison(results: list[Record], pictures: dict[str, Recall] | None = None) -> Comparison:
    origin = {"command": f"lightning-ebm compare {NASTY}", "commit": "abc", "date": "2026-01-02"}
    return Comparison(
        title=f"Fakes {NASTY}", unit="wrong <bits> of 128", results=results, gallery=pictures or {},
        config=f"name: {NASTY}\n", provenance={**origin, f"key {NASTY}": f"value {NASTY}"},
    )  # fmt: skip


def sizes() -> list[Record]:
    """One setting: two memories in two sizes each, one with a nasty name, one that diverged, and controls."""
    return [
        result("EBMM, 1,000", "ebmm", 4.0, 1000),
        result("EBMM, 2,000", "ebmm", 2.0, 2000, floats_strict=2064),
        result("MANN, 1,000", "mann", 8.0, 1000),
        result("MANN, 3,000", "mann", 5.0, 3000),
        result(NASTY, "nasty", 16.0, 1500),
        result("Diverged", "diverged", 1.0, 1500, error=[1.0, np.inf], error_corrupted=[np.nan, 1.0]),
        *controls(),
    ]


def counts() -> list[Record]:
    """Two numbers of patterns and both mask settings: EBMM is best with 16 patterns, Hopfield with 32."""
    found = []
    for mask_known in (False, True):
        for items, means in ((16, (1.0, 2.0, 3.0)), (32, (6.0, 5.0, 7.0))):
            setting = {"items": items, "mask_known": mask_known}
            found += [
                result("EBMM", "ebmm", means[0], **setting),
                result("Hopfield (Hebb)", "hopfield", means[1], **setting),
                result("Hopfield (Storkey)", "hopfield", means[2], **setting),
                *controls(**setting),
            ]
    return found
