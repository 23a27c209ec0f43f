"""Where all structures of a scan lie: their located boxes on a frontal and a lateral projection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medlsam.export.thumbnails.raster import (
    Picture,
    Pixels,
    encode,
    paint_rectangle,
    paint_words,
    resized,
    rgb,
    windowed,
)
from medlsam.export.views import CYCLE, PAPER, PLANES, Plane
from medlsam.geometry import Grid
from medlsam.results import LocatedStructure
from medlsam.volume import Image, to_canonical

#: Pixels that a projection may be wide and high.
WIDEST, HIGHEST = 240, 260
# Rays are summed over voxels of about this size, mm: as sharp as the picture, and as fast for any scan.
_COARSE_MM = 2.0
_GAP = 2


def draw_projections(image: Image, structures: Sequence[LocatedStructure]) -> Picture:
    """Draw the scan from the front and from the side, with the located box of each structure.

    Args:
        image: the scan, HU, in any geometry.
        structures: those that are there; the n-th has the n-th colour of ``CYCLE``.
    """
    scan = to_canonical(_thinned(image))
    density = np.clip(scan.array.astype(np.float32) + 1000.0, 0.0, 2500.0)
    low, high = np.asarray(scan.grid.box.min), np.asarray(scan.grid.box.max)
    size = high - low
    pixel_mm = float(max(size[2] / HIGHEST, size[0] / WIDEST, size[1] / WIDEST))
    parts: list[Pixels] = []
    for plane in PLANES[1:]:
        rays = density.sum(axis=2 - plane.cut)[::-1]
        dark, bright = np.percentile(rays, (2.0, 99.7))
        rows, columns = (max(1, round(float(size[axis]) / pixel_mm)) for axis in (plane.up, plane.across))
        pixels = resized(windowed(rays, float(dark), float(bright) + 1e-3), rows, columns)
        for number, structure in enumerate(structures):
            _paint_box(pixels, structure, plane, low, high, pixel_mm, CYCLE[number % len(CYCLE)])
        paint_words(pixels, plane.sides, pixel_mm)
        parts.append(pixels)
    gap = np.full((parts[0].shape[0], _GAP, 3), rgb(PAPER), np.uint8)
    return encode(np.concatenate([parts[0], gap, parts[1]], axis=1))


def _paint_box(
    pixels: Pixels,
    structure: LocatedStructure,
    plane: Plane,
    low: np.ndarray,
    high: np.ndarray,
    pixel_mm: float,
    colour: str,
) -> None:
    box = structure.located_box
    if box is None:
        return
    left, right = ((end[plane.across] - low[plane.across]) / pixel_mm for end in (box.min, box.max))
    top, bottom = ((high[plane.up] - end[plane.up]) / pixel_mm for end in (box.max, box.min))
    paint_rectangle(
        pixels, left, top, right, bottom, colour, dash=3 if structure.status == "uncertain" else 0
    )


def _thinned(image: Image) -> Image:
    """Every n-th voxel, so that voxels are about ``_COARSE_MM`` wide."""
    grid = image.grid
    steps = [max(1, round(_COARSE_MM / spacing)) for spacing in grid.spacing_xyz]
    x, y, z = steps
    thin = image.array[::z, ::y, ::x]
    sx, sy, sz = (step * own for step, own in zip(steps, grid.spacing_xyz, strict=True))
    return image.derived(thin, Grid(thin.shape, (sx, sy, sz), grid.origin_xyz, grid.direction))
