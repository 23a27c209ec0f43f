"""Painting on pixels, an array (rows, columns, RGB): outlines, rectangles, letters, a scale bar; and its file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageColor, ImageDraw, ImageFont

from medlsam.export.views import INK, PAPER

Pixels = NDArray[np.uint8]
#: Of WebP: half of a JPEG whose lines of one pixel keep their colour, in 3 ms.
QUALITY, METHOD = 75, 2
_LETTERS = 11


@dataclass(frozen=True)
class Picture:
    """A picture as a file.

    Attributes:
        webp: the file's content.
        width: pixels.
        height: pixels.
    """

    webp: bytes
    width: int
    height: int


def encode(pixels: Pixels) -> Picture:
    """Make a WebP file of pixels, (rows, columns, RGB)."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY, method=METHOD)
    return Picture(buffer.getvalue(), pixels.shape[1], pixels.shape[0])


@lru_cache(maxsize=32)
def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour that is written as ``#rrggbb``."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return red, green, blue


def resized(
    grey: Pixels, rows: int, columns: int, part: tuple[float, float, float, float] | None = None
) -> Pixels:
    """Scale a grey picture, or a part of it, without aliases.

    Args:
        grey: (rows, columns).
        rows: of the answer.
        columns: of the answer.
        part: left, top, right, bottom in pixels of ``grey``, inside of it; all of it where None.

    Returns:
        (rows, columns, RGB) with equal channels, to be painted on.
    """
    scaled = Pillow.fromarray(grey).resize((columns, rows), Pillow.Resampling.BILINEAR, part)
    return np.repeat(np.asarray(scaled)[..., None], 3, axis=2)


def windowed(hu: NDArray[np.floating], low: float, high: float) -> Pixels:
    """Grey of HU: black at ``low`` and below, white at ``high`` and above."""
    return np.asarray((np.clip(hu, low, high) - low) * (255 / (high - low)) + 0.5, dtype=np.uint8)


def paint_outline(pixels: Pixels, mask: NDArray[np.bool_], colour: str, dashed: bool = False) -> None:
    """Paint the pixels of a mask (rows, columns) that have a neighbour outside of it; a border counts as outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge = mask & ~inner
    if dashed:
        edge &= np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1])) % 6 < 3
    pixels[edge] = rgb(colour)


def paint_rectangle(
    pixels: Pixels, left: float, top: float, right: float, bottom: float, colour: str, dash: int = 0
) -> None:
    """Paint the sides of a rectangle as far as they lie in the picture.

    Args:
        pixels: to paint on.
        left: edge in pixels; 0 is the picture's left edge.
        top: 0 is the picture's upper edge.
        right: edge in pixels.
        bottom: edge in pixels.
        colour: ``#rrggbb``.
        dash: length of dashes and gaps in pixels; 0 for a whole line.
    """
    rows, columns = pixels.shape[:2]
    first_row, last_row = round(top), round(bottom) - 1
    first_column, last_column = round(left), round(right) - 1
    along = np.arange(max(first_column, 0), min(last_column, columns - 1) + 1)
    down = np.arange(max(first_row, 0), min(last_row, rows - 1) + 1)
    if dash:
        along, down = along[along % (2 * dash) < dash], down[down % (2 * dash) < dash]
    for row in (first_row, last_row):
        if 0 <= row < rows:
            pixels[row, along] = rgb(colour)
    for column in (first_column, last_column):
        if 0 <= column < columns:
            pixels[down, column] = rgb(colour)


def paint_words(pixels: Pixels, sides: str, pixel_mm: float) -> None:
    """Write the patient's sides at the left and the top, and a bar of a round length at the lower right.

    Args:
        pixels: to write on.
        sides: at the left, right, top and bottom.
        pixel_mm: size of a pixel.
    """
    rows, columns = pixels.shape[:2]
    left, top = _stamp(sides[0]), _stamp(sides[2])
    _put(pixels, left, (rows - left.shape[0]) // 2, 1)
    _put(pixels, top, 1, (columns - top.shape[1]) // 2)
    length = next((mm for mm in (100, 50, 20, 10) if mm < 0.45 * columns * pixel_mm), 5)
    long = min(round(length / pixel_mm), columns - 12)
    if rows < 30 or long < 1:
        return
    end = columns - 6
    pixels[rows - 8 : rows - 4, end - long : end] = rgb(PAPER)
    pixels[rows - 7 : rows - 5, end - long : end] = rgb(INK)
    text = _stamp(f"{length} mm")
    _put(pixels, text, rows - 9 - text.shape[0], end - (long + text.shape[1]) // 2)


def _put(pixels: Pixels, stamp: Pixels, row: int, column: int) -> None:
    """Lay a stamp (rows, columns, RGB and opacity) on pixels; what would stick out is moved in, or left out."""
    rows, columns = stamp.shape[:2]
    if rows > pixels.shape[0] or columns > pixels.shape[1]:
        return
    row, column = min(max(row, 0), pixels.shape[0] - rows), min(max(column, 0), pixels.shape[1] - columns)
    part = pixels[row : row + rows, column : column + columns]
    opacity = stamp[..., 3:].astype(np.float32) / 255
    part[:] = (part * (1 - opacity) + stamp[..., :3] * opacity + 0.5).astype(np.uint8)


@lru_cache(maxsize=32)
def _stamp(text: str) -> Pixels:
    """Letters with a dark rim, which keeps them readable on bone; drawn once, since they are the same everywhere."""
    font = ImageFont.load_default(_LETTERS)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, stroke_width=1))
    canvas = Pillow.new("RGBA", (right - left + 2, bottom - top + 2), (*rgb(PAPER), 0))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), text, INK, font, stroke_width=1, stroke_fill=PAPER)
    return np.asarray(canvas)
