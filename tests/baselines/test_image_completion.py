"""Completion of images against its formula written anew, and on pictures that it learns in seconds."""

import torch

from baselines.image_completion import Completion
from tests.ebmm.energies import convolved

SHAPE = (1, 8, 8)


def test_completion_is_convolutions_over_squares_of_pixels():
    torch.manual_seed(0)
    net = Completion((2, 8, 8), 4).double()
    logits, queries = torch.randn(2, 3, 2, 8, 8, dtype=torch.float64)
    missing = torch.rand(3, 2, 8, 8, dtype=torch.float64)
    seen = torch.cat([logits.tanh(), (2 * queries - 1) * (1 - missing), missing], 1)
    torch.testing.assert_close(net(logits, queries, missing), logits + convolved(net.mend.layers, seen))


def test_completion_learns_to_carry_a_stroke_across_the_border():
    """From half a picture of lines that cross it, and nothing recalled."""
    generator = torch.Generator().manual_seed(0)
    net = Completion(SHAPE, 8)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    missing = torch.zeros(32, *SHAPE)
    missing[..., 4:] = 1

    def lines():
        drawn = torch.rand(32, 1, 8, 1, generator=generator) < 0.3
        return drawn.expand(32, *SHAPE).float()

    for _ in range(150):
        patterns = lines()
        optimizer.zero_grad()
        logits = net(torch.zeros(32, *SHAPE), patterns, missing)
        torch.nn.functional.binary_cross_entropy_with_logits(logits, patterns, weight=missing).backward()
        optimizer.step()
    patterns = lines()
    wrong = (net(torch.zeros(32, *SHAPE), patterns, missing) > 0) != patterns.bool()
    assert wrong[..., 4:].float().mean() < 0.05  # blank paper: 0.3
