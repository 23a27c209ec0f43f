"""A label map in the slices of a series: in the scanner's own pixels, whatever grid the networks saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError
from medlsam.export.dicom.series import SlicePlane, SourceSeries
from medlsam.geometry import Grid
from medlsam.volume.volume import LabelMap

#: How far, in voxels, an index may run over a whole slice and still count as the same one.
_STRAIGHT = 0.01


def label_planes(labels: LabelMap, series: SourceSeries) -> NDArray[Any]:
    """The label of each pixel of each slice of a series.

    Where slice n of the label map is slice n of the series, it is copied. Elsewhere (a gantry that was straightened,
    a reference series, a scan that was resampled) each pixel takes the label of the voxel that its centre lies in; 0
    outside of the label map. Between a straightened and the scanner's own grid that moves rows as a whole, so that
    nothing is lost or doubled; between two storage orders of the same voxels it is exact.

    Args:
        labels: on any grid in the series' frame of reference.
        series: its planes say where the slices lie.

    Returns:
        (slices, rows, columns), in the order of ``series.planes``.

    Raises:
        GeometryError: the slices have different sizes, or the label map lies elsewhere.
    """
    shapes = {plane.shape for plane in series.planes}
    if len(shapes) > 1:
        raise GeometryError(
            f"{series.path}: the slices have different sizes: {sorted(shapes)} (rows, columns)"
        )
    source, (shape,) = labels.source, shapes
    if (
        source.grid_is_scanners
        and source.series_uid in ("", series.uid)
        and not _misplaced(labels.grid, series)
    ):
        return labels.array
    sampled = np.zeros((len(series.planes), *shape), labels.array.dtype)
    hits = [_sample(labels, plane, into) for plane, into in zip(series.planes, sampled, strict=True)]
    if not any(hits):
        raise GeometryError(
            f"{series.path}: no slice of this series meets the label map of {labels.path or 'the scan'}"
        )
    return sampled


def present_values(planes: NDArray[Any]) -> set[int]:
    """The values that occur in (slices, rows, columns)."""
    # Slice by slice: sorting a whole scan takes its memory over again.
    return {int(value) for plane in planes for value in np.unique(plane)}


def _misplaced(grid: Grid, series: SourceSeries) -> bool:
    """Whether slice n of the grid is not slice n of the series: another size, order, or place in its plane."""
    planes = series.planes
    if tuple(grid.shape_zyx) != (len(planes), *planes[0].shape):
        return True
    rows, columns = planes[0].shape
    found = grid.lps_to_ijk(np.asarray([plane.corners[[0, 3]] for plane in planes]))
    beside = np.abs(found[..., :2] - [[0, 0], [columns - 1, rows - 1]]).max()
    # Slices of a series need not be evenly spaced, those of a grid are: their order counts.
    return bool(beside > 0.5 or (np.diff(found[:, 0, 2]) <= 0).any())


def _sample(labels: LabelMap, plane: SlicePlane, into: NDArray[Any]) -> bool:
    """Fill a slice with the labels at its pixels; whether any pixel lies in the label map."""
    grid = labels.grid
    origin, down, across = grid.lps_to_ijk(
        np.stack([plane.origin, plane.origin + plane.down, plane.origin + plane.across])
    )
    down, across = down - origin, across - origin
    rows, columns = np.ogrid[: plane.shape[0], : plane.shape[1]]
    indices, inside = [], np.ones((1, 1), np.bool_)
    for axis, size in zip((2, 1, 0), grid.shape_zyx, strict=True):
        place: NDArray[Any] = np.full((1, 1), origin[axis])
        for step, along in ((down[axis], rows), (across[axis], columns)):
            # An axis that runs along the slice's stays one row of numbers: most slices need no more.
            if abs(step) * (along.size - 1) > _STRAIGHT:
                place = place + step * along
        # Not to the nearest even number: a shift of exactly half a voxel must move all rows the same way.
        index = np.floor(place + 0.5 + 1e-6).astype(np.intp)
        inside = inside & (index >= 0) & (index < size)
        indices.append(np.clip(index, 0, size - 1))
    into[:] = np.where(inside, labels.array[tuple(indices)], 0)
    return bool(inside.any())
