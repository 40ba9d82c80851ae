"""Image codec, a reference line: the patterns as WebP or JPEG files that share a number of bytes.

Nothing is meta-trained. Files are made and read one by one, as their library wants it.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from baselines.similarity import nearest
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, check_patterns, image_shape, keep_known
from lightning_ebm.settings import Settings, setting

# From the best to the smallest file. JPEG has no lossless form; WebP's stands before all qualities.
ATTEMPTS: dict[str, list[dict[str, Any]]] = {
    "webp": [{"lossless": True}, *({"quality": quality} for quality in range(100, -1, -4))],
    "jpeg": [{"quality": quality, "optimize": True} for quality in range(100, 0, -3)],
}


@dataclass(frozen=True)
class ImageCodecConfig(Settings):
    """Settings of `ImageCodec`."""

    format: str = setting("webp", one_of=tuple(ATTEMPTS))
    """Of the files: webp or jpeg."""
    size: int = setting(32768, at_least=1)
    """Bytes of the state; a float has four."""


class ImageCodec(AssociativeMemory):
    """Each of P patterns as an image file of at most size / P bytes, at the best quality that fits.

    A query is answered by the nearest decoded image, on the known values if the mask is told, which are kept. A
    pattern whose smallest file does not fit is lost. A JPEG has tables of about 600 bytes, more than a small
    drawing: the format was not made for such images, WebP nearly so.

    State: `files` (episodes, size), uint8, each file in its share and padded with zeros; `written` (episodes), int64,
    the number of shares.
    """

    config = ImageCodecConfig
    citation = (
        "G. K. Wallace, The JPEG still picture compression standard, Communications of the ACM 34, 1991; J. Zern, P."
        " Massimino and J. Alakuijala, WebP Image Format, RFC 9649, 2024"
    )
    order_invariant = True
    bookkeeping = frozenset({"written"})

    def __init__(self, spec: PatternSpec, config: ImageCodecConfig = ImageCodecConfig()) -> None:
        super().__init__()
        self.shape, self.format, self.size = image_shape(spec), config.format, config.size
        if self.shape[0] not in (1, 3):
            raise ValueError(f"{self.format} files have 1 or 3 channels, got patterns of shape {self.shape}")

    def initial_state(self, episodes: int) -> State:
        """No files."""
        return {
            "files": torch.zeros(episodes, self.size, dtype=torch.uint8),
            "written": torch.zeros(episodes, dtype=torch.int64),
        }

    def write(self, patterns: Tensor) -> State:
        """Makes the files; see the base class."""
        check_patterns(patterns, "patterns", self.shape)
        episodes, items = patterns.shape[:2]
        share = self.size // items
        files = np.zeros((episodes, items, share), np.uint8)
        pixels = (255 * patterns).round().to(torch.uint8).cpu().numpy()
        for place in np.ndindex(episodes, items):
            file = self.encode(pixels[place], share)
            files[place][: len(file)] = np.frombuffer(file, np.uint8)
        padded = np.zeros((episodes, self.size), np.uint8)
        padded[:, : items * share] = files.reshape(episodes, -1)
        state = {"files": torch.from_numpy(padded), "written": torch.full((episodes,), items)}
        return {name: tensor.to(patterns.device) for name, tensor in state.items()}

    def read(self, state: State, queries: Tensor, mask: Tensor | None = None) -> Tensor:
        """Decodes the files and finds the nearest; see the base class. Without any, the query is the answer."""
        check_patterns(queries, "queries", self.shape)
        q = queries.flatten(2)
        decoded = q.new_zeros(len(q), max(1, int(state["written"].max())), q.shape[-1])
        filled = torch.zeros(len(q), 1, decoded.shape[1], dtype=torch.bool, device=q.device)
        for episode, (files, items) in enumerate(zip(state["files"].cpu(), state["written"].tolist(), strict=True)):
            share = self.size // max(1, items)
            for item in range(items):
                file = files[item * share : (item + 1) * share].numpy().tobytes()
                if file.strip(b"\0"):
                    decoded[episode, item] = self.decode(file).to(q).flatten()
                    filled[episode, 0, item] = True
        found = nearest(q, decoded, filled, None if mask is None else mask.flatten(2))
        answer = torch.where(filled.any(-1, keepdim=True), found, q).reshape(queries.shape)
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

    def decode(self, file: bytes) -> Tensor:
        """Pixels (channels, height, width) in [0, 1] of a file, zeros after its end.

        Raises:
            ValueError: if it is no file of this format, or its image has another size.
        """
        try:
            with Image.open(io.BytesIO(file), formats=[self.format]) as image:
                values = np.asarray(image.convert("L" if self.shape[0] == 1 else "RGB"), np.float32) / 255
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"the state's 'files' hold no {self.format} image: {error}") from error
        pixels = torch.from_numpy(np.atleast_3d(values)).permute(2, 0, 1)
        if pixels.shape != self.shape:
            raise ValueError(f"the state's 'files' hold an image of shape {tuple(pixels.shape)}, not {self.shape}")
        return pixels
