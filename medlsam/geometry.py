"""Grids, boxes and extreme points: frozen values in LPS millimetres.

LPS is DICOM's patient system: x grows to the patient's left, y to the back, z to the head. Points
and boxes never hold voxel indices; index coordinates are called ``*_ijk`` (x fastest) or ``*_zyx``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medlsam.errors import GeometryError

Vector = tuple[float, float, float]
IDENTITY_DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FACES = ("x-", "x+", "y-", "y+", "z-", "z+")


def _vector(values: ArrayLike) -> Vector:
    x, y, z = (float(v) for v in np.asarray(values, dtype=float).ravel())
    return (x, y, z)


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an array lie: shape ``(Z, Y, X)``, spacing, origin and direction in LPS mm.

    ``origin_xyz`` is the centre of voxel (0, 0, 0); ``direction`` holds the nine direction cosines row
    by row, as in SimpleITK.
    """

    shape_zyx: tuple[int, int, int]
    spacing_xyz: Vector = (1.0, 1.0, 1.0)
    origin_xyz: Vector = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY_DIRECTION

    def __post_init__(self) -> None:
        if np.size(self.shape_zyx) != 3 or min(self.shape_zyx) < 1:
            raise GeometryError(f"a grid needs three positive sizes (Z, Y, X), got {self.shape_zyx}")
        if not all(math.isfinite(s) and s > 0 for s in self.spacing_xyz):
            raise GeometryError(f"a grid needs three positive spacings in mm, got {self.spacing_xyz}")
        matrix = np.asarray(self.direction, dtype=float)
        if matrix.size != 9 or not np.allclose(
            matrix.reshape(3, 3) @ matrix.reshape(3, 3).T, np.eye(3), atol=1e-3
        ):
            raise GeometryError(f"a grid needs an orthonormal 3x3 direction, got {self.direction}")
        # Plain numbers whatever came in, so that grids compare, hash and go into JSON.
        z, y, x = (int(n) for n in self.shape_zyx)
        object.__setattr__(self, "shape_zyx", (z, y, x))
        object.__setattr__(self, "spacing_xyz", _vector(self.spacing_xyz))
        object.__setattr__(self, "origin_xyz", _vector(self.origin_xyz))
        object.__setattr__(self, "direction", tuple(float(v) for v in matrix.ravel()))

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3): index steps (i, j, k) to LPS millimetres."""
        return np.asarray(np.reshape(self.direction, (3, 3)) * np.asarray(self.spacing_xyz))

    def ijk_to_lps(self, ijk: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) continuous indices, x first, to (..., 3) LPS mm. Integers are voxel centres."""
        return np.asarray(np.asarray(ijk, dtype=float) @ self.matrix.T + np.asarray(self.origin_xyz))

    def lps_to_ijk(self, points: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) LPS mm to (..., 3) continuous indices, x first."""
        inverse = np.linalg.inv(self.matrix)
        return np.asarray((np.asarray(points, dtype=float) - np.asarray(self.origin_xyz)) @ inverse.T)

    def corners(self) -> NDArray[np.float64]:
        """(8, 3) LPS mm: the outer corners of the corner voxels."""
        z, y, x = self.shape_zyx
        ijk = [[i, j, k] for i in (-0.5, x - 0.5) for j in (-0.5, y - 0.5) for k in (-0.5, z - 0.5)]
        return self.ijk_to_lps(ijk)

    @property
    def box(self) -> Box:
        """The axis-aligned LPS box around the whole grid (voxel extents)."""
        corners = self.corners()
        return Box(_vector(corners.min(axis=0)), _vector(corners.max(axis=0)))

    @property
    def is_axis_aligned(self) -> bool:
        """Whether every voxel axis runs along an LPS axis (either way, to 0.06 degrees)."""
        matrix = np.abs(np.asarray(self.direction, dtype=float)).reshape(3, 3)
        return bool(np.allclose(np.sort(matrix, axis=1), [[0, 0, 1]] * 3, atol=1e-3))

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_xyz)) / 1000.0

    def matches(self, other: Grid, tolerance_mm: float = 0.1) -> bool:
        """Whether both have the same shape and corners that agree within ``tolerance_mm``."""
        if self.shape_zyx != other.shape_zyx:
            return False
        return bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in LPS mm, ``min`` and ``max`` as (x, y, z) of its faces (not voxel centres)."""

    min: Vector
    max: Vector

    def __post_init__(self) -> None:
        object.__setattr__(self, "min", _vector(self.min))
        object.__setattr__(self, "max", _vector(self.max))
        if not np.isfinite([*self.min, *self.max]).all() or any(
            a > b for a, b in zip(self.min, self.max, strict=True)
        ):
            raise GeometryError(f"a box needs finite min <= max on every axis, got {self.min} and {self.max}")

    @property
    def size(self) -> Vector:
        """(x, y, z) edge lengths in mm."""
        return _vector(np.subtract(self.max, self.min))

    @property
    def center(self) -> Vector:
        """(x, y, z) centre in LPS mm."""
        return _vector(np.add(self.min, self.max) / 2)

    @property
    def volume(self) -> float:
        """Cubic millimetres."""
        return float(np.prod(self.size))

    @property
    def faces(self) -> NDArray[np.float64]:
        """(6,) mm: the face coordinates in the order of ``FACES`` (x-, x+, y-, y+, z-, z+)."""
        return np.stack([self.min, self.max], axis=1).ravel()

    @classmethod
    def from_faces(cls, faces: ArrayLike) -> Box:
        """A box from six face coordinates in mm (x-, x+, y-, y+, z-, z+); crossed faces are swapped."""
        pairs = np.sort(np.asarray(faces, dtype=float).reshape(3, 2), axis=1)
        return cls(_vector(pairs[:, 0]), _vector(pairs[:, 1]))

    def intersection(self, other: Box) -> Box | None:
        """The common part, or None where there is none."""
        low, high = np.maximum(self.min, other.min), np.minimum(self.max, other.max)
        return Box(_vector(low), _vector(high)) if (low < high).all() else None

    def iou(self, other: Box) -> float:
        """Intersection over union of two boxes, 0 to 1."""
        common = self.intersection(other)
        shared = common.volume if common else 0.0
        union = self.volume + other.volume - shared
        return shared / union if union > 0 else 0.0

    def wall_distance(self, other: Box) -> float:
        """Mean absolute distance of the six faces, mm."""
        return float(np.abs(self.faces - other.faces).mean())

    def expand(self, margin_mm: float | Sequence[float]) -> Box:
        """Move every face outwards by one margin, or by six in the order of ``FACES`` (mm)."""
        margins = np.broadcast_to(np.asarray(margin_mm, dtype=float), (6,))
        return Box.from_faces(self.faces + margins * np.array([-1, 1] * 3))

    def shrink(self, factor: float) -> Box:
        """Scale the edges by ``factor`` about the centre (0.7 keeps 70 % of each edge)."""
        half = np.asarray(self.size) * factor / 2
        return Box(_vector(np.subtract(self.center, half)), _vector(np.add(self.center, half)))

    def to_dict(self) -> dict[str, list[float]]:
        """``{"min": [x, y, z], "max": [x, y, z]}``, rounded to 0.01 mm."""
        return {"min": [round(v, 2) for v in self.min], "max": [round(v, 2) for v in self.max]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Box:
        """The inverse of ``to_dict``."""
        return cls(_vector(data["min"]), _vector(data["max"]))


@dataclass(frozen=True)
class ExtremePoints:
    """Six points of a structure in LPS mm: those farthest along x-, x+, y-, y+, z- and z+."""

    points: tuple[Vector, ...]

    def __post_init__(self) -> None:
        if len(self.points) != 6:
            raise GeometryError(
                f"six extreme points are needed (x-, x+, y-, y+, z-, z+), got {len(self.points)}"
            )
        object.__setattr__(self, "points", tuple(_vector(p) for p in self.points))

    @property
    def array(self) -> NDArray[np.float64]:
        """(6, 3) LPS mm."""
        return np.asarray(self.points, dtype=float)

    @property
    def box(self) -> Box:
        """The box whose faces go through the six points, each along its own axis."""
        return Box.from_faces(self.array[np.arange(6), np.arange(6) // 2])

    @classmethod
    def from_unordered(cls, points: ArrayLike) -> ExtremePoints:
        """Order points by what they are extreme in.

        Args:
            points: (N, 3) LPS mm, N >= 2, in any order.
        """
        array = np.asarray(points, dtype=float).reshape(-1, 3)
        if len(array) < 2:
            raise GeometryError(f"extreme points need at least two points, got {len(array)}")
        chosen = [array[pick(array[:, axis])] for axis in range(3) for pick in (np.argmin, np.argmax)]
        return cls(tuple(_vector(p) for p in chosen))

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_], grid: Grid) -> ExtremePoints:
        """The extreme points of a mask, on the outer faces of its extreme voxels.

        Of the voxels that share an extreme, the one nearest to their common centre is taken, moved half
        a voxel outwards, so that ``.box`` is the mask's box as voxel extents.

        Args:
            mask: (Z, Y, X) boolean.
            grid: the mask's grid; its axes may lie in any direction.

        Raises:
            GeometryError: the mask is empty.
        """
        # Listing voxels costs far more than looking for empty planes: cut to the mask's own part first.
        part = tight_slices(mask)
        if part[0].stop == 0:
            raise GeometryError("the mask is empty: it has no extreme points")
        kji = np.argwhere(mask[part]) + [span.start for span in part]
        lps = grid.ijk_to_lps(kji[:, ::-1])
        half = np.abs(grid.matrix).sum(axis=1) / 2
        chosen = []
        for axis in range(3):
            for sign in (-1.0, 1.0):
                along = lps[:, axis] * sign
                ties = lps[along >= along.max() - 1e-3]
                nearest = ties[np.argmin(((ties - ties.mean(axis=0)) ** 2).sum(axis=1))].copy()
                nearest[axis] += sign * half[axis]
                chosen.append(_vector(nearest))
        return cls(tuple(chosen))


def mask_box(mask: NDArray[np.bool_], grid: Grid) -> Box:
    """The tight LPS box of a mask as voxel extents (a one-voxel-wide mask has the width of one voxel).

    Args:
        mask: (Z, Y, X) boolean.
        grid: the mask's grid.

    Raises:
        GeometryError: the mask is empty.
    """
    return ExtremePoints.from_mask(mask, grid).box


def map_between(places: ArrayLike, source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Scale and shift coordinates along with the change of a frame, each axis by itself.

    Args:
        places: (..., N) coordinates, usually inside ``source``.
        source: (2, N) low and high corner of the frame that they were made for.
        target: (2, N) corners of the frame wanted.

    Returns:
        (..., N); a frame without extent counts as 1e-6 wide.
    """
    (low, high), (new_low, new_high) = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
    fractions = (np.asarray(places, dtype=float) - low) / np.maximum(high - low, 1e-6)
    return np.asarray(new_low + fractions * (new_high - new_low))


def map_box(box: Box, source: Box, target: Box) -> Box:
    """Move a box along with the change of frame from ``source`` to ``target`` (LPS mm; see ``map_between``)."""
    low, high = map_between((box.min, box.max), (source.min, source.max), (target.min, target.max))
    return Box(_vector(low), _vector(high))


def filled(mask: NDArray[np.bool_], axis: int) -> NDArray[np.intp]:
    """Indices along one axis, ascending, of the rows, planes, ... in which a mask has any voxel."""
    return np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))


def tight_slices(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The tight bounds of a mask: one slice of indices an axis, ``slice(0, 0)`` where it has no voxel."""
    spans = [filled(mask, axis) for axis in range(mask.ndim)]
    return tuple(slice(int(span[0]), int(span[-1]) + 1) if span.size else slice(0, 0) for span in spans)


def hat_weights(places: NDArray[np.float64], cells: NDArray[np.integer]) -> NDArray[np.float64]:
    """Linear interpolation along one axis as a matrix.

    Args:
        places: (P,) continuous cell indices to interpolate at.
        cells: (C,) consecutive cell indices.

    Returns:
        (P, C): how much of each cell enters the value at each place; a place beyond the cells gets less than 1.
    """
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - cells), 0))
