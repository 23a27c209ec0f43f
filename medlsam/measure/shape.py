"""The shape of a mask in millimetres: axial diameters, surface, sphericity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, SphericalVoronoi
from scipy.spatial.distance import cdist

from medlsam.geometry import filled

#: What the outline of a slice goes around: the middles of its outer pixels' edges, their corners, or their centres.
Outline = Literal["edges", "corners", "centres"]
#: Below so many voxels along an axis the surface is not estimated: it would be wrong by more than a tenth.
LEAST_VOXELS = 3

_EQUAL_MM = 1e-6
# One of each pair of neighbours of a voxel that lie opposite each other: 3 faces, 6 edges, 4 corners.
_STEPS = tuple((dz - 1, dy - 1, dx - 1) for dz, dy, dx in np.ndindex(3, 3, 3) if (dz, dy, dx) > (1, 1, 1))


def axial_diameters(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> tuple[float, float]:
    """The longest diameter in any slice along the first axis, and the width across it in the same slice.

    Both run from edge to edge, so that a single voxel is as wide as it is. The width is that of the slice's
    convex hull perpendicular to the long diameter; of several diameters that are equally long, the largest width
    counts, so that the way in which a scan is stored makes no difference.

    Args:
        mask: (slice, row, column), not empty.
        spacing: mm along these axes.

    Returns:
        Long and short diameter, mm.
    """
    diagonals: dict[int, float] = {}
    for index in filled(mask, 0).tolist():
        rows, columns = filled(mask[index], 0), filled(mask[index], 1)
        diagonals[index] = float(
            np.hypot((np.ptp(rows) + 1) * spacing[1], (np.ptp(columns) + 1) * spacing[2])
        )
    longest, width = 0.0, 0.0
    # No diameter passes its bounding box's diagonal, so most slices need not be looked at.
    for index in sorted(diagonals, key=diagonals.__getitem__, reverse=True):
        if diagonals[index] < longest - _EQUAL_MM:
            break
        outline = convex_outline(mask[index], spacing[1:])
        distances = cdist(outline, outline)
        own = float(distances.max())
        if own < longest - _EQUAL_MM:
            continue
        if own > longest + _EQUAL_MM:
            longest, width = own, 0.0
        starts, ends = np.nonzero(np.triu(distances) > own - _EQUAL_MM)
        across = (outline[ends] - outline[starts])[:, ::-1] * (-1, 1) / own
        width = max(width, float(np.ptp(outline @ across.T, axis=0).max()))
    return longest, width


def surface_area(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """The surface of a mask, where the array's end cuts it off included.

    Cauchy and Crofton: a surface is four times the mean, over all directions, of the area that it covers when it is
    looked at from there, and that area is counted by the lines that enter and leave. Thirteen directions stand for
    all, those from a voxel to its neighbours, each weighted by the share of the sphere that is nearest to it. Round
    shapes come out right whichever way they lie; flat faces along the voxel axes come out too small, since no
    direction sees them at a slant (10 % in cubic voxels, up to 25 % in flat ones).
    ``python benchmarks/results/surface.py`` prints how far off.

    Args:
        mask: (Z, Y, X).
        spacing: mm along these axes.

    Returns:
        mm2; for a shape thinner than ``LEAST_VOXELS`` too uncertain to be used.
    """
    padded = np.pad(mask, 1)
    voxel = math.prod(spacing)
    total = 0.0
    for step, share in zip(_STEPS, _shares(spacing), strict=True):
        here, there = (
            padded[tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(way, padded.shape, strict=True))]
            for way in (step, tuple(-s for s in step))
        )
        crossings = np.count_nonzero(here != there)
        total += share * crossings * voxel / math.hypot(*np.multiply(step, spacing))
    return 2 * total


def sphericity(volume_mm3: float, surface_mm2: float) -> float:
    """Surface of the ball of the same volume over the surface: 1 for a ball, less for everything else.

    Nothing has a smaller surface than the ball, so what an estimated surface gives beyond 1 is its error, and is cut.
    """
    return min(1.0, math.cbrt(math.pi) * math.cbrt(6 * volume_mm3) ** 2 / surface_mm2)


@lru_cache(maxsize=64)
def _shares(spacing: tuple[float, float, float]) -> tuple[float, ...]:
    """For each of ``_STEPS`` the share of all directions that are nearest to it or its opposite; together 1."""
    ways = np.multiply(_STEPS, spacing, dtype=float)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    areas = SphericalVoronoi(np.concatenate([ways, -ways])).calculate_areas() / (4 * math.pi)
    return tuple((areas[: len(_STEPS)] + areas[len(_STEPS) :]).tolist())


def convex_outline(
    mask: NDArray[np.bool_], spacing: Sequence[float], of: Outline = "edges"
) -> NDArray[np.float64]:
    """The corners of the convex outline of a slice, one after the other around it.

    Args:
        mask: (row, column), not empty.
        spacing: mm along these axes.
        of: what the outline goes around: the middles of the outer pixels' edges, their corners, or their centres.

    Returns:
        (N, 2) mm, row and column; pixel (0, 0) has its centre at (0, 0). Centres that lie on one line have no outline:
        their two ends come back, or the one.
    """
    rows = filled(mask, 0)
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    points = np.concatenate(
        [
            np.stack([rows + up, columns + across], axis=1)
            for columns, side in ((first, -1), (last, 1))
            for up, across in _around(side, of)
        ]
    ) * np.asarray(spacing)
    if of == "centres" and np.linalg.matrix_rank(points - points[0]) < 2:
        order = np.lexsort(points.T[::-1])
        return np.asarray(np.unique(points[order[[0, -1]]], axis=0), dtype=np.float64)
    outline: NDArray[np.float64] = points[ConvexHull(points).vertices]
    return outline


def _around(side: int, of: Outline) -> tuple[tuple[float, float], ...]:
    """Places (up, across) about a row's outermost pixel on one side."""
    if of == "centres":
        return ((0.0, 0.0),)
    if of == "corners":
        return ((-0.5, 0.5 * side), (0.5, 0.5 * side))
    return ((0.0, 0.5 * side), (-0.5, 0.0), (0.5, 0.0))
