"""Outlines of a mask in one slice, each one closed polygon, holes included.

A structure set knows closed polygons only. The standard (PS3.3, C.8.8.6.3) describes a hole by a *keyhole*: the polygon
goes along the outer outline, through a channel without width to the hole, around it the other way, and back through the
channel. Readers that add up polygons, readers that take their exclusive or, and readers of either winding rule all get
the same mask from that; separate polygons for holes are filled by the first kind.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

#: Outlines run this far (voxels) inside of the middle between a voxel of the mask and one beside it. So a reader that
#: looks at voxel centres and one that rounds the corners to whole voxels both find exactly the mask's voxels.
_INSIDE = 0.02
#: Channels to holes run this far (voxels) beside a row of voxel centres, so that no centre lies on one; and near enough
#: that a reader that rounds takes them for that row, which is of the mask.
_BESIDE_ROW = 0.01


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The closed outlines of a mask.

    Voxels that meet at a corner only are separate pieces; a piece of one voxel is a small diamond.

    Args:
        mask: (rows, columns).

    Returns:
        For each piece (N, 2) corners as (column, row), in pixels from the centre of the first one; the last corner
        is joined to the first. No corner is given twice in a row or lies on a straight line between its neighbours.
    """
    from contourpy import FillType, contour_generator

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    part = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1).astype(np.float64)
    generator = contour_generator(z=part, fill_type=FillType.OuterOffset)
    shift = np.asarray([columns[0] - 1, rows[0] - 1])
    found = []
    for points, offsets in zip(*generator.filled(0.5 + _INSIDE, 2.0), strict=True):
        # contourpy repeats the first corner of a ring at its end.
        rings = [_cornered(points[start : stop - 1]) for start, stop in pairwise(offsets)]
        found.append(_joined(rings[0], rings[1:]) + shift)
    return found


def _cornered(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed ring without the points on its straight lines."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
    return ring[turns > 1e-9]


def _joined(outer: NDArray[np.float64], holes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One ring for an outer ring and its holes, which run the other way around.

    The hole that reaches furthest to the right is joined first, to what lies right of it: that cannot be a hole that
    is not joined yet.
    """
    ring = outer
    for hole in sorted(holes, key=lambda points: -points[:, 0].max()):
        start, place = _rightmost(hole)
        edge, meeting = _right_of(ring, place)
        around = np.roll(hole, -start - 1, axis=0)
        ring = np.concatenate(
            [ring[: edge + 1], [meeting, place], around, [place, meeting], ring[edge + 1 :]]
        )
    return ring


def _rightmost(ring: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """A place near a ring's rightmost corner, off the rows of voxel centres: its edge's first corner, the place."""
    at = int(np.argmax(ring[:, 0]))
    # One of the two edges at that corner goes up or down far enough.
    for edge in (at, at - 1):
        a, b = ring[edge], ring[(edge + 1) % len(ring)]
        if abs(b[1] - a[1]) > _BESIDE_ROW:
            share = _BESIDE_ROW / abs(b[1] - a[1])
            near, far = (a, b) if edge == at else (b, a)
            return edge % len(ring), near + share * (far - near)
    raise AssertionError("an outline of voxels goes up or down at its rightmost corner")


def _right_of(ring: NDArray[np.float64], place: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """The first edge of a ring to the right of a place, and where the line to the right meets it."""
    a, b = ring, np.roll(ring, -1, axis=0)
    crossed = np.flatnonzero((a[:, 1] > place[1]) != (b[:, 1] > place[1]))
    share = (place[1] - a[crossed, 1]) / (b[crossed, 1] - a[crossed, 1])
    x = a[crossed, 0] + share * (b[crossed, 0] - a[crossed, 0])
    x[x <= place[0]] = np.inf
    first = int(np.argmin(x))
    return int(crossed[first]), np.asarray([x[first], place[1]])
