"""Coders of images that are treated as vectors, and the objective of coders alone."""

import numpy as np
import pytest
import torch

from baselines.coders import AutoencoderMemory, Coders, CodersConfig
from baselines.mann import MANN
from baselines.no_memory import NoMemory
from baselines.plasticity import Plasticity
from lightning_ebm.registry import memories
from tests.contract import build


def coders_of(shape=(1, 16, 16), width=None, seed=0, **settings):
    torch.manual_seed(seed)
    return Coders(shape, width, CodersConfig(hidden=16, channels=[], **({"code_dim": 20} | settings)))


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
    coders = coders_of(shape, width)
    patterns = torch.rand(2, 3, *shape)
    codes = coders.encode(patterns)
    assert codes.shape == (2, 3, width or 20)
    assert coders.logits(codes).shape == patterns.shape


@pytest.mark.parametrize("seed", range(3))
def test_a_smooth_image_is_at_first_decoded_to_its_low_frequencies(seed):
    shape, width = (2, 16, 16), 2 * 52
    images = smooth(shape, seed)
    coders = coders_of(shape, width, seed)
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
    coders = coders_of((1, 8, 8), 64)
    with torch.no_grad():
        for net in (coders.encoder[1], coders.decoder[0]):
            net.outer.weight.zero_()
    images = torch.rand(2, 3, 1, 8, 8)
    torch.testing.assert_close(coders.logits(coders.encode(images)), 2 * (2 * images - 1))


def test_codes_and_logits_are_of_order_one():
    images = (smooth((1, 32, 32)) > 0.6).float()  # 0 and 1, mostly paper
    coders = coders_of((1, 32, 32), 256)
    with torch.no_grad():
        codes = coders.encode(images)
        assert 0.8 < codes.square().mean().sqrt() < 1.1
        assert 1.6 < coders.logits(codes).square().mean().sqrt() < 2.2


def test_the_typical_image_is_learned_and_taken_off():
    """Its gradient vanishes at the mean image, and codes of that are those of grey paper before."""
    memory = build(NoMemory, (1, 4, 4), coders=CodersConfig(hidden=2, channels=[], code_dim=6))
    images = torch.rand(2, 3, 1, 4, 4)
    grey = memory.coders.encode(torch.full_like(images, 0.5))
    mean = images.mean((0, 1))
    spread = memory.coders.spread(images)
    assert spread[1, 2].item() == pytest.approx(((images[1, 2] - 0.5) ** 2).sum().item(), rel=1e-5)
    with torch.no_grad():
        memory.coders.mean_pattern.copy_(mean)
    torch.testing.assert_close(memory.coders.encode(mean.expand_as(images)), grey)
    (slope,) = torch.autograd.grad(memory.coders.spread(images).sum(), memory.coders.mean_pattern)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-5, rtol=0)
    memory.auxiliary_loss(images, images, images > 2).backward()
    assert (memory.coders.mean_pattern.grad != 0).any()


def test_what_exceeds_the_number_of_values_starts_close_to_zero():
    coders = coders_of((1, 4, 4), 20)
    assert (coders.encoder[1].straight.weight[16:] == 0).all()
    assert (coders.decoder[0].straight.weight[:, 16:] == 0).all()
    assert coders.overlap == 16


@pytest.mark.parametrize("width", [12, 80])
def test_gradients_reach_all_parameters(width):
    coders = coders_of((1, 8, 8), width)
    coders.logits(coders.encode(torch.rand(1, 4, 1, 8, 8))).square().sum().backward()
    for name, parameter in coders.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"code_dim": 0}, "code_dim must be at least 1, got 0"),
        ({"channels": [4, 0]}, r"channels must be at least 1, got \[4, 0\]"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        CodersConfig(**settings)


WITH_CODERS = [name for name in memories.names() if hasattr(memories.load(name).config(), "coders")]


class TestAuxiliaryLoss:
    def test_cross_entropy_by_hand(self):
        memory = build(NoMemory, (3,), coders=CodersConfig(hidden=2))
        with torch.no_grad():
            for net in (memory.coders.encoder, memory.coders.decoder):
                net.outer.weight.zero_()
            memory.coders.decoder.straight.weight.copy_(2 * torch.eye(3))
        patterns = torch.tensor([[[1.0, 0.0, 0.25], [0.5, 1.0, 1.0]]])
        # Logits are 4 p - 2: 2, -2, -1 and 0, 2, 2; -p ln σ - (1 - p) ln (1 - σ) of each is
        right = np.log1p(np.exp(-2))
        quarter = 0.25 * np.log1p(np.exp(1)) + 0.75 * np.log1p(np.exp(-1))
        expected = (right + right + quarter + np.log(2) + right + right) / 2
        assert memory.auxiliary_loss(patterns, patterns, patterns > 0.5).item() == pytest.approx(expected, rel=1e-6)

    def test_every_memory_with_coders_is_here(self):
        assert len(WITH_CODERS) >= 9
        assert all(issubclass(memories.load(name), AutoencoderMemory) for name in WITH_CODERS)

    @pytest.mark.parametrize("channels", [[], [2, 3]])
    @pytest.mark.parametrize("name", WITH_CODERS)
    def test_gradients_reach_encoder_and_decoder(self, name, channels):
        kind = memories.load(name)
        sizes = {"neurons": 20, "key": 6, "value": 5, "slots": 4}
        sizes = {key: size for key, size in sizes.items() if hasattr(kind.config(), key)}
        memory = build(kind, (1, 8, 8), coders=CodersConfig(hidden=8, channels=channels, code_dim=24), **sizes)
        patterns = torch.rand(2, 3, 1, 8, 8).round()
        loss = memory.auxiliary_loss(patterns, 1 - patterns, patterns >= 0)
        assert loss.shape == ()
        assert loss.isfinite()
        assert 0 < loss < 3 * 64
        loss.backward()
        for part, parameter in memory.coders.named_parameters():
            assert parameter.grad.isfinite().all(), part
            assert (parameter.grad != 0).any(), part

    def test_mann_decodes_what_a_slot_with_one_pattern_gives(self):
        memory = build(MANN, (12,), slots=1, hidden=3)
        with torch.no_grad():
            memory.hidden_to_gate.bias.fill_(-40.0)
            for layer in (memory.code_to_add, memory.read_to_output):
                layer.weight.add_(0.1 * torch.randn(12, 12))
            for layer in (memory.hidden_to_add, memory.hidden_to_output):
                layer.weight.zero_()
        patterns = torch.rand(2, 1, 12).round()
        decoded = memory.coders.logits(memory.after_memory(memory.coders.encode(patterns))).sigmoid()
        torch.testing.assert_close(memory.read(memory.write(patterns), patterns)[-1], decoded)

    def test_plasticity_decodes_the_activity_that_a_pattern_alone_causes(self):
        memory = build(Plasticity, (12,))
        codes, neurons = memory.coders.encode(torch.rand(2, 3, 12)), memory.neurons
        alone = memory.step(torch.zeros(2, neurons, neurons), torch.zeros(2, 3, neurons), codes)
        torch.testing.assert_close(memory.after_memory(codes), alone[..., :-1])
