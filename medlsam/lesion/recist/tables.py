"""Measured and followed lesions as rows of tables and as JSON values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medlsam.lesion.recist.correlation import Correlation
from medlsam.lesion.recist.lesion import TYPE_NAMES, Lesion
from medlsam.lesion.recist.measurable import measurability_of
from medlsam.lesion.recist.track import FollowUp, Sighting
from medlsam.runtime.atomic_files import write_text

#: Columns of ``lesions.csv`` and of ``follow_up.csv``.
LESION_COLUMNS = (
    "case", "id", "type", "site", "longest_mm", "perpendicular_mm", "diameter_mm", "hcuch_mm", "volume_ml", "slice",
    "first_slice", "last_slice", "slice_numbers", "measurable", "cut_off", "parts", "voxels", "mean_hu", "center_x_mm",
    "center_y_mm", "center_z_mm",
)  # fmt: skip
FOLLOW_UP_COLUMNS = (
    "lesion", "alias", "role", "type", "site", "visit", "state", "ids", "diameter_mm", "longest_mm",
    "perpendicular_mm", "volume_ml", "slice", "cut_off", "distance_mm", "ambiguous", "merged_into",
)  # fmt: skip


def lesion_row(lesion: Lesion, slice_mm: float | None = None) -> dict[str, Any]:
    """One measured lesion, rounded: the row of ``lesions.csv``, less its case.

    Args:
        lesion: measured.
        slice_mm: thickness of the slices; their distance by default.
    """
    own = lesion.measured
    x, y, z = own.center
    return {
        "id": own.id,
        "type": TYPE_NAMES[lesion.kind.type],
        "site": lesion.kind.site,
        "longest_mm": round(own.longest_mm, 2),
        "perpendicular_mm": round(own.perpendicular_mm, 2),
        "diameter_mm": round(lesion.diameter_mm, 2),
        "hcuch_mm": round(lesion.hcuch_mm, 2),
        "volume_ml": round(own.volume_ml, 3),
        "slice": own.slice,
        "first_slice": own.first_slice,
        "last_slice": own.last_slice,
        "slice_numbers": own.slice_numbers,
        "measurable": measurability_of(lesion, slice_mm),
        "cut_off": own.cut_off,
        "parts": own.parts,
        "voxels": own.voxels,
        "mean_hu": None if own.mean_hu is None else round(own.mean_hu, 1),
        "center_x_mm": round(x, 2),
        "center_y_mm": round(y, 2),
        "center_z_mm": round(z, 2),
    }


def lesion_entry(lesion: Lesion, slice_mm: float | None = None) -> dict[str, Any]:
    """``lesion_row`` with the two lines: their ends, LPS mm."""
    own = lesion.measured
    lines = {"longest_line": own.longest_line, "perpendicular_line": own.perpendicular_line}
    rounded = {name: [[round(v, 2) for v in end] for end in line] for name, line in lines.items()}
    return lesion_row(lesion, slice_mm) | rounded


def correlation_entry(found: Correlation) -> dict[str, Any]:
    """One correlation as JSON values."""
    return {"organ": found.organ, "n": found.n, "rho": round(found.rho, 4), "p": found.p}


def follow_up_rows(found: FollowUp) -> list[dict[str, Any]]:
    """One row for each lesion at each visit: ``follow_up.csv``."""
    return [
        {
            "lesion": track.id,
            "alias": track.alias,
            "role": track.role,
            "type": TYPE_NAMES[track.kind.type],
            "site": track.kind.site,
            "visit": visit,
            **_sighting(sighting),
        }
        for track in found.tracks
        for visit, sighting in zip(found.visits, track.sightings, strict=True)
    ]


def _sighting(own: Sighting) -> dict[str, Any]:
    largest = max(own.lesions, key=lambda lesion: lesion.measured.voxels, default=None)
    return {
        "state": own.state,
        "ids": [lesion.id for lesion in own.lesions],
        "diameter_mm": _rounded(own.diameter_mm, 2),
        "longest_mm": None if largest is None else round(largest.measured.longest_mm, 2),
        "perpendicular_mm": None if largest is None else round(largest.measured.perpendicular_mm, 2),
        "volume_ml": _rounded(own.volume_ml, 3),
        "slice": None if largest is None else largest.measured.slice,
        "cut_off": any(lesion.measured.cut_off for lesion in own.lesions),
        "distance_mm": _rounded(own.distance_mm, 1),
        "ambiguous": list(own.ambiguous),
        "merged_into": own.merged_into,
    }


def follow_up_document(found: FollowUp) -> dict[str, Any]:
    """The whole follow-up as JSON values: ``follow_up.json``."""
    visits = []
    for number, name in enumerate(found.visits):
        entry: dict[str, Any] = {
            "visit": name,
            "sum_mm": _rounded(found.sums_mm[number], 2),
            "targets_volume_ml": _rounded(found.volumes_ml[number], 3),
        }
        if number:
            own = asdict(found.assessments[number - 1])
            del own["sum_mm"]
            response = own.pop("overall")
            entry |= {"response": response}
            entry |= {k: round(v, 4) if isinstance(v, float) else v for k, v in own.items()}
            entry["new"] = list(found.new[number])
        visits.append(entry)
    lesions = [
        {
            "id": track.id,
            "alias": track.alias,
            "role": track.role,
            "type": TYPE_NAMES[track.kind.type],
            "site": track.kind.site,
            "visits": [_sighting(own) for own in track.sightings],
        }
        for track in found.tracks
    ]
    return {"visits": visits, "lesions": lesions}


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path | str, columns: Sequence[str]) -> None:
    """Write rows as CSV, atomically; None becomes an empty cell, a list its items with spaces.

    Args:
        rows: each with all columns and no others.
        path: of the file.
        columns: in their order; they stand there where there is no row, too.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
