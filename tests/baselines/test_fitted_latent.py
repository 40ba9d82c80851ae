"""Fitted latents against the equations, finite differences, and principal components."""

import numpy as np
import torch

from baselines.fitted_latent import FittedLatent, FittedLatentConfig
from lightning_ebm.data.episodes import episode_random
from lightning_ebm.data.glyphs import Glyphs, GlyphsConfig
from lightning_ebm.memory import PatternSpec
from tests.contract import IMAGES, MemoryContract, build, check_meta_gradient

SMALL = {"latent_dim": 5, "hidden": 6, "layers": 2}


class TestFittedLatent(MemoryContract):
    spec = IMAGES
    kind = FittedLatent
    config = FittedLatentConfig(slots=5, **SMALL)


class TestColour(TestFittedLatent):
    spec = PatternSpec((3, 4, 6), binary=False)
    config = FittedLatentConfig(slots=4, steps=1, **SMALL)


def painted(memory, latent, height, width):
    """f(p; c) as the equations have it, one pixel at a time: (channels, height, width), float64."""
    weights = {name: value.detach().double().numpy() for name, value in memory.named_parameters()}
    image = np.empty((len(weights["output.bias"]), height, width))
    for row, column in np.ndindex(height, width):
        h = np.array([2 * row / (height - 1) - 1, 2 * column / (width - 1) - 1])
        for layer in (0, 1):
            linear = weights[f"hidden.{layer}.weight"] @ h + weights[f"hidden.{layer}.bias"]
            h = np.sin(memory.frequency * (linear + weights[f"shifts.{layer}.weight"] @ latent))
        image[:, row, column] = weights["output.weight"] @ h + weights["output.bias"] + 0.5
    return image


def test_the_decoder_is_that_of_the_equations():
    memory = build(FittedLatent, (3, 3, 5), real=True, **SMALL).double()
    latents = torch.randn(2, 5, dtype=torch.float64)  # positions on this grid are exact in single precision
    decoded = memory.decode(latents).view(2, 3, 3, 5).detach()
    for latent, image in zip(latents.numpy(), decoded.numpy(), strict=True):
        np.testing.assert_allclose(image, painted(memory, latent, 3, 5), atol=1e-12)


def test_a_fit_takes_steps_against_the_gradient():
    """With finite differences of the mean squared error in place of the gradient."""
    memory = build(FittedLatent, (1, 4, 4), real=True, steps=2, frequency=3.0, **SMALL).double()
    with torch.no_grad():
        memory.rates.copy_(torch.rand(5))
    pattern = torch.rand(1, 1, 1, 4, 4, dtype=torch.float64)

    def error(latent):
        return ((painted(memory, latent, 4, 4) - pattern[0, 0].numpy()) ** 2).mean()

    latent, step = np.zeros(5), 1e-6
    for _ in range(2):
        slopes = [(error(latent + step * one) - error(latent - step * one)) / (2 * step) for one in np.eye(5)]
        latent = latent - memory.rates.detach().numpy() * slopes
    np.testing.assert_allclose(memory.rows(pattern)[0, 0].detach(), latent, atol=1e-7)


def test_the_meta_gradient_passes_through_the_fit():
    memory = build(FittedLatent, (1, 4, 4), real=True, frequency=3.0, **SMALL).double()
    patterns = torch.rand(2, 3, 1, 4, 4, dtype=torch.float64)
    check_meta_gradient(memory, (patterns, patterns), step=1e-6, atol=1e-6)


def test_a_few_steps_are_learned_to_suffice():
    """Unseen glyphs in 32 numbers from three steps, as functa and COIN++ have it.

    The linear autoencoder of 32 directions is not far ahead: at this scale it errs by three quarters as much or more.
    """
    source = Glyphs(GlyphsConfig(size=16))

    def glyphs(split, index, count):
        return torch.from_numpy(source.draw(split, count, episode_random(0, split, index)))[None]

    memory = build(FittedLatent, (1, 16, 16), latent_dim=32, hidden=32, layers=2)
    unseen = glyphs("test", 0, 128)
    with torch.no_grad():
        untrained = memory.meta_loss(unseen, unseen).item()
    optimiser = torch.optim.Adam(memory.parameters())
    for step in range(400):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * min(1, 2 - step / 200)
        patterns = glyphs("train", step, 16)
        optimiser.zero_grad()
        memory.meta_loss(patterns, patterns).backward()
        torch.nn.utils.clip_grad_norm_(memory.parameters(), 100.0)
        optimiser.step()
    seen, flat = glyphs("train", 1000, 1500)[0].flatten(1), unseen[0].flatten(1)
    off = flat - seen.mean(0)
    directions = torch.linalg.svd(seen - seen.mean(0), full_matrices=False).Vh[:32]
    linear = (off - off @ directions.T @ directions).square().sum(1).mean().item()
    with torch.no_grad():
        error = memory.meta_loss(unseen, unseen).item()
    assert error < 0.5 * untrained
    assert error < 0.55 * off.square().sum(1).mean()  # the mean glyph's
    assert error < 1.5 * linear
