"""Outlines of masks as lines that the page draws over a slice."""

from __future__ import annotations

import contourpy
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.export.views import Plane
from medlsam.viewer.pictures import slice_of

Line = list[list[float]]


def outlines(labels_zyx: NDArray[np.generic], view: Plane, index: int) -> dict[int, list[Line]]:
    """Outline every label of a slice.

    Args:
        labels_zyx: canonical label map, (Z, Y, X).
        view: plane.
        index: of the slice.

    Returns:
        Label value to closed lines of (column, row) of the picture, through the middles between pixels inside and
        outside. Labels that are not in the slice are left out.

    Raises:
        UsageError: there is no such slice.
    """
    plane = np.ascontiguousarray(slice_of(labels_zyx, view, index))
    found = {}
    for value, place in enumerate(ndimage.find_objects(plane), start=1):
        if place is not None:
            rows, columns = place
            found[value] = _lines(plane[place] == value, rows.start, columns.start)
    return found


def part_outlines(
    part: NDArray[np.bool_],
    origin_zyx: tuple[int, int, int],
    shape_zyx: tuple[int, int, int],
    view: Plane,
    index: int,
) -> list[Line]:
    """Outline one mask that is kept as a part of the volume.

    Args:
        part: (dz, dy, dx).
        origin_zyx: index of its first voxel.
        shape_zyx: of the volume.
        view: plane.
        index: of the slice in the volume.

    Raises:
        UsageError: there is no such slice.
    """
    axis = 2 - view.cut
    plane = slice_of(np.broadcast_to(np.False_, shape_zyx), view, index)
    if not 0 <= index - origin_zyx[axis] < part.shape[axis]:
        return []
    mask = np.zeros(plane.shape, bool)
    first, left = (start for k, start in enumerate(origin_zyx) if k != axis)
    own = np.moveaxis(part, axis, 0)[index - origin_zyx[axis]]
    # rows are numbered from the lowest coordinate until they are flipped
    mask[first : first + own.shape[0], left : left + own.shape[1]] = own
    return lines_of(mask[::-1] if view.upwards else mask)


def lines_of(mask: NDArray[np.bool_]) -> list[Line]:
    """Outline a mask (rows, columns); closed at the border of the picture."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    return _lines(mask[top : rows[-1] + 1, left : columns[-1] + 1], top, left)


def _lines(part: NDArray[np.bool_], top: int, left: int) -> list[Line]:
    """Outline a part of a mask whose first pixel lies at a row and column of the picture."""
    found = contourpy.contour_generator(z=np.pad(part.astype(np.float32), 1)).lines(0.5)
    corner = np.array([left - 1, top - 1])
    return [np.round(np.asarray(line) + corner, 2).tolist() for line in found]
