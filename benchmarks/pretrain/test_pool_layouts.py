"""The layouts of a pool."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.pretrain import pool_layouts
from medlsam.geometry import Grid
from medlsam.volume import Image


def test_every_layout_of_the_pool_gives_the_same_crops(tmp_path: Path) -> None:
    """Those of 16 bits to the whole HU, those of 8 to a step of the table."""
    array = np.random.default_rng(0).normal(0, 40, (70, 66, 80)).astype(np.float32)
    scan = Image(array, Grid(array.shape, (4.0, 4.0, 4.0)))
    where = [slice(3, 67), slice(1, 65), slice(10, 74)]
    found = pool_layouts.layouts()
    assert len(found) >= 3
    for n, layout in enumerate(found):
        layout.write(tmp_path / str(n), scan)
        crop = layout.read(tmp_path / str(n))(where)
        assert crop.dtype == np.float32
        assert np.abs(crop - array[tuple(where)]).max() <= (0.5 if "int16" in layout.name else 2.1)
