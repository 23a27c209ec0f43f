"""From a scan as it was read to one that the pool keeps: upright, isotropic, without the air around the body."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Grid
from medlsam.volume import Image, lps_grid, resample, turned_to_lps
from medlsam.volume.hounsfield import TISSUE_HU

#: What stays around the body, so that crops see the skin from outside.
MARGIN_MM = 20.0
#: A body reaches at least so far along each axis.
LEAST_MM = 30.0
_LEAST_ML = 5.0


def pixel_hash(volume: Image) -> str:
    """sha256 of the voxels as they were read, the same however their axes were stored; places do not count."""
    array = turned_to_lps(volume)
    digest = hashlib.sha256(f"{array.shape} {sorted(round(s, 3) for s in volume.grid.spacing_xyz)}".encode())
    for plane in array:
        digest.update(np.rint(plane).astype("<i2").tobytes())
    return digest.hexdigest()


def prepare(volume: Image, spacing_mm: float) -> Image | None:
    """Resample to an isotropic grid along LPS and leave off the air around the body.

    Args:
        volume: HU, any direction.
        spacing_mm: of the new grid.

    Returns:
        float32 HU with all tissue and ``MARGIN_MM`` around it; None where there is no body.
    """
    grid = lps_grid(volume.grid, (spacing_mm,) * 3)
    scan = resample(volume, grid)
    inside = _body_box(scan.array, spacing_mm)
    if inside is None:
        return None
    z, y, x = (part.start for part in inside)
    kept = np.ascontiguousarray(scan.array[inside])
    ox, oy, oz = (float(o) for o in grid.ijk_to_lps([x, y, z]))
    return volume.derived(kept, Grid(kept.shape, grid.spacing_xyz, (ox, oy, oz)))


def _body_box(array: NDArray[np.float32], spacing_mm: float) -> tuple[slice, slice, slice] | None:
    """The part of the array that holds every piece of tissue of 5 ml or more, and the margin.

    The couch counts as tissue: it is better kept than mistaken for an arm.
    """
    labels, count = ndimage.label(array > TISSUE_HU)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    boxes = [
        box
        for size, box in zip(sizes, ndimage.find_objects(labels), strict=True)
        if size * spacing_mm**3 >= _LEAST_ML * 1000
    ]
    if not boxes:
        return None
    margin = round(MARGIN_MM / spacing_mm)
    low = [max(min(box[axis].start for box in boxes) - margin, 0) for axis in range(3)]
    high = [min(max(box[axis].stop for box in boxes) + margin, size) for axis, size in enumerate(array.shape)]
    z, y, x = (slice(a, b) for a, b in zip(low, high, strict=True))
    return z, y, x
