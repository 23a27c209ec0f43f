"""What a scan must be to be used as CT, and what belongs together: said in words where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError, TemplateError, VolumeError
from medlsam.geometry import Grid
from medlsam.volume.model import Volume

SPACING_MM = (0.1, 20.0)
LONGEST_MM = 3000.0
_SAMPLE = 2_000_000


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


def check_finite(array: NDArray[Any], path: Path) -> None:
    """Refuse NaN and infinity.

    Raises:
        VolumeError: with their number.
    """
    if array.dtype.kind != "f":
        return
    bad = sum(int(part.size - np.isfinite(part).sum()) for part in array)
    if bad:
        raise VolumeError(
            f"{path}: {bad} of {array.size} values are NaN or infinite; replace them before use "
            "(outside the field of view by -1024)"
        )


def check_ct(array: NDArray[Any], path: Path) -> None:
    """Refuse what does not look like CT in HU: air or fat below 0, soft tissue around 0.

    Args:
        array: (Z, Y, X), finite.
        path: for the message.

    Raises:
        VolumeError: saying what was seen.
    """
    low, high = float(array.min()), float(array.max())
    if low == high:
        raise VolumeError(f"{path}: every value is {low:g}; the scan is empty or damaged")
    step = max(1, round((array.size / _SAMPLE) ** (1 / 3)))
    sample = array[::step, ::step, ::step]
    seen = f"{path}: not CT in HU: values {low:g} to {high:g}, median {float(np.median(sample)):g}; "
    dark = float((sample < -50).mean())
    soft = float(((sample >= -200) & (sample <= 300)).mean())
    if low > -20 or dark < 5e-4:
        raise VolumeError(seen + _without_negatives(sample, low, high))
    if high > 40000:
        raise VolumeError(seen + "no material reaches that value; check slope and intercept")
    if soft < 1e-3:
        raise VolumeError(
            seen + f"{100 * soft:.2g} % of the voxels lie between -200 and 300 HU, where soft tissue is; "
            "check slope and intercept (was 1024 subtracted twice?)"
        )


def _without_negatives(sample: NDArray[Any], low: float, high: float) -> str:
    if high - low <= 30:
        return "this looks normalised; give the original scan"
    if low >= 0 and high <= 255:
        return "this looks like an 8-bit picture, already windowed, whose HU are lost; give the original scan"
    if float(((sample >= 900) & (sample <= 1200)).mean()) > 0.02:
        return "soft tissue seems to lie near 1024: the rescale intercept was not applied; subtract 1024"
    return "CT has air (-1000) or fat (-100); this looks like MR or another modality, or a derived image"


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


def check_labels(labels: Volume, names: Mapping[int, str]) -> None:
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
