"""Reference lines against arithmetic: what they cost, and what they must recall."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.coders import CodersConfig, CodeSettings
from baselines.image_codec import ImageCodec, ImageCodecConfig
from baselines.nearest_pattern import NearestPattern
from baselines.no_memory import NoMemory
from baselines.pca import PCA, PCAConfig
from baselines.perfect_slots import PerfectSlots, PerfectSlotsConfig
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings
from tests.baselines.test_hopfield import bits, redrawn
from tests.contract import IMAGES, MemoryContract, build, train, wrong_bits


class TestNoMemory(MemoryContract):
    spec = IMAGES
    has_state = False
    kind = NoMemory
    config = CodeSettings(coders=CodersConfig(channels=[2, 2], code_dim=8))

    def test_an_intact_query_is_not_recalled_worse_than_a_corrupted_one(self, memory, episode):
        """Nor is it here, once image coders have learned anything: see below, for bits."""


class TestNearestPattern(MemoryContract):
    kind = NearestPattern
    config = Settings()

    def test_initial_state_has_the_shape_of_a_written_one(self, memory, episode):
        """It has a row for each pattern instead."""
        assert memory.write(episode[0])["slots"].shape == (3, 4, 24)
        assert torch.equal(memory.read(memory.initial_state(3), episode[1])[-1], episode[1])


class TestPerfectSlots(MemoryContract):
    kind = PerfectSlots
    config = PerfectSlotsConfig(slots=5)

    def test_initial_state_has_the_shape_of_a_written_one(self, memory, episode):
        """All but what the oracle has seen, which is bookkeeping."""
        assert memory.write(episode[0])["slots"].shape == memory.initial_state(3)["slots"].shape == (3, 5, 24)
        assert torch.equal(memory.read(memory.initial_state(3), episode[1])[-1], episode[1])


class TestPCA(MemoryContract):
    spec = IMAGES
    kind = PCA
    config = PCAConfig(components=20, slots=5)


class TestWebP(MemoryContract):
    spec = PatternSpec((3, 8, 8), binary=False)
    kind = ImageCodec
    config = ImageCodecConfig(size=4096)

    def test_known_values_are_kept(self, memory, episode):
        """As in the query; rounded to a byte, they would not be."""
        patterns, queries, mask = episode
        answer = memory.read(memory.write(patterns), queries, mask)[-1]
        assert torch.equal(answer[~mask], patterns[~mask])
        torch.testing.assert_close(answer[mask], patterns[mask], rtol=0, atol=0.5 / 255 + 1e-6)  # lossless


class TestWebPSheet(TestWebP):
    config = ImageCodecConfig(size=4096, layout="sheet")


def test_no_memory_learns_what_patterns_have_in_common():
    """Every pattern is twice the same half: the one that was lost follows from the other."""
    memory = build(NoMemory, (16,), coders=CodersConfig(hidden=32))

    def episode(seed):
        patterns = bits(8, 8, 8, seed=seed, dtype=torch.float32).repeat(1, 1, 2)
        queries = patterns.clone()
        queries[..., :8] = bits(8, 8, 8, seed=seed + 10000, dtype=torch.float32)
        return patterns, queries

    train(memory, episode, steps=150)
    patterns, queries = episode(5000)
    assert memory.write(patterns) == memory.initial_state(8) == {}
    assert wrong_bits(memory, patterns, patterns) <= wrong_bits(memory, patterns, queries) < 0.5


@pytest.mark.parametrize("told", [False, True])
def test_the_nearest_pattern_is_that_of_a_loop(told):
    patterns, queries = (torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    mask = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(2)) < 0.5 if told else None
    answer = build(NearestPattern, (9,)).read(build(NearestPattern, (9,)).write(patterns), queries, mask)[-1]
    for place in np.ndindex(2, 7):
        q, known = queries[place].numpy(), np.ones(9, bool) if mask is None else ~mask[place].numpy()
        distances = [((x.numpy() - q)[known] ** 2).sum() for x in patterns[place[0]]]
        expected = np.where(known & told, q, patterns[place[0], int(np.argmin(distances))].numpy())
        np.testing.assert_array_equal(answer[place].numpy(), expected)


def test_images_that_are_nearly_alike_are_told_apart():
    memory = NearestPattern(PatternSpec((3, 64, 64), binary=False))
    first = torch.rand(20, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.9
    patterns = torch.stack([first, first], 1)
    patterns[:, 1, 0, 0, :3] += 2 / 255
    assert torch.equal(memory.read(memory.write(patterns), patterns)[-1], patterns)


@pytest.mark.parametrize("told", [False, True])
def test_perfect_slots_err_by_what_has_no_room(told):
    patterns = bits(20, 96, 128, dtype=torch.float32)
    queries, mask = redrawn(patterns, 64)
    memory = build(PerfectSlots, (128,), slots=64)
    wrong = wrong_bits(memory, patterns, queries, mask if told else None)
    assert wrong == pytest.approx((96 - 64) / 96 * 32, abs=0.3)
    assert wrong_bits(memory, patterns[:, :64], queries[:, :64], mask[:, :64]) == 0
    answer = memory.read(memory.write(patterns), queries, mask)[-1]
    assert torch.equal(answer[:, :32], queries[:, :32])  # the oldest are lost
    assert torch.equal(answer[:, 32:], patterns[:, 32:])


def test_pca_learns_the_principal_components():
    """Of Gaussian patterns: the error left is the sum of the smallest eigenvalues of their covariance."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([0.12, 0.1, 0.08, 0.03, 0.02, 0.01, 0.01, 0.01])
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    patterns = (0.4 + (torch.randn(4, 100, 8, generator=generator) * scales) @ rotation).clamp(0, 1)
    flat = patterns.flatten(0, 1).double()
    spectrum = torch.linalg.eigvalsh(flat.T.cov(correction=0))
    memory = build(PCA, (8,), components=3, slots=None)
    train(memory, lambda _step: (patterns, patterns), steps=300, rate=0.02)
    assert memory.meta_loss(patterns, patterns).item() == pytest.approx(spectrum[:5].sum().item(), rel=0.01)
    basis = memory.basis().detach()
    off = memory.mean.detach() - flat.mean(0).float()
    assert (off - basis @ basis.T @ off).abs().max() < 0.01  # within the span any mean will do
    torch.testing.assert_close(basis.T @ basis, torch.eye(3), atol=1e-5, rtol=0)
    assert memory.write(patterns)["slots"].shape == (4, 100, 3)


def test_pca_with_all_components_forgets_nothing():
    patterns = bits(5, 32, 64, dtype=torch.float32)
    queries, mask = redrawn(patterns, 16)
    memory = build(PCA, (64,), components=64, slots=32)
    with torch.no_grad():
        answer = memory.read(memory.write(patterns), queries, mask)[-1]
    torch.testing.assert_close(answer, patterns, atol=1e-4, rtol=0)


def drawings(episodes, items, side=32):
    """Images of a few random bars in black and white."""
    generator = torch.Generator().manual_seed(0)
    bars = (torch.rand(episodes, items, side // 8, 2, generator=generator) < 0.5).float()
    return bars.repeat_interleave(8, 2).repeat_interleave(side // 2, 3)[:, :, None]


@pytest.mark.parametrize(("format", "size"), [("webp", 3000), ("jpeg", 12000), ("avif", 4000)])
def test_files_fit_and_are_found(format, size):
    patterns = drawings(2, 8)
    noise = torch.rand(patterns.shape, generator=torch.Generator().manual_seed(1)).round()
    mask = torch.zeros_like(patterns, dtype=torch.bool)
    mask[..., 8:24, 8:24] = True
    queries = torch.where(mask, noise, patterns)
    memory = build(ImageCodec, (1, 32, 32), format=format, size=size)
    state = memory.write(patterns)
    assert state["files"].shape == (2, size)
    assert state["files"].dtype == torch.uint8
    answer = memory.read(state, queries, mask)[-1]
    assert ((answer > 0.5) != (patterns > 0.5)).float().mean() < 0.01
    share = size // 8  # by hand: what Pillow makes of the bytes of the second share
    with Image.open(io.BytesIO(state["files"][0, share : 2 * share].numpy().tobytes())) as image:
        assert image.format == format.upper()
        pixels = np.asarray(image.convert("L")) / 255
    np.testing.assert_allclose(memory.read(state, patterns)[-1, 0, 1, 0], pixels, atol=1e-6)


@pytest.mark.parametrize(("format", "header"), [("webp", 20), ("jpeg", 150), ("avif", 250)])
def test_a_sheet_is_one_file_with_one_header(format, header):
    """So many bytes are too few for a file, whatever is in it."""
    patterns = drawings(2, 5)
    state = build(ImageCodec, (1, 32, 32), format=format, size=1500, layout="sheet").write(patterns)
    answer = build(ImageCodec, (1, 32, 32), format=format, size=1500, layout="sheet").read(state, patterns)[-1]
    assert ((answer > 0.5) != (patterns > 0.5)).float().mean() < 0.01
    with Image.open(io.BytesIO(state["files"][1].numpy().tobytes())) as image:  # by hand: which tiles Pillow finds
        assert image.format == format.upper()
        sheet = np.asarray(image.convert("L")) > 127
    assert sheet.shape == (64, 96)
    tiles = [sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] for row in (0, 1) for column in (0, 1, 2)]
    expected = sorted(pattern.flatten().tolist() for pattern in patterns[1] > 0.5)
    assert np.mean([tile.flatten() for tile in tiles[:5]] != np.array(expected)) < 0.01
    assert tiles[5].mean() < 0.01
    assert not build(ImageCodec, (1, 32, 32), format=format, size=5 * header).write(patterns)["files"].any()


def test_a_format_that_pillow_lacks_is_refused(monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF")
    with pytest.raises(ValueError, match=r"format: avif needs a Pillow built with it"):
        build(ImageCodec, (1, 16, 16), format="avif")


def test_quality_falls_with_the_bytes_until_patterns_are_lost():
    patterns = torch.rand(1, 4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    errors = []
    for size in (2000, 1000, 500, 40):
        memory = build(ImageCodec, (1, 16, 16), size=size)
        state = memory.write(patterns)
        errors.append((memory.read(state, patterns)[-1] - patterns).square().mean().item())
    assert errors[0] < 1e-5
    assert errors[0] < errors[1] < errors[2]
    assert errors[3] == 0  # nothing fits: the queries themselves
    assert not state["files"].any()


def test_a_damaged_file_is_refused():
    memory, patterns = build(ImageCodec, (1, 16, 16), size=4000), torch.rand(1, 2, 1, 16, 16)
    state = memory.write(patterns)
    state["files"][0, :30] = 7
    with pytest.raises(ValueError, match="'files' hold no webp image"):
        memory.read(state, patterns)
    other = build(ImageCodec, (1, 8, 8), size=4000).write(torch.rand(1, 2, 1, 8, 8))
    with pytest.raises(ValueError, match=r"an image of shape \(1, 8, 8\)"):
        memory.read(other, patterns)
