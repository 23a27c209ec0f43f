"""A small sam-tiny and the scan that it is tried on."""

from __future__ import annotations

import numpy as np

from medlsam.geometry import Grid
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.volume import Image

SMALL = TinyConfig(size=64, detail=4, stem=8, quarter=8, eighth=16, sixteenth=16, dim=32, heads=4, mlp=32)


def ellipsoid(spacing_xyz: tuple[float, float, float] = (1.5, 2.0, 4.0)) -> tuple[Image, np.ndarray]:
    """A 90 HU ellipsoid in 20 HU tissue with noise, and its mask; radii 30, 22 and 20 mm."""
    grid = Grid((16, 60, 90), spacing_xyz)
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape_zyx], indexing="ij")
    sx, sy, sz = spacing_xyz
    distance = ((x - 48) * sx / 30) ** 2 + ((y - 28) * sy / 22) ** 2 + ((z - 7.5) * sz / 20) ** 2
    mask = distance <= 1
    noise = np.random.default_rng(1).normal(0, 8, grid.shape_zyx)
    return Image((np.where(mask, 110, 10) + noise).astype(np.int16), grid), mask
