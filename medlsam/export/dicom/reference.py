"""The series that a scan was made from, where the scan itself is no DICOM: named by the user, checked by geometry."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.misc import is_dicom

from medlsam.errors import GeometryError, VolumeError
from medlsam.export.dicom.series import SourceSeries, read_series_headers
from medlsam.geometry import Grid

TOLERANCE_MM = 0.1


def find_reference(folder: Path, grid: Grid, scan: str) -> SourceSeries:
    """The series below a folder whose voxels are those of a grid, whatever their order.

    Args:
        folder: holds one series or several, also in folders below.
        grid: of the scan, LPS mm.
        scan: names the scan in messages.

    Raises:
        VolumeError: there is no CT series.
        GeometryError: no series has the scan's voxels (what differs is told), or several have.
    """
    series = _all_series(folder)
    if not series:
        raise VolumeError(f"{folder}: no DICOM image series here; give the series that {scan} was made from")
    misfits = {one.uid: _misfit(grid, one) for one in series}
    fitting = [one for one in series if misfits[one.uid] is None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise GeometryError(
            f"{folder}: {len(fitting)} series have the voxels of {scan} ({', '.join(one.uid for one in fitting)}); "
            "give the folder of the one that it was made from"
        )
    told = "; ".join(f"series {uid}: {misfit}" for uid, misfit in list(misfits.items())[:3])
    raise GeometryError(f"{folder}: no series here has the voxels of {scan}: {told}")


def _all_series(folder: Path) -> list[SourceSeries]:
    files: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and is_dicom(path)):
        header = dcmread(
            file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "Rows", "Modality"]
        )
        # Segmentations of the series may lie beside it.
        if "Rows" in header and header.get("Modality") not in ("SEG", "RTDOSE"):
            files[str(header.get("SeriesInstanceUID", ""))].append(file)
    return [_sorted(read_series_headers(found, folder)) for found in files.values()]


def _sorted(series: SourceSeries) -> SourceSeries:
    """The same series, its slices (and their headers) in the order of their places."""
    normal = np.cross(series.planes[0].across, series.planes[0].down)
    order = np.argsort([plane.origin @ normal for plane in series.planes], kind="stable")
    planes = tuple(series.planes[n] for n in order)
    headers = series.headers if len(series.headers) == 1 else tuple(series.headers[n] for n in order)
    return SourceSeries(series.path, headers, planes, series.made_up)


def _misfit(grid: Grid, series: SourceSeries) -> str | None:
    """How the voxels of a series differ from those of a grid; None where they are the same."""
    planes = series.planes
    count = len(planes) * planes[0].shape[0] * planes[0].shape[1]
    here = (len(planes), *planes[0].shape)
    if sorted(here) != sorted(grid.shape_zyx):
        return f"{here} slices, rows and columns, the scan has {tuple(grid.shape_zyx)} voxels (Z, Y, X)"
    corners = grid.lps_to_ijk(np.concatenate([plane.corners for plane in planes]))
    off = float(np.abs((corners - np.rint(corners)) * grid.spacing_xyz).max())
    # The corners of all slices are as many voxels of the grid, and no two the same one: then so is all between.
    low, high = np.rint(corners).min(axis=0), np.rint(corners).max(axis=0)
    filled = int(np.prod(high - low + 1)) == count
    inside = bool((low >= 0).all() and (high < np.asarray(grid.shape_zyx[::-1])).all())
    slices = len(np.unique(np.rint(corners).reshape(len(planes), 4, 3)[:, 0], axis=0))
    if off <= TOLERANCE_MM and filled and inside and slices == len(planes):
        return None
    box = np.concatenate([plane.corners for plane in planes])
    apart = np.concatenate(
        [box.min(axis=0) - _centres(grid).min(axis=0), box.max(axis=0) - _centres(grid).max(axis=0)]
    )
    if np.abs(apart).max() > TOLERANCE_MM:
        return f"its edges (x-, y-, z-, x+, y+, z+) lie {np.round(apart, 2).tolist()} mm from the scan's"
    return f"its slices lie up to {off:.2f} mm beside the scan's voxels (a tilted gantry, uneven spacing)"


def _centres(grid: Grid) -> NDArray[np.float64]:
    z, y, x = (size - 1 for size in grid.shape_zyx)
    return grid.ijk_to_lps([[i, j, k] for i in (0, x) for j in (0, y) for k in (0, z)])
