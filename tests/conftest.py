"""Fixtures that many tests share."""

from __future__ import annotations

import locale
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from medlsam.geometry import Grid
from medlsam.volume import Image
from tests.support.dask_workers import address, cluster

__all__ = ["address", "cluster"]


@pytest.fixture(scope="session")
def real_ct() -> Path:
    """The folder of real CT; skips where it is absent."""
    path = Path(os.environ.get("MEDLSAM_REAL_CT") or Path(__file__).parents[2] / "shared" / "ct")
    if not path.is_dir():
        pytest.skip(f"no real CT in {path} (set MEDLSAM_REAL_CT)")
    return path


@pytest.fixture(autouse=True)
def _locale() -> Iterator[None]:
    """Restores the locale: SimpleITK sets it to C where a test writes DICOM, and the next would read ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


def _draw_ct(grid: Grid, seed: int = 0) -> Image:
    """A soft-tissue ellipsoid in air with two bones and noise, drawn in LPS, so on any grid the same body."""
    generator = np.random.default_rng(seed)
    kji = np.indices(grid.shape_zyx).reshape(3, -1).T
    box = grid.box
    points = (grid.ijk_to_lps(kji[:, ::-1]) - np.asarray(box.center)) / np.asarray(box.size)
    hu = np.full(len(points), -1000.0)
    hu[((points / [0.4, 0.35, 0.6]) ** 2).sum(axis=1) < 1] = 40
    for center, radius in (((-0.2, 0.1, 0.1), 0.1), ((0.1, 0.2, -0.2), 0.07)):
        hu[((points - center) ** 2).sum(axis=1) < radius**2] = 700
    hu += generator.normal(0, 8, len(hu))
    hu = np.maximum(hu, -1024)
    return Image(np.rint(hu).astype(np.int16).reshape(grid.shape_zyx), grid)


@pytest.fixture(scope="session")
def make_ct() -> Callable[..., Image]:
    """``make_ct(grid, seed=0)`` draws a small CT-like scan on any grid."""
    return _draw_ct


@pytest.fixture
def small_ct() -> Image:
    """A CT-like scan of 24 x 28 x 32 voxels with different spacings, identity direction."""
    return _draw_ct(Grid((24, 28, 32), (1.5, 2.0, 2.5), (-20.0, 10.0, 300.0)))
