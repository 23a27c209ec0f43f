"""Lesions of DeepLesion's table ``DL_info.csv``: pixels of numbered slices become LPS millimetres of a scan.

Its volumes are named ``<patient>_<study>_<series>_<first>-<last>``, as the data set's own script writes them: one array
slice for each numbered one. The diameters are the prompt; the boxes of the table are those around them with a margin of
5 pixels. ``medlsam.data.deeplesion_table`` reads the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medlsam.data.deeplesion_table import BadRow, KeyLesion, read_key_lesions
from medlsam.errors import DatasetError, GeometryError, MedlsamError, UsageError
from medlsam.geometry import Grid
from medlsam.volume import Image, to_canonical

_NAMED = re.compile(r"(\d{6}_\d{2}_\d{2})_(\d{3})-(\d{3})")
# By so much the scan's pixels may differ from the table's, which has six digits.
_SAME_PIXELS = 0.01


def read_deeplesion(path: Path, scan: Image) -> Iterator[tuple[str, Mapping[str, Any] | MedlsamError]]:
    """List the lesions of one scan as entries of our own prompts file.

    Args:
        path: of the table.
        scan: the volume; its file's (or folder's) name says which series and slices it holds.

    Yields:
        Name and entry, or what is wrong with the row.

    Raises:
        UsageError: this is not the table, the scan's name does not say the series, or the table has no lesion in its
            slices.
        GeometryError: the scan holds another number of slices than its name says.
    """
    try:
        # wholly, so that a foreign file is told before the scan's name is looked at
        rows = list(read_key_lesions(path.read_text(encoding="utf-8-sig"), str(path)))
    except DatasetError as error:
        raise UsageError(f"{error}: this is not DeepLesion's table") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a table ({error})") from error
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
    own = [row for row in rows if row.series == series and row.slice is not None]
    own = [row for row in own if first <= (row.slice or 0) <= last]
    if not own:
        raise UsageError(f"{path}: no lesion of series {series} in slices {first} to {last}")
    for number, row in enumerate(own, start=1):
        name = f"{series}_{row.slice:03d}_{number}"
        yield name, row.error if isinstance(row, BadRow) else _entry(name, row, last, grid)


def _entry(name: str, row: KeyLesion, last: int, grid: Grid) -> dict[str, Any] | MedlsamError:
    """Turn pixels into millimetres of a canonical grid; its slices run from the feet up, the table's to the feet."""
    if not np.allclose(row.spacing_xyz[:2], grid.spacing_xyz[:2], rtol=_SAME_PIXELS):
        theirs, ours = (f"{x:g} x {y:g} mm" for x, y, _ in (row.spacing_xyz, grid.spacing_xyz))
        return GeometryError(
            f"{name}: the table counts pixels of {theirs}, but the scan's have {ours}; give the volume as the data "
            "set's script writes it"
        )
    places = np.column_stack([row.axes_xy, np.full(4, last - row.slice)])
    ends = grid.ijk_to_lps(places).tolist()
    return {"type": row.kind, "long": ends[:2], "short": ends[2:]}
