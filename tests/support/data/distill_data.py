"""Scans without labels to distil on: bodies with bright ellipses in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.volume import Image

GRID = Grid((6, 56, 64), (2.0, 2.0, 4.0))


def bright_things(seed: int) -> Image:
    """Three ellipses of 90 to 160 HU somewhere in a body of -20 HU, in noise."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.arange(n) for n in GRID.shape_zyx], indexing="ij")
    image = np.where((np.abs(x - 31.5) < 28) & (np.abs(y - 27.5) < 24), -20.0, -1000.0)
    for place in ((18, 18), (46, 20), (31, 40)):
        cx, cy = np.array(place) + rng.uniform(-3, 3, 2)
        a, b = rng.uniform(4, 8, 2)
        inside = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - 2.5) / 6) ** 2 <= 1
        image[inside] = rng.uniform(90, 160)
    return Image((image + rng.normal(0, 8, GRID.shape_zyx)).astype(np.int16), GRID)


def write_scans(folder: Path, seeds: Sequence[int]) -> Path:
    """Write scans ``body_<seed>.nii.gz``."""
    for seed in seeds:
        write_volume(bright_things(seed), folder / f"body_{seed}.nii.gz")
    return folder
