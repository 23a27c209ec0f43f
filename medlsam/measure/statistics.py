"""Numbers about each segmented structure, one row a structure, for ``statistics.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Grid, filled
from medlsam.results import Segmentation
from medlsam.runtime.atomic_files import write_text
from medlsam.volume import Image

COLUMNS = (
    "case",
    "organ",
    "label",
    "status",
    "confidence",
    "expected_error_mm",
    "volume_ml",
    "mean_hu",
    "std_hu",
    "long_axial_mm",
    "short_axial_mm",
    "height_mm",
    "center_x_mm",
    "center_y_mm",
    "center_z_mm",
    "cut_off",
)


def structure_statistics(segmentation: Segmentation, image: Image | None = None) -> list[dict[str, Any]]:
    """One row (keys of ``COLUMNS``) for each structure that was looked for, also where there is none.

    ``volume_ml`` is 0 and what cannot be measured is None where the structure has no voxel. ``cut_off`` says
    that it touches the first or last axial slice of the scan, so volume and height are lower bounds.

    Args:
        segmentation: from ``MedLSAM.segment``.
        image: the scan on the label map's grid, HU; the segmentation's own by default.

    Raises:
        UsageError: the segmentation keeps no scan and none was given.
        GeometryError: scan and label map have different shapes.
    """
    scan = image if image is not None else segmentation.image
    if scan is None:
        raise UsageError(f"{segmentation.case}: the segmentation keeps no scan; give the scan as `image`")
    labels = segmentation.labels
    if scan.array.shape != labels.array.shape:
        raise GeometryError(
            f"{segmentation.case}: the scan has shape {scan.array.shape}, its label map {labels.array.shape}"
        )
    places = ndimage.find_objects(labels.array)
    rows = []
    for value, name in sorted(segmentation.names.items()):
        structure = segmentation.localization.structures.get(name)
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {"case": segmentation.case, "organ": name, "label": value, "volume_ml": 0.0}
        if structure is not None:
            row |= {
                "status": structure.status,
                "confidence": round(structure.confidence, 4),
                "expected_error_mm": _rounded(structure.expected_error_mm, 2),
            }
        place = places[value - 1] if value <= len(places) else None
        if place is not None:
            row |= _measured(labels.array[place] == value, place, scan.array[place], labels.grid)
        rows.append(row)
    return rows


def axial_diameters(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> tuple[float, float]:
    """The longest diameter in any slice along the first axis, and the width across it in the same slice.

    Both run from edge to edge, so that a single voxel is as wide as it is. The width is that of the slice's
    convex hull perpendicular to the long diameter.

    Args:
        mask: (slice, row, column), not empty.
        spacing: mm along these axes.

    Returns:
        Long and short diameter, mm.
    """
    diagonals: dict[int, float] = {}
    for index in filled(mask, 0).tolist():
        rows, columns = filled(mask[index], 0), filled(mask[index], 1)
        diagonals[index] = float(
            np.hypot((np.ptp(rows) + 1) * spacing[1], (np.ptp(columns) + 1) * spacing[2])
        )
    longest, width = 0.0, 0.0
    # No diameter passes its bounding box's diagonal, so most slices need not be looked at.
    for index in sorted(diagonals, key=diagonals.__getitem__, reverse=True):
        if diagonals[index] <= longest:
            break
        outline = _hull(mask[index], spacing[1:])
        distances = cdist(outline, outline)
        if distances.max() > longest:
            longest = float(distances.max())
            a, b = np.unravel_index(distances.argmax(), distances.shape)
            along = (outline[b] - outline[a]) / longest
            width = float(np.ptp(outline @ np.array([-along[1], along[0]])))
    return longest, width


def write_statistics(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Write rows of ``structure_statistics`` as CSV, atomically; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _measured(
    mask: NDArray[np.bool_], place: tuple[slice, ...], hu: NDArray[Any], grid: Grid
) -> dict[str, Any]:
    """What the voxels of a structure tell; ``mask`` and ``hu`` are cropped to ``place`` (Z, Y, X)."""
    values = hu[mask].astype(np.float64)
    ijk = np.argwhere(mask).mean(axis=0)[::-1] + [s.start for s in place[::-1]]
    center = grid.ijk_to_lps(ijk)
    # The voxel axis nearest to the patient's long axis: scans may be stored in any axis order.
    axial = 2 - int(np.abs(np.asarray(grid.direction).reshape(3, 3)[2]).argmax())
    order = (axial, *(axis for axis in range(3) if axis != axial))
    spacing = tuple(grid.spacing_xyz[2 - axis] for axis in order)
    long, short = axial_diameters(mask.transpose(order), (spacing[0], spacing[1], spacing[2]))
    at = place[axial]
    return {
        "volume_ml": round(len(values) * grid.voxel_ml, 3),
        "mean_hu": round(float(values.mean()), 2),
        "std_hu": round(float(values.std()), 2),
        "long_axial_mm": round(long, 2),
        "short_axial_mm": round(short, 2),
        "height_mm": round((at.stop - at.start) * spacing[0], 2),
        "center_x_mm": round(float(center[0]), 2),
        "center_y_mm": round(float(center[1]), 2),
        "center_z_mm": round(float(center[2]), 2),
        "cut_off": "yes" if at.start == 0 or at.stop == grid.shape_zyx[axial] else "no",
    }


def _hull(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """(N, 2) mm: the convex outline of a slice through the middles of its outer pixels' edges."""
    rows = filled(mask, 0)
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    points = np.concatenate(
        [
            np.stack([rows + up, column + across], axis=1)
            for column, side in ((first, -0.5), (last, 0.5))
            for up, across in ((0.0, side), (-0.5, 0.0), (0.5, 0.0))
        ]
    ) * np.asarray(spacing)
    outline: NDArray[np.float64] = points[ConvexHull(points).vertices]
    return outline


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
