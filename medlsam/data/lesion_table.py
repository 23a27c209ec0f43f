"""``lesions.csv``: a row for each lesion of a dataset, with what a label map of classes cannot say.

Every table has ``case`` and ``lesion`` (its number in the case, also its value in ``instancesTr``). Places are LPS mm.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from scipy.ndimage import find_objects

from medlsam.data.source import LesionRow
from medlsam.errors import VolumeError
from medlsam.measure.place import mask_center
from medlsam.runtime.atomic_files import write_text
from medlsam.volume.volume import LabelMap


def instance_rows(instances: LabelMap, described: Mapping[int, LesionRow]) -> tuple[LesionRow, ...]:
    """A row for each lesion of a map that holds one value a lesion.

    Args:
        instances: (Z, Y, X).
        described: value to further columns, such as type and site. A value that no voxel has gets no row.

    Returns:
        By value: ``lesion``, the further columns, ``voxels``, ``volume_ml``, the centre of the voxels
        (``center_x_mm`` ...) and their extent (``min_x_mm`` to ``max_z_mm``).

    Raises:
        VolumeError: a value is not described.
    """
    rows: list[LesionRow] = []
    grid = instances.grid
    for value, place in enumerate(find_objects(instances.array), start=1):
        if place is None:
            continue
        if value not in described:
            known = ", ".join(map(str, sorted(described))) or "none"
            raise VolumeError(f"{instances.path}: value {value} is a lesion without a label (known: {known})")
        mask = instances.array[place] == value
        count = int(mask.sum())
        ends_ijk = ((axis.start - 0.5, axis.stop - 0.5) for axis in reversed(place))
        corners = grid.ijk_to_lps(list(product(*ends_ijk)))
        center, low, high = mask_center(mask, place, grid), corners.min(axis=0), corners.max(axis=0)
        rows.append(
            {
                "lesion": value,
                **described[value],
                "voxels": count,
                "volume_ml": round(count * grid.voxel_ml, 4),
            }
            | {
                f"{what}_{axis}_mm": round(float(place_mm), 3)
                for what, places in (("center", center), ("min", low), ("max", high))
                for axis, place_mm in zip("xyz", places, strict=True)
            }
        )
    return tuple(rows)


def write_lesion_table(path: Path, lesions: Mapping[str, Iterable[LesionRow]]) -> None:
    """Write ``lesions.csv``.

    Args:
        path: the file.
        lesions: case to rows; a column that a row lacks stays empty.
    """
    rows: list[dict[str, Any]] = [{"case": case, **row} for case, own in lesions.items() for row in own]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
