"""One plane of a volume as it lies, without turning or resampling the rest of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.export.views import Plane
from medlsam.geometry import Grid
from medlsam.volume import Image, LabelMap

_AIR_HU = -1024


@dataclass(frozen=True, eq=False)
class Cut:
    """A plane of a volume.

    Attributes:
        array: (rows, columns); row 0 is at the top of the picture, column 0 at its left.
        corner: (across, up) LPS mm of the centre of pixel (0, 0).
        step: (across, up) mm from one pixel to the next; negative where the axis descends along rows.
    """

    array: NDArray[Any]
    corner: tuple[float, float]
    step: tuple[float, float]

    def column(self, across: Any) -> Any:
        """Continuous column of a place along the axis ``across``, LPS mm; whole numbers are pixel centres."""
        return (across - self.corner[0]) / self.step[0]

    def row(self, up: Any) -> Any:
        """Continuous row of a place along the axis ``up``, LPS mm."""
        return (up - self.corner[1]) / self.step[1]


def cut_plane(
    volume: Image | LabelMap, plane: Plane, at: float, center: tuple[float, float], size: float
) -> Cut:
    """Cut a volume.

    Args:
        volume: in any geometry.
        plane: which way.
        at: where, LPS mm along the axis that is cut; the nearest slice is taken.
        center: (across, up) of the square that is looked at, LPS mm. Of an oblique volume only this is sampled, of
            others the whole slice is given, without a copy.
        size: of the square's side, mm.

    Returns:
        The plane; without rows where the volume does not reach there.
    """
    if volume.grid.is_axis_aligned:
        return _slice(volume.array, volume.grid, plane, at)
    return _sampled(volume, plane, at, center, size)


def _slice(array: NDArray[Any], grid: Grid, plane: Plane, at: float) -> Cut:
    matrix = np.asarray(grid.direction).reshape(3, 3)
    # The voxel axis (0 = i) that runs along an LPS axis.
    axis = [int(np.abs(matrix[lps]).argmax()) for lps in range(3)]
    place = grid.box.center
    point = [at if lps == plane.cut else place[lps] for lps in range(3)]
    index = int(np.rint(grid.lps_to_ijk(point)[axis[plane.cut]]))
    if not 0 <= index < array.shape[2 - axis[plane.cut]]:
        return Cut(array[:0, :0, 0], (0.0, 0.0), (1.0, 1.0))
    place_zyx: list[slice | int] = [slice(None)] * 3
    place_zyx[2 - axis[plane.cut]] = index
    cut = array[tuple(place_zyx)]
    # What is left of (Z, Y, X) has the voxel axis with the higher number as rows.
    if axis[plane.up] < axis[plane.across]:
        cut = cut.T
    corner, step = [0.0, 0.0], [0.0, 0.0]
    for number, lps, ascends in ((0, plane.across, True), (1, plane.up, not plane.upwards)):
        own = axis[lps]
        ijk_first, ijk_last = np.zeros(3), np.zeros(3)
        ijk_last[own] = array.shape[2 - own] - 1
        first, last = float(grid.ijk_to_lps(ijk_first)[lps]), float(grid.ijk_to_lps(ijk_last)[lps])
        spacing = grid.spacing_xyz[own]
        if (matrix[lps, own] > 0) != ascends:
            cut = np.flip(cut, 1 - number)
            first, last = last, first
        corner[number], step[number] = first, spacing if ascends else -spacing
    return Cut(cut, (corner[0], corner[1]), (step[0], step[1]))


def _sampled(
    volume: Image | LabelMap, plane: Plane, at: float, center: tuple[float, float], size: float
) -> Cut:
    grid = volume.grid
    pixel = min(grid.spacing_xyz)
    count = int(np.ceil(size / pixel)) + 2
    steps = (np.arange(count) - (count - 1) / 2) * pixel
    down = -steps if plane.upwards else steps
    points = np.empty((count, count, 3))
    points[..., plane.cut] = at
    points[..., plane.across] = center[0] + steps
    points[..., plane.up] = (center[1] + down)[:, None]
    zyx = np.moveaxis(grid.lps_to_ijk(points)[..., ::-1], -1, 0)
    scan = isinstance(volume, Image)
    array = ndimage.map_coordinates(
        volume.array,
        zyx,
        output=np.float32 if scan else None,
        order=1 if scan else 0,
        cval=_AIR_HU if scan else 0,
    )
    corner = (float(center[0] + steps[0]), float(center[1] + down[0]))
    return Cut(array, corner, (pixel, -pixel if plane.upwards else pixel))
