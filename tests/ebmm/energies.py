"""Every energy at a size small enough for finite differences; a new energy is tested by adding a line."""

import math

import torch

from lightning_ebm.ebmm.energies import (
    DecodedMixture,
    GatedRNN,
    MeasuredMixture,
    Mixture,
    PhaseMixture,
    Reconstruction,
    ResNetConv,
    ResNetFC,
)
from tests.contract import build

BITS, GREY, COLOUR = (6,), (1, 8, 8), (3, 8, 8)
LARGE = dict(written_units=2, channels=[4], inner=4, width=6, head=5)
RESTORED = dict(written_units=3, channels=[3], code_dim=5, hidden=6, hops=2, head=4, detector=3, completion=3)
DECODED = dict(slots=4, code_dim=5, hidden=6, layers=2, detector=3, revision=3, recovery=3, steps=2)
MEASURED = dict(slots=4, code_dim=7, address_dim=2, block_size=4, hidden=5, detector=3, recovery=3, steps=2)

SMALL = {
    "gated_rnn": (BITS, GatedRNN, dict(hidden=7, written_units=3, hops=2)),
    "resnet_fc": (GREY, ResNetFC, dict(written_units=3, channels=[3, 4], code_dim=6, hidden=7, hops=2, head=5)),
    "resnet_fc_restored": (GREY, ResNetFC, RESTORED),
    "resnet_conv": (COLOUR, ResNetConv, LARGE | dict(strides=[1, 2], hops=2)),
    "resnet_conv_large": (GREY, ResNetConv, LARGE | dict(strides=[2, 2], hops=1)),
    "mixture": (BITS, Mixture, dict(slots=4, beta=0.5)),
    "phase_mixture": (BITS, PhaseMixture, dict(slots=3, beta=0.5)),
    "reconstruction_vector": (BITS, Reconstruction, dict(keys=3, code_dim=5, hidden=4, slow=3)),
    "reconstruction_image": (COLOUR, Reconstruction, dict(keys=3, code_dim=7, hidden=2, slow=3)),
    "reconstruction_restored": (
        GREY,
        Reconstruction,
        dict(keys=3, code_dim=7, hidden=2, slow=3, detector=3, completion=3),
    ),
    "decoded_mixture": (GREY, DecodedMixture, DECODED),
    "measured_mixture": (GREY, MeasuredMixture, MEASURED),
}


def small_energy(name):
    """An energy of `SMALL`."""
    shape, energy, settings = SMALL[name]
    return build(energy, shape, **settings)


def convolved(layers, images):
    """Convolutions over squares of 2x2 pixels, written anew with nine shifted matrix products a layer."""
    x = torch.stack([images[..., i::2, j::2] for i in range(2) for j in range(2)], 2).flatten(1, 2)
    height, width = x.shape[2:]
    for i, layer in enumerate(layers):
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
        x = sum(
            torch.einsum("oc,nchw->nohw", layer.weight[:, :, a, b], padded[..., a : a + height, b : b + width])
            for a in range(3)
            for b in range(3)
        ) + layer.bias.view(-1, 1, 1)
        if i < len(layers) - 1:
            x = gelu(x)
    result = images.new_zeros(len(x), x.shape[1] // 4, 2 * height, 2 * width)
    for i in range(2):
        for j in range(2):
            result[..., i::2, j::2] = x[:, 2 * i + j :: 4]
    return result


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
