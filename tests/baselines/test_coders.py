"""Coders of images that are treated as vectors: what they start as, and what they refuse."""

import numpy as np
import pytest
import torch

from baselines.coders import Coders, CodersConfig


def build(shape=(1, 16, 16), width=None, seed=0, **settings):
    torch.manual_seed(seed)
    return Coders(shape, width, CodersConfig(hidden=16, channels=[], **({"code": 20} | settings)))


def waves(size):
    """The orthonormal cosine transform, from its textbook formula: (size, size), float64, one wave a row."""
    n = np.arange(size)
    norm = np.where(n == 0, np.sqrt(1 / size), np.sqrt(2 / size))
    return norm[:, None] * np.cos(np.pi * (2 * n + 1) * n[:, None] / (2 * size))


def smooth(shape, seed=0):
    """Images (1, 5, *shape) in [0, 1] of the spectrum of photographs: amplitudes fall as 1 / frequency."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(5, *shape, generator=generator)
    spectrum /= 1 + (torch.arange(shape[1])[:, None].square() + torch.arange(shape[2]).square()).sqrt()
    images = torch.from_numpy(waves(shape[1]).T @ spectrum.double().numpy() @ waves(shape[2])).float()
    return (0.5 + 0.2 * images / images.std()).clamp(0, 1)[None]


@pytest.mark.parametrize(("shape", "width"), [((1, 16, 16), None), ((3, 7, 10), 31), ((1, 4, 6), 40)])
def test_shapes_of_any_images_and_widths(shape, width):
    coders = build(shape, width)
    patterns = torch.rand(2, 3, *shape)
    codes = coders.encode(patterns)
    assert codes.shape == (2, 3, width or 20)
    assert coders.decode(codes).shape == patterns.shape


@pytest.mark.parametrize("seed", range(3))
def test_a_smooth_image_is_at_first_decoded_to_its_low_frequencies(seed):
    shape, width = (2, 16, 16), 2 * 52
    images = smooth(shape, seed)
    coders = build(shape, width, seed)
    spectrum = waves(16) @ (2 * images.double().numpy() - 1) @ waves(16).T
    squares = torch.arange(16)[:, None].square() + torch.arange(16).square()
    low = squares < squares.flatten().sort().values[52]
    assert low.sum() == 52  # the border lies between two frequencies
    passed = torch.from_numpy(waves(16).T @ (spectrum * low.numpy()) @ waves(16))
    with torch.no_grad():
        logits = coders.logits(coders.encode(images))
    assert (logits - 2 * passed).square().mean().sqrt() < 0.2  # the perceptrons' share
    assert (logits - 2 * (2 * images - 1)).square().mean().sqrt() > 0.2  # higher frequencies are missing
    assert (logits.sigmoid() - images).abs().mean() < 0.1


def test_without_the_perceptrons_all_waves_give_back_the_image():
    coders = build((1, 8, 8), 64)
    with torch.no_grad():
        for net in (coders.encoder[1], coders.decoder[0]):
            net.outer.weight.zero_()
    images = torch.rand(2, 3, 1, 8, 8)
    torch.testing.assert_close(coders.logits(coders.encode(images)), 2 * (2 * images - 1))


def test_codes_and_logits_are_of_order_one():
    images = (smooth((1, 32, 32)) > 0.6).float()  # 0 and 1, mostly paper
    coders = build((1, 32, 32), 256)
    with torch.no_grad():
        codes = coders.encode(images)
        assert 0.8 < codes.square().mean().sqrt() < 1.1
        assert 1.6 < coders.logits(codes).square().mean().sqrt() < 2.2


def test_what_exceeds_the_number_of_values_starts_close_to_zero():
    coders = build((1, 4, 4), 20)
    assert (coders.encoder[1].straight.weight[16:] == 0).all()
    assert (coders.decoder[0].straight.weight[:, 16:] == 0).all()
    assert coders.overlap == 16


@pytest.mark.parametrize("width", [12, 80])
def test_gradients_reach_all_parameters(width):
    coders = build((1, 8, 8), width)
    coders.logits(coders.encode(torch.rand(1, 4, 1, 8, 8))).square().sum().backward()
    for name, parameter in coders.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_a_code_may_be_wider_than_that_of_the_images_encoder():
    assert build(width=100).width == 100
    with pytest.raises(ValueError, match=r"width must be at most coders\.code=20"):
        Coders((1, 16, 16), 100, CodersConfig(code=20))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"hidden": 0}, "coders.hidden must be at least 1, got 0"),
        ({"code": 0}, "coders.code must be at least 1, got 0"),
        ({"shape": (8, 8)}, r"vectors or images, not patterns of shape \(8, 8\)"),
    ],
)
def test_errors(settings, message):
    shape, width = settings.pop("shape", (1, 8, 8)), settings.pop("width", None)
    with pytest.raises(ValueError, match=message):
        Coders(shape, width, CodersConfig(**({"channels": []} | settings)))
