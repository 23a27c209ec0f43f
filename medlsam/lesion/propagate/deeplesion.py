"""Lesions of DeepLesion's table ``DL_info.csv``: pixels of numbered slices become LPS millimetres.

Its volumes are named ``<patient>_<study>_<series>_<first>-<last>``, as the data set's own script writes them: one array
slice for each numbered one, the numbers growing towards the feet, columns to the patient's left and rows to the back.
``Measurement_coordinates`` are x and y of the four ends of the RECIST diameters, the long one first;
``Bounding_boxes`` are the box around them with 5 pixels on each side, so the diameters are the better prompt.
Pixel coordinates are taken as continuous indices of pixel centres, from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medlsam.errors import GeometryError, MedlsamError, UsageError
from medlsam.geometry import Grid
from medlsam.volume import Image, to_canonical

#: ``Coarse_lesion_type`` by number; -1 is unknown.
TYPES = {
    1: "bone",
    2: "abdomen",
    3: "mediastinum",
    4: "liver",
    5: "lung",
    6: "kidney",
    7: "soft tissue",
    8: "pelvis",
}
#: What the data set added to each side of the box around the diameters, pixels.
PADDING = 5.0
_NAMED = re.compile(r"(\d{6}_\d{2}_\d{2})_(\d{3})-(\d{3})")


def is_deeplesion(row: Mapping[str, Any]) -> bool:
    """Whether a row has the columns of DeepLesion's table."""
    return {"File_name", "Key_slice_index", "Bounding_boxes"} <= set(row)


def read_deeplesion(
    rows: Sequence[Mapping[str, str]], scan: Image, path: Path
) -> Iterator[tuple[str, Mapping[str, Any] | MedlsamError]]:
    """List the lesions of one scan as entries of our own prompts file.

    Args:
        rows: of the table.
        scan: the volume; its file's (or folder's) name says which series and slices it holds.
        path: of the table, for messages.

    Yields:
        Name and entry, or what is wrong with the row.

    Raises:
        UsageError: the scan's name does not say the series, or the table has no lesion in its slices.
        GeometryError: the scan holds another number of slices than its name says.
    """
    named = [_NAMED.search(part) for part in reversed(scan.path.parts if scan.path else ())]
    match = next((found for found in named if found), None)
    if match is None:
        raise UsageError(
            f"{scan.path or 'the scan'}: DeepLesion's table needs a scan named as its volumes are, such as "
            "000001_01_01_103-115.nii.gz: patient, study, series, first and last slice"
        )
    series, first, last = match[1], int(match[2]), int(match[3])
    grid = to_canonical(scan).grid
    if grid.shape_zyx[0] != last - first + 1:
        raise GeometryError(
            f"{scan.path}: its name says slices {first} to {last}, but it holds {grid.shape_zyx[0]}"
        )
    own = [row for row in rows if row["File_name"].startswith(f"{series}_")]
    own = [row for row in own if first <= int(float(row["Key_slice_index"])) <= last]
    if not own:
        raise UsageError(f"{path}: no lesion of series {series} in slices {first} to {last}")
    for number, row in enumerate(own, start=1):
        name = f"{row['File_name'].removesuffix('.png')}_{number}"
        try:
            yield name, _entry(row, first, grid)
        except (ValueError, KeyError) as error:
            yield name, UsageError(f"{path}: {name}: cannot be read ({type(error).__name__}: {error})")


def _entry(row: Mapping[str, str], first: int, grid: Grid) -> dict[str, Any]:
    key = int(float(row["Key_slice_index"]))
    # canonical slices are counted from the feet up
    k = grid.shape_zyx[0] - 1 - (key - first)

    def lps(x: float, y: float) -> list[float]:
        return [float(v) for v in grid.ijk_to_lps((x, y, k))]

    kind = TYPES.get(int(float(row.get("Coarse_lesion_type") or -1)), "")
    marks = _numbers(row.get("Measurement_coordinates", ""))
    if len(marks) == 8:
        ends = [lps(*pair) for pair in np.reshape(marks, (4, 2)).tolist()]
        return {"type": kind, "long": ends[:2], "short": ends[2:]}
    x0, y0, x1, y1 = _numbers(row["Bounding_boxes"])
    low, high = lps(x0 + PADDING, y0 + PADDING), lps(x1 - PADDING, y1 - PADDING)
    return {"type": kind, "box": {"min": low, "max": high}}


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part.strip()]
