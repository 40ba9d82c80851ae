"""Every energy at a size small enough for finite differences; a new energy is tested by adding a line."""

from lightning_ebm.ebmm.energies.decoded_mixture import DecodedMixture, DecodedMixtureConfig
from lightning_ebm.ebmm.energies.gated_rnn import GatedRNN
from lightning_ebm.ebmm.energies.mixture import Mixture
from lightning_ebm.ebmm.energies.phase_mixture import PhaseMixture
from lightning_ebm.ebmm.energies.reconstruction import Reconstruction
from lightning_ebm.ebmm.energies.resnet_conv import ResNetConv
from lightning_ebm.ebmm.energies.resnet_fc import ResNetFC

BITS, GREY, COLOUR = (6,), (1, 8, 8), (3, 8, 8)

SMALL = {
    "gated_rnn": (BITS, lambda: GatedRNN(6, hidden=7, memory=3, hops=2)),
    "resnet_fc": (GREY, lambda: ResNetFC(GREY, 3, channels=(3, 4), code=6, hidden=7, hops=2, head=5)),
    "resnet_conv": (
        COLOUR,
        lambda: ResNetConv(COLOUR, 2, channels=(3,), inner=3, width=4, strides=(1, 2), hops=2, head=5),
    ),
    "resnet_conv_large": (
        GREY,
        lambda: ResNetConv(GREY, 2, channels=(3,), inner=3, width=4, strides=(2, 2), hops=1, head=5),
    ),
    "mixture": (BITS, lambda: Mixture(6, components=4, beta=0.5)),
    "phase_mixture": (BITS, lambda: PhaseMixture(6, rows=3, beta=0.5)),
    "reconstruction_vector": (BITS, lambda: Reconstruction(BITS, keys=3, code=5, hidden=4, slow=3)),
    "reconstruction_image": (COLOUR, lambda: Reconstruction(COLOUR, keys=3, code=7, hidden=2, slow=3)),
    # without refining, past which gradients go as if it moved nothing
    "decoded_mixture": (
        GREY,
        lambda: DecodedMixture(GREY, DecodedMixtureConfig(slots=4, code=5, hidden=6, layers=2, detector=3, refining=0)),
    ),
}
