"""Where a structure lies in its scan: centre, distance to the edge of the field of view, slice numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import FACES, Grid
from medlsam.volume import Source

#: How slices are counted: by the DICOM Instance Number of their files, or from the feet up, from 1.
SliceNumbers = Literal["instance", "index"]

_log = logging.getLogger(__name__)


def axial_axis(grid: Grid) -> int:
    """The array axis nearest to the patient's long axis: scans may be stored in any axis order."""
    return 2 - int(np.abs(np.asarray(grid.direction).reshape(3, 3)[2]).argmax())


def mask_center(mask: NDArray[np.bool_], place: tuple[slice, ...], grid: Grid) -> NDArray[np.float64]:
    """(3,) LPS mm: the mean place of a mask's voxels.

    Args:
        mask: (Z, Y, X), cropped to ``place``, not empty.
        place: where it lies in the grid's array.
        grid: of the whole array.
    """
    zyx = []
    for axis in range(3):
        # Sums along the axes first: a list of all voxels would take more memory than the scan.
        counts = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
        zyx.append(np.average(np.arange(len(counts)), weights=counts) + place[axis].start)
    return grid.ijk_to_lps(zyx[::-1])


def edge_distance(place: tuple[slice, ...], grid: Grid) -> tuple[float, str]:
    """How far a structure is from the nearest face of its scan.

    Args:
        place: tight bounds of its voxels in the array.
        grid: of the scan.

    Returns:
        mm from its outermost voxel's outer face, 0 where it touches the scan's; and which face that is, one of
        ``FACES`` (x+ is the patient's left, y+ the back, z+ the head). Of several that are equally near, the one
        along the patient's long axis, where scans usually end too early.
    """
    found: dict[str, float] = {}
    matrix = np.asarray(grid.direction).reshape(3, 3)
    for axis, at in enumerate(place):
        along = matrix[:, 2 - axis]
        lps = int(np.abs(along).argmax())
        for distance, sign in ((at.start, -1), (grid.shape_zyx[axis] - at.stop, 1)):
            face = "xyz"[lps] + ("+" if sign * along[lps] > 0 else "-")
            # Two voxel axes of a scan at 45 degrees may have the same nearest patient axis.
            found[face] = min(found.get(face, np.inf), distance * grid.spacing_xyz[2 - axis])
    nearest = min(sorted(found, key=FACES.index, reverse=True), key=found.__getitem__)
    return float(found[nearest]), nearest


class Slices:
    """The slice numbers of a scan; the DICOM files are read for them once, when the first structure asks.

    Args:
        grid: of the scan.
        source: where it came from.
    """

    def __init__(self, grid: Grid, source: Source) -> None:
        self._grid = grid
        self._source = source
        self._instances: list[int] | None = None
        self._read = False

    def of(self, place: tuple[slice, ...]) -> tuple[int, int, SliceNumbers]:
        """The lowest and the highest number of a structure's slices, and how they are counted.

        ``instance``: the scan is a DICOM series on the scanner's own grid, so that each slice of the array is one
        of its images. ``index``: every other scan; its axial slices are counted from the feet up, from 1.
        """
        if not self._read:
            self._instances, self._read = instance_numbers(self._source), True
        if self._instances is not None:
            own = self._instances[place[0]]
            return min(own), max(own), "instance"
        axis = axial_axis(self._grid)
        at, count = place[axis], self._grid.shape_zyx[axis]
        upwards = self._grid.direction[6 + 2 - axis] > 0
        low, high = (at.start, at.stop) if upwards else (count - at.stop, count - at.start)
        return low + 1, high, "index"


def instance_numbers(source: Source) -> list[int] | None:
    """The number of each slice of the array as the scanner and viewers count them.

    That is the Instance Number of the slices' files; of one file with all slices, the number of the frame from 1.

    Returns:
        One number a slice, each once; None where the scan is no DICOM series on the scanner's grid, its files are not
        there any more, or they carry no such numbers.
    """
    if not source.grid_is_scanners or not source.files:
        return None
    if source.frames:
        return [frame + 1 for frame in source.frames]
    try:
        numbers = list(_instance_numbers(source.files))
    # Whatever is wrong with a header was told when the scan was read; here it only means that there is no number.
    except Exception as error:
        _log.info("%s: slices are counted by index (%s: %s)", source.path, type(error).__name__, error)
        return None
    return numbers if len(set(numbers)) == len(numbers) else None


def _instance_numbers(files: Iterable[Any]) -> Iterable[int]:
    import pydicom

    read: Callable[..., Any] = pydicom.dcmread
    for file in files:
        yield int(read(file, stop_before_pixels=True, specific_tags=["InstanceNumber"]).InstanceNumber)
