"""One small body, stored in any axis order: a slab of HU that rise along all axes, and two structures."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box, Grid, mask_box
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import Image, LabelMap

GRID = Grid((5, 6, 7), (1.5, 2.0, 4.0), (-20.0, 10.0, 300.0))
NAMES = {3: "liver", 700: "kidney_left"}


def upright() -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """HU and labels (Z, Y, X) on ``GRID``; no two voxels have one value."""
    hu = np.arange(np.prod(GRID.shape_zyx), dtype=np.int16).reshape(GRID.shape_zyx)
    labels = np.zeros(GRID.shape_zyx, np.uint16)
    labels[1:3, 2:4, 1:4], labels[3, 4, 6] = 3, 700
    return hu, labels


def nibabels(array: NDArray[Any]) -> nibabel.Nifti1Image:
    """What nibabel holds for an array (Z, Y, X) on ``GRID``."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.vstack(
        [np.column_stack([GRID.matrix, GRID.origin_xyz]), [0, 0, 0, 1]]
    )
    return nibabel.Nifti1Image(array.transpose(2, 1, 0), affine)


def stored(array: NDArray[Any], order: tuple[int, ...], signs: tuple[int, ...]) -> tuple[NDArray[Any], Grid]:
    """The same body as a file would hold it: voxel axis n runs along LPS axis ``order[n]``, up or down."""
    xyz = array.transpose(2, 1, 0)
    spacing, origin = np.asarray(GRID.spacing_xyz), np.asarray(GRID.origin_xyz, dtype=float)
    start = origin.copy()
    for axis, sign in zip(order, signs, strict=True):
        if sign < 0:
            start[axis] += (xyz.shape[axis] - 1) * spacing[axis]
    turned = xyz.transpose(order)[tuple(slice(None, None, sign) for sign in signs)].transpose(2, 1, 0)
    direction = tuple((np.eye(3)[:, list(order)] * signs).ravel())
    grid = Grid(turned.shape, tuple(spacing[list(order)]), tuple(start), direction)
    return np.ascontiguousarray(turned), grid


def segmentation(case: str = "made") -> Segmentation:
    hu, labels = upright()
    return Segmentation(case, LabelMap(labels, GRID), NAMES, localization(case), image=Image(hu, GRID))


def localization(case: str = "made") -> Localization:
    hu, labels = upright()
    boxes: dict[str, Box] = {name: mask_box(labels == value, GRID) for value, name in NAMES.items()}
    status = {"liver": "found", "kidney_left": "uncertain"}
    located = {
        name: LocatedStructure(name, status[name], 0.8, 4.0, box=box)  # type: ignore[arg-type]
        for name, box in boxes.items()
    }
    located["ghost"] = LocatedStructure("ghost", "missing", 0.9)
    return Localization(case, located, Image(hu, GRID))
