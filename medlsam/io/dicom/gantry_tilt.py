"""Scans made with a tilted gantry: slices that are parallel but shifted, made one regular grid again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Grid
from medlsam.volume.hounsfield import LOWEST_HU


def straighten(slices: NDArray[Any], grid: Grid, step: NDArray[np.float64]) -> tuple[NDArray[Any], Grid]:
    """Shift every slice within its plane, linearly interpolated, to where a grid at right angles has it.

    Slices stay where they are along their normal, so nothing is resampled in that direction. The picture grows by
    as much as the slices are apart; what no slice saw is -1024.

    Args:
        slices: (Z, Y, X) HU.
        grid: of the slices as if they lay above each other.
        step: (3,) LPS mm from each slice's first voxel to the next slice's.

    Returns:
        The slices, and a grid with the same in-plane spacing and direction.
    """
    direction = np.asarray(grid.direction).reshape(3, 3)
    sx, sy, _ = grid.spacing_xyz
    normal = direction[:, 2] * np.sign(step @ direction[:, 2])
    # (y, x) in voxels: how far slice k is shifted against the first, and where the picture begins.
    per_slice = np.array([step @ direction[:, 1] / sy, step @ direction[:, 0] / sx])
    last = per_slice * (len(slices) - 1)
    first = np.floor(np.minimum(last, 0.0))
    rows, columns = (int(n) for n in np.ceil(np.abs(last)).astype(int) + slices.shape[1:])
    straight = np.empty((len(slices), rows, columns), slices.dtype)
    for k, plane in enumerate(slices):
        spread = np.full((rows, columns), LOWEST_HU, np.float32)
        spread[: plane.shape[0], : plane.shape[1]] = plane
        moved = ndimage.shift(spread, k * per_slice - first, order=1, cval=LOWEST_HU, prefilter=False)
        straight[k] = np.rint(moved) if straight.dtype.kind == "i" else moved
    x, y, z = (float(v) for v in np.asarray(grid.origin_xyz) + direction[:, :2] @ (first[::-1] * [sx, sy]))
    turned = tuple(float(v) for v in np.column_stack([direction[:, :2], normal]).ravel())
    return straight, Grid((len(slices), rows, columns), (sx, sy, float(step @ normal)), (x, y, z), turned)
