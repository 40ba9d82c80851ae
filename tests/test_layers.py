"""Layers whose start decides what a network can learn."""

import torch
from torch.func import vjp

from lightning_ebm.layers import Patches, ResBlock, he_init


def test_the_skip_path_of_a_block_passes_images_on_and_back_unchanged():
    """With a channel for each pixel of a patch the skip path is an isometry, and its transpose undoes it."""
    torch.manual_seed(0)
    block = ResBlock(3, 20)
    he_init(block)
    assert isinstance(block.shortcut, Patches)
    image = torch.randn(2, 3, 8, 6)
    passed, pull = vjp(block.shortcut, image)
    assert passed.shape == (2, 20, 4, 3)
    torch.testing.assert_close(passed.norm(), image.norm())
    torch.testing.assert_close(pull(passed)[0], image)
