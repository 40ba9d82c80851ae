"""Distortions: what queries suffer, one a file. Each one says in its mask where it put new values."""

from lightning_ebm.data.distortions.any_of import AnyOf
from lightning_ebm.data.distortions.erased_block import ErasedBlock
from lightning_ebm.data.distortions.gaussian import Gaussian
from lightning_ebm.data.distortions.half import Half
from lightning_ebm.data.distortions.noise_block import NoiseBlock
from lightning_ebm.data.distortions.occlusion import Occlusion
from lightning_ebm.data.distortions.random_pixels import RandomPixels
from lightning_ebm.data.distortions.redrawn_bits import RedrawnBits
from lightning_ebm.data.distortions.salt_and_pepper import SaltAndPepper

__all__ = [
    "AnyOf",
    "ErasedBlock",
    "Gaussian",
    "Half",
    "NoiseBlock",
    "Occlusion",
    "RandomPixels",
    "RedrawnBits",
    "SaltAndPepper",
]
