"""Small runs that need no training, for the tests of analyses."""

from lightning_ebm.config import resolve
from lightning_ebm.training.trainer import Run, build


def bits_run(memory, **changes) -> Run:
    """A memory on 32 random bits, 8 of them re-drawn; eight test episodes of four patterns."""
    plain = {
        "memory": memory,
        "data": {"name": "bits", "size": 32},
        "distortion": {"name": "pixels", "amount": 8},
        "episodes": {"patterns_per_episode": 4, "test": 8},
    }
    return build(resolve({**plain, **changes}))
