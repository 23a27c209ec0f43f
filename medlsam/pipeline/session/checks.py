"""What a person clicked or drew, checked against the scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medlsam.errors import GeometryError
from medlsam.geometry import Box, Grid


def check_box(name: str, box: Box, grid: Grid, case: str) -> None:
    """Refuse a box that holds nothing of the scan.

    Args:
        name: the structure.
        box: LPS mm.
        grid: the scan's.
        case: the scan's name.

    Raises:
        GeometryError: it has no extent, or lies outside of the scan.
    """
    if min(box.size) <= 0:
        raise GeometryError(
            f"{case}: the box of {name} has no extent: {box.min} to {box.max} (LPS mm); draw it anew"
        )
    if box.intersection(grid.box) is None:
        raise GeometryError(
            f"{case}: the box of {name} lies outside of the scan: {box.min} to {box.max}, but the scan reaches from "
            f"{grid.box.min} to {grid.box.max} (LPS mm); were RAS coordinates given as LPS?"
        )


def voxel_of(point: ArrayLike, grid: Grid, case: str) -> tuple[int, int, int]:
    """The voxel (z, y, x) of a grid that a point lies in.

    Args:
        point: (3,) LPS mm.
        grid: the scan's.
        case: the scan's name.

    Raises:
        GeometryError: it is no point, or lies outside of the scan.
    """
    given = np.asarray(point, dtype=float).ravel()
    if given.shape != (3,) or not np.isfinite(given).all():
        raise GeometryError(f"{case}: a point needs x, y, z in LPS mm, got {point!r}")
    place = np.rint(grid.lps_to_ijk(given)).astype(int)[::-1]
    if (place < 0).any() or (place >= grid.shape_zyx).any():
        raise GeometryError(
            f"{case}: the point {np.round(given, 1).tolist()} lies outside of the scan, which reaches from "
            f"{grid.box.min} to {grid.box.max} (LPS mm)"
        )
    return (int(place[0]), int(place[1]), int(place[2]))
