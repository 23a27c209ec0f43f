"""Numbers about each segmented structure, one row a structure, for ``statistics.csv`` and ``statistics.json``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.measure.intensity import intensity_figures
from medlsam.measure.place import Slices, axial_axis, edge_distance, mask_center
from medlsam.measure.shape import LEAST_VOXELS, axial_diameters, sphericity, surface_area
from medlsam.results import Segmentation
from medlsam.runtime.atomic_files import write_json, write_text
from medlsam.volume import Image

#: Each column: its unit ("" where it has none) and what it holds.
DESCRIBED = {
    "case": ("", "name of the scan"),
    "organ": ("", "name of the structure"),
    "label": ("", "its value in the label map"),
    "status": ("", "found, uncertain, missing or out_of_view"),
    "confidence": ("", "0 to 1; ranks answers, no probability"),
    "expected_error_mm": ("mm", "mean distance of a face of the box from the truth that the templates lead to expect"),
    "volume_ml": ("ml", "volume of the mask; 0 where there is none"),
    "mean_hu": ("HU", "mean of the voxels in the mask"),
    "std_hu": ("HU", "standard deviation of these voxels"),
    "long_axial_mm": ("mm", "longest diameter in any axial slice"),
    "short_axial_mm": ("mm", "width across that diameter in the same slice"),
    "height_mm": ("mm", "extent along the patient's long axis"),
    "center_x_mm": ("mm", "centre of the mask, LPS: grows to the patient's left"),
    "center_y_mm": ("mm", "centre of the mask, LPS: grows to the back"),
    "center_z_mm": ("mm", "centre of the mask, LPS: grows to the head"),
    "cut_off": ("", "yes: the mask touches the first or last axial slice, so its size is a lower bound"),
    "p5_hu": ("HU", "5 % of the voxels in the mask lie below"),
    "median_hu": ("HU", "half of the voxels lie below"),
    "p95_hu": ("HU", "95 % of the voxels lie below"),
    "surface_mm2": ("mm2", f"surface of the mask; empty where it is thinner than {LEAST_VOXELS} voxels"),
    "sphericity": ("", "surface of a ball of the same volume over the surface: 1 for a ball"),
    "edge_distance_mm": ("mm", "from the mask to the nearest face of the scan; 0 where it touches it"),
    "edge_face": ("", "which face: x- right, x+ left, y- front, y+ back, z- feet, z+ head"),
    "first_slice": ("", "lowest number of the slices that hold the mask"),
    "last_slice": ("", "highest number of these slices"),
    "slice_numbers": (
        "",
        "instance: Instance Number of the DICOM slices, as the scanner counts them; index: axial slices from the feet "
        "up, from 1",
    ),
}  # fmt: skip
COLUMNS = tuple(DESCRIBED)


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
    slices = Slices(labels.grid, scan.source)
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
            mask = labels.array[place] == value
            row |= _measured(mask, place, labels.grid)
            row |= intensity_figures(scan.array[place][mask])
            row |= zip(("first_slice", "last_slice", "slice_numbers"), slices.of(place), strict=True)
        rows.append(row)
    return rows


def write_statistics(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Write rows of ``structure_statistics`` as CSV, and beside it as JSON, each atomically.

    In the CSV None becomes an empty cell. The JSON holds ``columns`` (what each is), ``units`` (of those that have
    one) and ``rows``.

    Args:
        rows: a key that is absent counts as None, one that is no column is left out.
        path: of the CSV; the JSON gets the same name with ``.json``.
    """
    whole = [{column: row.get(column) for column in COLUMNS} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(whole)
    write_text(path, text.getvalue())
    described = {
        "columns": {column: meaning for column, (_, meaning) in DESCRIBED.items()},
        "units": {column: unit for column, (unit, _) in DESCRIBED.items() if unit},
        "rows": whole,
    }
    write_json(Path(path).with_suffix(".json"), described)


def _measured(mask: NDArray[np.bool_], place: tuple[slice, ...], grid: Grid) -> dict[str, Any]:
    """Size, shape and place of a structure; ``mask`` is cropped to ``place`` (Z, Y, X)."""
    voxels = np.count_nonzero(mask)
    center = mask_center(mask, place, grid)
    axial = axial_axis(grid)
    order = (axial, *(axis for axis in range(3) if axis != axial))
    z, y, x = (grid.spacing_xyz[2 - axis] for axis in order)
    upright = mask.transpose(order)
    long, short = axial_diameters(upright, (z, y, x))
    distance, face = edge_distance(place, grid)
    at = place[axial]
    found: dict[str, Any] = {
        "volume_ml": round(voxels * grid.voxel_ml, 3),
        "long_axial_mm": round(long, 2),
        "short_axial_mm": round(short, 2),
        "height_mm": round((at.stop - at.start) * z, 2),
        "center_x_mm": round(float(center[0]), 2),
        "center_y_mm": round(float(center[1]), 2),
        "center_z_mm": round(float(center[2]), 2),
        "cut_off": "yes" if at.start == 0 or at.stop == grid.shape_zyx[axial] else "no",
        "edge_distance_mm": round(distance, 2),
        "edge_face": face,
    }
    if min(mask.shape) >= LEAST_VOXELS:
        surface = surface_area(mask, (grid.spacing_xyz[2], grid.spacing_xyz[1], grid.spacing_xyz[0]))
        found["surface_mm2"] = round(surface, 1)
        found["sphericity"] = round(sphericity(voxels * math.prod(grid.spacing_xyz), surface), 4)
    return found


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
