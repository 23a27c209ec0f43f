"""The canonical form: voxel axes along +x, +y, +z of LPS; models look at it, results go back from it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError
from medlsam.geometry import Grid
from medlsam.volume.resample import resample
from medlsam.volume.volume import LabelMap, V, Volume


def lps_grid(grid: Grid, spacing_xyz: tuple[float, float, float]) -> Grid:
    """The smallest grid with identity direction at ``spacing_xyz`` (mm) that covers ``grid.box``.

    What it is too large by is split evenly, so that every voxel centre lies inside the box.
    """
    box = grid.box
    spacing = np.asarray(spacing_xyz, dtype=float)
    # A hair less than the ratio: 100 mm at 2.5 mm stays 40 voxels whatever the rounding of the corners.
    counts = np.maximum(np.ceil(np.asarray(box.size) / spacing - 1e-3), 1).astype(int)
    origin = np.asarray(box.center) - (counts - 1) / 2 * spacing
    x, y, z = (int(n) for n in counts)
    sx, sy, sz = (float(s) for s in spacing)
    ox, oy, oz = (float(o) for o in origin)
    return Grid((z, y, x), (sx, sy, sz), (ox, oy, oz))


def to_canonical(volume: V) -> V:
    """Turn a volume so that its voxel axes run along +x, +y, +z of LPS.

    Axis-aligned volumes are flipped and transposed, without loss. Oblique ones are resampled to a grid that covers
    them, fine enough along each axis not to skip a voxel.
    """
    if volume.grid.is_axis_aligned:
        order, signs = _axes(volume.grid)
        return volume.derived(_turn(volume.array, order, signs), _turned_grid(volume.grid, order))
    return resample(volume, _covering_grid(volume.grid))


def turned_to_lps(volume: Volume) -> NDArray[Any]:
    """The voxels in the order of the LPS axes that theirs are nearest to: only flipped and transposed, (Z, Y, X).

    The same scan stored another way round gives the same array, also where it lies obliquely.
    """
    order, signs = _axes(volume.grid)
    # Turned by more than 45 degrees about two axes there is no nearest order.
    return _turn(volume.array, order, signs) if sorted(order) == [0, 1, 2] else volume.array


def from_canonical(labels: NDArray[Any], canonical: Grid, original: Grid) -> NDArray[Any]:
    """Bring a label array from a canonical grid back into the input's own geometry.

    Args:
        labels: (Z, Y, X) on ``canonical``.
        canonical: a grid with identity direction, usually that of ``to_canonical``.
        original: the input's grid, in any direction.

    Returns:
        (Z, Y, X) on ``original``: exact where ``original`` is axis-aligned and ``canonical`` its canonical
        grid, else by nearest neighbour; 0 outside.

    Raises:
        GeometryError: ``labels`` do not have the shape of ``canonical``.
    """
    if labels.shape != tuple(canonical.shape_zyx):
        raise GeometryError(
            f"labels of shape {labels.shape} do not lie on a grid of shape {canonical.shape_zyx}"
        )
    if original.is_axis_aligned:
        order, signs = _axes(original)
        if canonical.matches(_turned_grid(original, order), tolerance_mm=1e-3):
            flipped = np.flip(labels, tuple(axis for axis in range(3) if signs[2 - axis] < 0))
            inverse = [int(n) for n in np.argsort([2 - order[2 - axis] for axis in range(3)])]
            return np.ascontiguousarray(flipped.transpose(inverse))
    return resample(LabelMap(labels, canonical), original).array


def _axes(grid: Grid) -> tuple[list[int], list[float]]:
    """For LPS x, y, z: the voxel axis (0 = i) that runs along it, and its sign."""
    direction = np.asarray(grid.direction).reshape(3, 3)
    order = [int(n) for n in np.abs(direction).argmax(axis=1)]
    return order, [float(np.sign(direction[lps, order[lps]])) for lps in range(3)]


def _turn(array: NDArray[Any], order: list[int], signs: list[float]) -> NDArray[Any]:
    turned = array.transpose([2 - order[2 - axis] for axis in range(3)])
    return np.ascontiguousarray(np.flip(turned, tuple(axis for axis in range(3) if signs[2 - axis] < 0)))


def _turned_grid(grid: Grid, order: list[int]) -> Grid:
    x, y, z = (grid.shape_zyx[2 - order[lps]] for lps in range(3))
    spacing = np.asarray([grid.spacing_xyz[order[lps]] for lps in range(3)])
    # Around the centre, so that the rest of a rotation (at most 0.06 degrees) is shared by all corners.
    center = grid.ijk_to_lps((np.asarray(grid.shape_zyx[::-1]) - 1) / 2)
    sx, sy, sz = (float(s) for s in spacing)
    ox, oy, oz = (float(o) for o in center - (np.asarray([x, y, z]) - 1) / 2 * spacing)
    return Grid((z, y, x), (sx, sy, sz), (ox, oy, oz))


def _covering_grid(grid: Grid) -> Grid:
    # Going d along LPS axis a crosses d * |R_ab| / s_b voxels of axis b: take the step that crosses at most
    # one voxel of any axis.
    direction = np.abs(np.asarray(grid.direction).reshape(3, 3))
    steps = np.asarray(grid.spacing_xyz) / np.maximum(direction, 1e-6)
    x, y, z = (math.floor(step * 1e4) / 1e4 for step in steps.min(axis=1))
    return lps_grid(grid, (x, y, z))
