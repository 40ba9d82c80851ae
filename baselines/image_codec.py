"""Image codec, a bound: the patterns as WebP, JPEG or AVIF files that share a number of bytes."""

import io
import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from baselines.slots import nearest
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, image_shape, keep_known
from lightning_ebm.settings import Settings, setting

# From the best to the smallest file. JPEG has no lossless form. An AVIF file must not depend on the number of cores.
ATTEMPTS: dict[str, list[dict[str, Any]]] = {
    "webp": [{"lossless": True}, *({"quality": quality} for quality in range(100, -1, -4))],
    "jpeg": [{"quality": quality, "optimize": True} for quality in range(100, 0, -3)],
    "avif": [{"quality": quality, "max_threads": 1} for quality in range(100, -1, -4)],
}


@dataclass(frozen=True)
class ImageCodecConfig(Settings):
    """Settings of `ImageCodec`."""

    format: str = setting("webp", one_of=tuple(ATTEMPTS))
    """Of the files: webp, jpeg or avif."""
    layout: str = setting("slots", one_of=("slots", "sheet"))
    """slots: a file for each pattern, in an equal share of the bytes; sheet: one file, whose tiles are the patterns, so
    that they share one header."""
    size: int = setting(32768, at_least=1)
    """Bytes of the state; a float has four."""


class ImageCodec(AssociativeMemory):
    """Each of P patterns as an image file of at most size / P bytes, or all of them in one file, at the best quality.

    A query is answered by the nearest decoded image, on the known values if the mask is known, which are kept. What is
    in a file that does not fit at the least quality is lost. Headers count: about 30 bytes in a WebP file, 300 in
    AVIF, 600 in JPEG, which is more than a small drawing takes. On a sheet, patterns are tiles of a square, row after
    row, in the order of their pixels' values, so that the order in which they are written does not matter.

    State: `files` (episodes, size), uint8, each file in its share and padded with zeros; `written` (episodes), int64,
    the number of patterns.
    """

    config = ImageCodecConfig
    shape: tuple[int, int, int]
    citation = (
        "G. K. Wallace, The JPEG still picture compression standard, Communications of the ACM 34, 1991; J. Zern, P."
        " Massimino and J. Alakuijala, WebP Image Format, RFC 9649, 2024; Alliance for Open Media, AV1 Image"
        " File Format, 2022"
    )
    order_invariant = True
    bookkeeping = frozenset({"written"})

    def __init__(self, spec: PatternSpec, config: ImageCodecConfig = ImageCodecConfig()) -> None:
        super().__init__()
        self.shape, self.format, self.size = image_shape(spec), config.format, config.size
        self.sheet = config.layout == "sheet"
        if self.shape[0] not in (1, 3):
            raise ValueError(f"{self.format} files have 1 or 3 channels, got patterns of shape {self.shape}")
        Image.init()
        if self.format.upper() not in Image.SAVE:
            raise ValueError(f"format: {self.format} needs a Pillow built with it, as Pillow is from 11.3 on")

    def initial_state(self, episodes: int) -> State:
        """No files."""
        return {
            "files": torch.zeros(episodes, self.size, dtype=torch.uint8),
            "written": torch.zeros(episodes, dtype=torch.int64),
        }

    def write(self, patterns: Tensor) -> State:
        """Makes the files, one by one."""
        pixels = (255 * patterns).round().to(torch.uint8).cpu().numpy()
        images = np.stack([tiled(one) for one in pixels])[:, None] if self.sheet else pixels
        files = np.zeros((len(images), self.size), np.uint8)
        share = self.size // images.shape[1]
        for episode, item in np.ndindex(images.shape[:2]):
            file = self.encode(images[episode, item], share)
            files[episode, item * share : item * share + len(file)] = np.frombuffer(file, np.uint8)
        state = {"files": torch.from_numpy(files), "written": torch.full(patterns.shape[:1], patterns.shape[1])}
        return {name: tensor.to(patterns.device) for name, tensor in state.items()}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Decodes the files and finds the nearest image. Without any, the query is the answer."""
        q = queries.flatten(2)
        decoded = q.new_zeros(len(q), max(1, int(state["written"].max())), q.shape[-1])
        filled = torch.zeros(len(q), 1, decoded.shape[1], dtype=torch.bool, device=q.device)
        for episode, (files, items) in enumerate(zip(state["files"].cpu(), state["written"].tolist(), strict=True)):
            tiles = max(1, items) if self.sheet else 1  # of a file
            share = self.size * tiles // max(1, items)
            for number in range(items // tiles):
                file = files[number * share : (number + 1) * share].numpy().tobytes()
                held = slice(number * tiles, (number + 1) * tiles)
                if file.strip(b"\0"):
                    decoded[episode, held] = self.decode(file, tiles).to(q).flatten(1)
                    filled[episode, 0, held] = True
        found = decoded.take_along_dim(nearest(queries, decoded, filled, mask), 1)
        answer = torch.where(filled.any(-1, keepdim=True), found, q).view_as(queries)
        return keep_known(answer, queries, mask)[None]

    def encode(self, pixels: np.ndarray, limit: int) -> bytes:
        """The best file of at most `limit` bytes of pixels (channels, height, width), uint8; empty if there is none."""
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        best, *others = ATTEMPTS[self.format]
        if len(file := self.save(image, best)) <= limit:
            return file
        first = bisect_left(others, True, key=lambda attempt: len(self.save(image, attempt)) <= limit)
        return self.save(image, others[first]) if first < len(others) else b""

    def save(self, image: Image.Image, settings: dict[str, Any]) -> bytes:
        """The file of an image at one setting."""
        buffer = io.BytesIO()
        image.save(buffer, self.format, **settings)
        return buffer.getvalue()

    def decode(self, file: bytes, items: int) -> Tensor:
        """Pixels (items, channels, height, width) in [0, 1] of a file of so many tiles; zeros may follow its end.

        Raises:
            ValueError: if it is not a file of this format, or its image has another size.
        """
        try:
            with Image.open(io.BytesIO(file), formats=[self.format]) as image:
                values = np.asarray(image.convert("L" if self.shape[0] == 1 else "RGB"), np.float32) / 255
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"the state's 'files' hold no {self.format} image: {error}") from error
        pixels = torch.from_numpy(np.atleast_3d(values)).permute(2, 0, 1)
        channels, height, width = self.shape
        rows, columns = square(items)
        if pixels.shape != (expected := (channels, rows * height, columns * width)):
            raise ValueError(f"the state's 'files' hold an image of shape {tuple(pixels.shape)}, not {expected}")
        tiles = pixels.reshape(channels, rows, height, columns, width).permute(1, 3, 0, 2, 4)
        return tiles.flatten(0, 1)[:items]


def square(items: int) -> tuple[int, int]:
    """Rows and columns of a sheet of so many tiles: as nearly a square as holds them."""
    columns = math.ceil(math.sqrt(items))
    return math.ceil(items / columns), columns


def tiled(patterns: np.ndarray) -> np.ndarray:
    """The sheet of patterns (items, channels, height, width), (channels, rows * height, columns * width).

    Tiles are sorted by their values, the first pixel counting most; places left over are zeros.
    """
    items, channels, height, width = patterns.shape
    rows, columns = square(items)
    tiles = np.zeros((rows * columns, channels, height, width), patterns.dtype)
    tiles[:items] = patterns[np.lexsort(patterns.reshape(items, -1).T[::-1])]
    sheet = tiles.reshape(rows, columns, channels, height, width).transpose(2, 0, 3, 1, 4)
    return sheet.reshape(channels, rows * height, columns * width)
