"""Glyphs: characters of many scripts, drawn by invented hands; the data set that needs no download.

A substitute for Omniglot: 1x32x32, ink 1 on paper 0; train, val and test have different scripts. Outlines
come from the DejaVu font that matplotlib installs. A glyph is thinned to its centre line, and a hand is a
random distortion of that line and a pen to trace it with.
"""

import functools
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from lightning_ebm.data.episodes import DataError, Split
from lightning_ebm.data.images import ImageSet, ImageSplit
from lightning_ebm.memory import PatternSpec
from lightning_ebm.settings import Settings, setting

SCRIPTS: dict[Split, tuple[str, ...]] = {
    # In this order: of characters that look alike the first one stays, so training sees no test character.
    "test": ("GEORGIAN", "HEBREW", "LAO", "NKO", "TIFINAGH"),
    "val": ("ARMENIAN", "OGHAM"),
    "train": (  # all that borrow from one another: Latin and its relatives, Arabic letters and digits
        *("LATIN", "GREEK", "COPTIC", "CYRILLIC", "LISU", "OLD ITALIC", "ROMAN NUMERAL", "DIGIT"),
        *("ARABIC", "ARABIC-INDIC", "EXTENDED ARABIC-INDIC", "CANADIAN SYLLABICS"),
    ),
}
"""Which script is in which split. A character's script is how its Unicode name begins."""

GRID = 48  # side of the pictures that are compared and thinned; twice the size of a drawn character
ALIKE = 0.75  # glyphs that have this share of their joint ink in common are the same: V and v, accents
SHORTEST = 12  # points of a centre line; shorter ones are dots and blocks


@dataclass(frozen=True)
class GlyphsConfig(Settings):
    """Settings of `Glyphs`."""

    size: int = setting(32, at_least=16, at_most=64)  # below, strokes merge; above, the grid shows
    """Side of an image in pixels."""
    hands: int = setting(8, at_least=1, at_most=100)
    """Drawings of each character."""
    augment: bool = False
    """Whether images of the train split are shifted by up to 2 pixels and mirrored or turned, at random."""


@dataclass(frozen=True)
class GlyphSplit(ImageSplit):
    """One split, a row for each character.

    Attributes:
        images: (characters, hands, 1, size, size), uint8, ink 1 and paper 0.
        labels: (characters,), the script: where it stands among those of the split in `SCRIPTS`.
        characters: what is drawn, one a row.
    """

    characters: str


class Glyphs(ImageSet):
    """Characters of many scripts, each drawn by several hands; no two of an episode are the same character.

    Classes are scripts.
    """

    config = GlyphsConfig
    dark_is_one = True
    turnable = True
    citation = "Characters: DejaVu Sans, https://dejavu-fonts.github.io, drawn by lightning_ebm"

    def __init__(self, config: GlyphsConfig = GlyphsConfig()) -> None:
        self.augment = config.augment
        self.spec = PatternSpec((1, config.size, config.size), binary=True)
        self.splits = draw_glyphs(config.size, config.hands)

    def take(self, split: Split, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """See `ImageSet.take`: each character, drawn by any hand."""
        images = self.splits[split].images
        return images[rows, random.integers(images.shape[1], size=len(rows))]


@functools.cache
def draw_glyphs(size: int, hands: int) -> dict[Split, GlyphSplit]:
    """All splits, drawn once a process; always the same. They share no image. See `GlyphsConfig`."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    if not path.is_file():
        raise DataError(f"{path} is missing: reinstall matplotlib, which includes this font")
    in_font = [chr(code) for code in sorted(FT2Font(str(path)).get_charmap())]
    found = [
        (split, names.index(script), character)
        for split, names in SCRIPTS.items()
        for script in names
        for character in in_font
        if is_of(character, script)
    ]
    splits, scripts, characters = map(np.array, zip(*found, strict=True))

    outlines = render(path, characters.tolist())
    kept = different(outlines)
    lines = thin(outlines[kept])
    long = lines.sum((1, 2)) >= SHORTEST
    kept, lines = kept[long], lines[long]
    random = np.random.default_rng(0)
    images = np.stack([trace(lines, size, random) for _ in range(hands)], axis=1)
    new = first_seen(images)
    kept, images = kept[new], images[new][:, :, None]
    return {
        split: GlyphSplit(images[rows], scripts[kept][rows], "".join(characters[kept][rows]))
        for split in SCRIPTS
        for rows in [splits[kept] == split]
    }


def is_of(character: str, script: str) -> bool:
    """Whether a character is a letter or number of a script; marks, signs and blanks are not."""
    name = unicodedata.name(character, "")
    return unicodedata.category(character)[0] in "LN" and name.startswith(f"{script} ")


def render(path: Path, characters: list[str]) -> np.ndarray:
    """Characters of a font file, filled with ink, scaled to the same longer side and centred.

    (characters, GRID, GRID), bool, with a blank border of two pixels; blank where the font has no ink.
    """
    font = ImageFont.truetype(path, size=2 * GRID, layout_engine=ImageFont.Layout.BASIC)
    pictures = np.zeros((len(characters), GRID, GRID), bool)
    for picture, character in zip(pictures, characters, strict=True):
        left, top, right, bottom = (int(edge) for edge in font.getbbox(character))
        glyph = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(glyph).text((-left, -top), character, fill=255, font=font)
        box = glyph.getbbox()
        if box is None:
            continue
        width, height = box[2] - box[0], box[3] - box[1]
        scale = (GRID - 4) / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        ink = np.asarray(glyph.resize((width, height), Image.Resampling.BOX, box)) > 127
        top, left = (GRID - height) // 2, (GRID - width) // 2
        picture[top : top + height, left : left + width] = ink
    return pictures


def different(pictures: np.ndarray) -> np.ndarray:
    """Numbers of the pictures (count, GRID, GRID), bool, that look like no earlier one that is kept, in order."""
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    ink = flat.sum(1)
    common = flat @ flat.T  # whole numbers, so exact in float32
    alike = common >= ALIKE * (ink[:, None] + ink - common)
    keep = ink > 0
    for row in range(len(pictures)):
        keep[row] &= not (alike[row, :row] & keep[:row]).any()
    return np.flatnonzero(keep)


def thin(pictures: np.ndarray) -> np.ndarray:
    """Strips strokes of pictures (count, height, width), bool, to their centre lines, one pixel wide and unbroken.

    Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", Comm. ACM 27(3), 1984. Whether
    a pixel goes depends on its eight neighbours only, thus on one of 256 numbers: a table tells. Borders are blank.
    """
    ring = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # clockwise from the north
    bits = np.arange(256)[:, None] >> np.arange(8) & 1 == 1
    north, east, south, west = bits[:, 0], bits[:, 2], bits[:, 4], bits[:, 6]
    inked, runs = bits.sum(1), (~bits & np.roll(bits, -1, axis=1)).sum(1)
    border = (inked >= 2) & (inked <= 6) & (runs == 1)
    passes = (border & ~(east & south & (north | west)), border & ~(north & west & (east | south)))

    lines, busy = pictures.copy(), np.arange(len(pictures))
    while len(busy):  # only the pictures that still change
        before = lines[busy]
        now = before.copy()
        for removable in passes:
            code = np.zeros(now.shape, np.uint8)
            for bit, step in enumerate(ring):
                code |= np.roll(now, (-step[0], -step[1]), axis=(1, 2)).view(np.uint8) << np.uint8(bit)
            now &= ~removable[code]
        lines[busy] = now
        busy = busy[(now != before).any((1, 2))]
    return lines


def trace(lines: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """One more hand for every character: (characters, size, size), uint8, ink 1 and paper 0.

    The ranges were chosen by eye and by number, so that 32x32 images resemble Omniglot's: there a character's longer
    side has 13 to 27 pixels, ink covers 8 % and a stroke is 1.7 pixels wide. The lines (characters, GRID, GRID), bool,
    are centre lines, none of them empty.
    """
    count = len(lines)
    owner, *pixel = np.nonzero(lines)
    point = np.stack(pixel, axis=1) / (GRID / 2) - 1  # (points, 2): down and right, in [-1, 1]
    first = np.searchsorted(owner, np.arange(count))  # points are ordered by character

    def per_character(low: float, high: float, *shape: int) -> np.ndarray:
        return random.uniform(low, high, (count, *shape))[owner]

    # A slow wave bends the strokes, then the whole is sheared, stretched and turned.
    phase = np.einsum("pij,pj->pi", per_character(-2.5, 2.5, 2, 2), point) + per_character(0, 2 * np.pi, 2)
    point = point + per_character(0.02, 0.1, 1) * np.sin(phase)
    point = point * np.exp(per_character(-0.15, 0.15, 2))
    down, right = (point + per_character(-0.15, 0.15, 2) * point[:, ::-1]).T
    angle = per_character(-0.2, 0.2)
    cos, sin = np.cos(angle), np.sin(angle)
    point = np.stack([cos * down - sin * right, sin * down + cos * right], axis=1)

    # The longer side takes 50 to 80 % of the frame, and the middle is close to the frame's: no ink is lost.
    low, high = np.minimum.reduceat(point, first), np.maximum.reduceat(point, first)
    scale = size * random.uniform(0.5, 0.8, count) / (high - low).max(1)
    middle = size / 2 + size * random.uniform(-0.06, 0.06, (count, 2))
    point = (point - (low + high)[owner] / 2) * scale[owner, None] + middle[owner]

    # The pen is round: it inks every pixel whose centre is within its radius.
    images = np.zeros((count, size, size), np.uint8)
    radius = np.maximum(size * per_character(0.023, 0.03), 0.71)  # no point is further from the next centre
    reach = int(radius.max() + 0.5)
    for step in np.ndindex(2 * reach + 1, 2 * reach + 1):
        row, column = (np.floor(point) + step - reach).astype(int).T
        near = np.hypot(row + 0.5 - point[:, 0], column + 0.5 - point[:, 1]) <= radius
        images[owner[near], row[near], column[near]] = 1
    return images


def first_seen(images: np.ndarray) -> list[int]:
    """Numbers of the characters (characters, hands, size, size) without an image of an earlier character."""
    seen: set[bytes] = set()
    rows = []
    for row, drawings in enumerate(images):
        contents = {drawing.tobytes() for drawing in drawings}
        if seen.isdisjoint(contents):
            rows.append(row)
            seen |= contents
    return rows
