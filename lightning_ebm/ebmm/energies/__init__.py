"""Energies: an abstract base, the paper's three, and others in its sense."""

from lightning_ebm.ebmm.energies.base import Energy
from lightning_ebm.ebmm.energies.decoded_mixture import DecodedMixture, DecodedMixtureConfig
from lightning_ebm.ebmm.energies.gated_rnn import GatedRNN, GatedRNNConfig
from lightning_ebm.ebmm.energies.measured_mixture import MeasuredMixture, MeasuredMixtureConfig
from lightning_ebm.ebmm.energies.mixture import Mixture, MixtureConfig
from lightning_ebm.ebmm.energies.phase_mixture import PhaseMixture, PhaseMixtureConfig
from lightning_ebm.ebmm.energies.reconstruction import Reconstruction, ReconstructionConfig
from lightning_ebm.ebmm.energies.resnet_conv import ResNetConv, ResNetConvConfig
from lightning_ebm.ebmm.energies.resnet_fc import ResNetFC, ResNetFCConfig

__all__ = [
    "DecodedMixture",
    "DecodedMixtureConfig",
    "Energy",
    "GatedRNN",
    "GatedRNNConfig",
    "MeasuredMixture",
    "MeasuredMixtureConfig",
    "Mixture",
    "MixtureConfig",
    "PhaseMixture",
    "PhaseMixtureConfig",
    "Reconstruction",
    "ReconstructionConfig",
    "ResNetConv",
    "ResNetConvConfig",
    "ResNetFC",
    "ResNetFCConfig",
]
