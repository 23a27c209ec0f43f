"""What a scan must be to be used as CT, and what belongs together: said in words where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError, TemplateError, VolumeError
from medlsam.geometry import Grid
from medlsam.volume.volume import Image, LabelMap, Volume

SPACING_MM = (0.1, 20.0)
LONGEST_MM = 3000.0


def check_grid(grid: Grid, path: Path) -> None:
    """Refuse a single slice, and spacings that no scan has.

    Raises:
        VolumeError: naming the file and the value found.
    """
    size = " x ".join(str(n) for n in grid.shape_zyx[::-1])
    if min(grid.shape_zyx) == 1:
        raise VolumeError(
            f"{path}: a single slice ({size} voxels); medlsam needs a 3D scan, a stack of slices"
        )
    spacing = " x ".join(f"{s:g}" for s in grid.spacing_xyz)
    if min(grid.spacing_xyz) < SPACING_MM[0] or max(grid.spacing_xyz) > SPACING_MM[1]:
        raise VolumeError(
            f"{path}: voxel spacing {spacing} mm is outside {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm; "
            "correct the spacing in the file's header (it may be in cm or m, or never set)"
        )
    longest = max(n * s for n, s in zip(grid.shape_zyx[::-1], grid.spacing_xyz, strict=True))
    if longest > LONGEST_MM:
        raise VolumeError(
            f"{path}: {size} voxels of {spacing} mm make {longest / 1000:.1f} m, longer than any scan; "
            "correct the spacing in the file's header"
        )


def nearest_rotation(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """The true rotation (or mirrored one) nearest to the directions of a header, which holds rounded numbers.

    Args:
        direction: (3, 3), a direction a column.

    Raises:
        GeometryError: the axes are not at right angles.
    """
    u, _, v = np.linalg.svd(direction)
    rotation = np.asarray(u @ v)
    off = float(np.abs(rotation - direction).max())
    if off > 1e-2:
        raise GeometryError(
            "its axes are not at right angles (a sheared transform, perhaps gantry tilt): direction "
            f"{np.round(direction, 3).tolist()}"
        )
    # What is right to the last digits stays as it was written.
    return np.asarray(direction) if off < 1e-6 else rotation


def check_finite(image: Image) -> None:
    """Refuse values that are NaN or infinite, in a scan that was not read here: they would spread over whole slices.

    Raises:
        VolumeError: with their number.
    """
    if image.array.dtype.kind != "f":
        return
    bad = sum(int(plane.size - np.isfinite(plane).sum()) for plane in image.array)
    if bad:
        raise not_finite(image.path or "volume", bad)


def not_finite(where: Path | str, count: int) -> VolumeError:
    """The error of a scan with so many values that are NaN or infinite."""
    return VolumeError(
        f"{where}: {count} values are NaN or infinite; replace them before use (outside the field of view by -1024)"
    )


def check_same_grid(image: Volume, labels: Volume) -> None:
    """Refuse a label map that does not lie on its scan's grid.

    Raises:
        GeometryError: naming both files and what differs.
    """
    if image.grid.matches(labels.grid):
        return
    names = f"{labels.path or 'labels'} does not lie on the grid of {image.path or 'the image'}: "
    if image.grid.shape_zyx != labels.grid.shape_zyx:
        sizes = [" x ".join(str(n) for n in v.grid.shape_zyx[::-1]) for v in (labels, image)]
        raise GeometryError(names + f"{sizes[0]} voxels against {sizes[1]}; resample the labels to the image")
    apart = float(np.abs(image.grid.corners() - labels.grid.corners()).max())
    for what in ("spacing_xyz", "origin_xyz", "direction"):
        one, other = (np.asarray(getattr(v.grid, what)) for v in (labels, image))
        if not np.allclose(one, other, atol=1e-3):
            raise GeometryError(
                names
                + f"corners are {apart:.1f} mm apart; {what.split('_')[0]} is {np.round(one, 3).tolist()} "
                f"against {np.round(other, 3).tolist()}; resample the labels to the image"
            )
    raise GeometryError(names + f"corners are {apart:.1f} mm apart; resample the labels to the image")


def check_labels(labels: LabelMap, names: Mapping[int, str]) -> None:
    """Refuse an empty label map, and values that ``names`` does not know.

    Args:
        labels: integer labels, 0 is background.
        names: value to organ.

    Raises:
        VolumeError: no voxel is labelled.
        TemplateError: a value has no name.
    """
    path = labels.path or "labels"
    values = [int(v) for v in np.unique(labels.array) if v != 0]
    if not values:
        raise VolumeError(
            f"{path}: the label map is empty: every voxel is background; draw at least one structure"
        )
    unknown = [v for v in values if v not in names]
    if unknown:
        known = ", ".join(f"{value} {name}" for value, name in sorted(names.items()))
        raise TemplateError(
            f"{path}: value {', '.join(map(str, unknown))} has no name in labels.json "
            f"(known: {known}); add it there"
        )
