"""Small drawings that a memory learns in seconds."""

import torch

SHAPE = (1, 8, 8)


def strokes(count, generator):
    """Two horizontal or vertical strokes each, (count, *SHAPE)."""
    images = torch.zeros(count, *SHAPE)
    for image in images:
        for _ in range(2):
            row, start, stop = torch.randint(0, 8, (3,), generator=generator).tolist()
            line = image[0, row] if torch.rand((), generator=generator) < 0.5 else image[0, :, row]
            line[min(start, stop) : max(start, stop) + 2] = 1
    return images


def damaged_strokes(episodes, where, generator):
    """Episodes of six drawings, their queries with random bits at an index `where`, and the mask of it."""
    patterns = strokes(episodes * 6, generator).view(episodes, 6, *SHAPE)
    queries = patterns.clone()
    queries[where] = torch.rand(queries[where].shape, generator=generator).round()
    mask = torch.zeros_like(patterns, dtype=torch.bool)
    mask[where] = True
    return patterns, queries, mask
