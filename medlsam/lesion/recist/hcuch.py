"""The tables of the HCUCH dataset (Zenodo 17788162), read and written.

``recist_measurements.csv`` has one row for each target lesion at each visit, ``series.json`` one entry for each CT
series, and ``labels/<series>.json`` beside a mask says of each of its values which type and site the lesion has
(``{"1": "m,lung"}``; t is a primary tumour, m a metastasis, n a lymph node). The columns are those that the authors'
repository lists (robertorojasp06/recist-dataset, its README); the paper's Table 3 has the same in words. The dataset
itself was not at hand: that its files have these names was not seen. So case and spaces do not matter when a table is
read, and the words of Table 3 are known as well; what is not known is left out.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from medlsam.errors import DatasetError, UsageError
from medlsam.io.label_names import read_json
from medlsam.lesion.recist.lesion import Kind
from medlsam.runtime.atomic_files import write_json, write_text

T = TypeVar("T")


@dataclass(frozen=True)
class RecistMeasurement:
    """A row of ``recist_measurements.csv``: one target lesion at one visit.

    Attributes:
        patient_id: pseudonym.
        filename: of the CT series.
        lesion_label_value: the lesion's value in the mask.
        lesion_label_alias: A, B, ...: the same lesion of a patient at all visits.
        recist_measurement_mm: major axis of a tumour, minor axis of a node.
        subset: ``training`` or ``test``.
        study_date: YYYYMMDD.
        study_uuid: Study Instance UID.
        uuid: Series Instance UID.
        region: ``abdomen`` or ``thorax``.
        final_3d_objects: annotated lesions in the series.
        study_order: ``baseline``, ``follow-up-1``, ...
    """

    patient_id: int
    filename: str
    lesion_label_value: int
    lesion_label_alias: str
    recist_measurement_mm: float
    subset: str = ""
    study_date: str = ""
    study_uuid: str = ""
    uuid: str = ""
    region: str = ""
    final_3d_objects: int | None = None
    study_order: str = ""


@dataclass(frozen=True)
class Series:
    """An entry of ``series.json``: one CT series.

    Attributes:
        id: pseudonym.
        uuid: Series Instance UID.
        patient_id: pseudonym.
        region: ``abdomen`` or ``thorax``.
        study_uuid: Study Instance UID.
        study_date: YYYYMMDD.
        slice_thickness: mm at acquisition; the slices may lie closer.
        row_spacing: mm along y.
        column_spacing: mm along x.
        slice_spacing: mm along z.
        slices: how many.
        rows: of a slice.
        columns: of a slice.
    """

    id: int
    uuid: str
    patient_id: int
    region: str = ""
    study_uuid: str = ""
    study_date: str = ""
    slice_thickness: float | None = None
    row_spacing: float | None = None
    column_spacing: float | None = None
    slice_spacing: float | None = None
    slices: int | None = None
    rows: int | None = None
    columns: int | None = None


#: The order of the columns in the authors' list, and Table 3's words for them.
_MEASUREMENT_COLUMNS = {
    "patient_id": ("patient",),
    "subset": (),
    "study_date": ("date_of_study", "date_of_the_study"),
    "study_uuid": ("study_instance_uid",),
    "uuid": ("series_instance_uid",),
    "filename": ("filename_of_ct_series", "file_name"),
    "region": ("anatomical_region",),
    "final_3d_objects": ("total_number_of_annotated_lesions_in_the_ct_series",),
    "lesion_label_value": ("foreground_value",),
    "lesion_label_alias": ("alias_to_identify_lesion_within_the_patient", "alias"),
    "recist_measurement_mm": ("recist_diameter_measurement_mm", "recist_measurement", "measurement"),
    "study_order": ("temporal_category_of_the_study",),
}
_SERIES_KEYS = {
    "id": ("series_id",),
    "region": ("anatomical_region",),
    "uuid": ("series_instance_uid",),
    "study_uuid": ("study_instance_uid",),
    "study_date": ("date_of_the_study", "date_of_study"),
    "patient_id": ("patient",),
    "slice_thickness": ("slice_thickness_during_acquisition_mm",),
    "row_spacing": ("voxel_size_in_row_dimension_mm",),
    "column_spacing": ("voxel_size_in_column_dimension_mm",),
    "slice_spacing": ("voxel_size_in_slice_dimension_mm",),
    "slices": ("number_of_slices",),
    "rows": ("number_of_rows",),
    "columns": ("number_of_columns",),
}
_WHOLE = {"patient_id", "final_3d_objects", "lesion_label_value", "id", "slices", "rows", "columns"}
_REAL = {"recist_measurement_mm", "slice_thickness", "row_spacing", "column_spacing", "slice_spacing"}


def read_measurements(path: Path | str) -> list[RecistMeasurement]:
    """Read ``recist_measurements.csv``.

    Raises:
        DatasetError: the file is no such table: a column that is needed is missing, or a cell is no number.
    """
    path = Path(path)
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as a table ({error})") from error
    return _parsed(rows, RecistMeasurement, _MEASUREMENT_COLUMNS, path)


def write_measurements(rows: Iterable[RecistMeasurement], path: Path | str) -> None:
    """Write ``recist_measurements.csv``, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_MEASUREMENT_COLUMNS), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = asdict(row)
        length = values["recist_measurement_mm"]
        # Theirs are whole numbers: 24, not 24.0.
        values["recist_measurement_mm"] = int(length) if float(length).is_integer() else length
        writer.writerow(values)
    write_text(path, text.getvalue())


def read_series(path: Path | str) -> list[Series]:
    """Read ``series.json``.

    Raises:
        DatasetError: the file is no list of such entries.
    """
    path = Path(path)
    data = read_json(path, DatasetError)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise DatasetError(f"{path}: expected a list with an object for each CT series")
    return _parsed(data, Series, _SERIES_KEYS, path)


def write_series(series: Iterable[Series], path: Path | str) -> None:
    """Write ``series.json``, atomically."""
    entries = [asdict(one) for one in series]
    write_json(path, [{key: entry[key] for key in _SERIES_KEYS} for entry in entries])


def read_kinds(path: Path | str) -> dict[int, Kind]:
    """Read which value of a mask is what kind of lesion.

    Args:
        path: ``labels/<series>.json`` of the dataset; or one with an object for each value,
            ``{"1": {"type": "n", "site": "mediastinum"}}``; or names alone in either direction, ``{"liver_tumor": 1}``;
            or ``lesions.json`` of ``medlsam lesion propagate``, whose organs are the sites.

    Returns:
        Value to kind, without the background (value 0).

    Raises:
        DatasetError: naming the entry that is wrong.
    """
    path = Path(path)
    data = read_json(path, DatasetError)
    if isinstance(data, dict) and isinstance(data.get("lesions"), list):
        return _propagated(data["lesions"], path)
    table = data.get("labels", data) if isinstance(data, dict) else data
    if not isinstance(table, dict):
        raise DatasetError(f'{path}: expected {{"1": "m,lung", ...}}, got {type(table).__name__}')
    kinds = {}
    for key, entry in table.items():
        value, said = (entry, key) if isinstance(entry, int) and not key.isdecimal() else (key, entry)
        if not str(value).isdecimal():
            raise DatasetError(
                f"{path}: {key!r}: {json.dumps(entry)}: one of the two must be a value of the mask"
            )
        if int(value) in kinds:
            raise DatasetError(
                f"{path}: value {value} is named twice, again by {key!r}: a value has one kind"
            )
        if int(value) != 0:
            kinds[int(value)] = _kind(said, f"{path}, value {value}")
    return kinds


def _propagated(lesions: list[Any], path: Path) -> dict[int, Kind]:
    """The kinds that ``medlsam lesion propagate`` knows: the type that its prompts had, and the organ."""
    kinds = {}
    for entry in lesions:
        value = entry.get("value") if isinstance(entry, dict) else None
        if not isinstance(value, int):
            raise DatasetError(
                f"{path}: expected lesions with a value each, as medlsam lesion propagate writes them, got "
                f"{json.dumps(entry)[:80]}"
            )
        organ = (entry.get("organ") or {}).get("organ") or ""
        try:
            said = Kind.parse(entry.get("type") or "")
        except UsageError:
            # Prompts may have any word for a type.
            said = Kind("", str(entry["type"]))
        kinds[value] = Kind(said.type, organ or said.site)
    return kinds


def write_kinds(kinds: Mapping[int, Kind], path: Path | str) -> None:
    """Write ``labels/<series>.json``, atomically."""
    write_json(path, {str(value): str(kind) for value, kind in sorted(kinds.items())})


def _kind(said: Any, where: str) -> Kind:
    try:
        if isinstance(said, str):
            return Kind.parse(said)
        if isinstance(said, dict):
            site = said.get("site") or said.get("organ") or ""
            return Kind.parse(f"{said.get('type') or ''},{site}")
    except UsageError as error:
        raise DatasetError(f"{where}: {error}") from error
    raise DatasetError(f"{where}: expected type and site, such as m,lung, got {json.dumps(said)}")


def _plain(head: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", head.lower()).strip("_")


def _parsed(
    rows: Sequence[Mapping[str, Any]], kind: type[T], columns: Mapping[str, Sequence[str]], path: Path
) -> list[T]:
    """Make values of rows, whatever the case and spaces of their heads."""
    known = {head: name for name, others in columns.items() for head in (name, *others)}
    needed = [item.name for item in fields(kind) if item.default is not None and item.default != ""]  # type: ignore[arg-type]
    found = []
    for number, row in enumerate(rows, start=1):
        values: dict[str, Any] = {}
        for head, cell in row.items():
            name = known.get(_plain(str(head)))
            if name is not None and cell is not None and str(cell).strip():
                values[name] = _cell(name, cell, f"{path}, row {number}, {head}")
        missing = [name for name in needed if name not in values]
        if missing:
            raise DatasetError(
                f"{path}, row {number}: no {missing[0]}; the columns are {', '.join(map(str, row))}, needed are "
                f"{', '.join(needed)}"
            )
        found.append(kind(**values))
    return found


def _cell(name: str, cell: Any, where: str) -> Any:
    text = str(cell).strip()
    if name not in _WHOLE | _REAL:
        return text
    try:
        number = float(text)
        if not math.isfinite(number) or (name in _WHOLE and not number.is_integer()):
            raise ValueError
    except ValueError:
        what = "a whole number" if name in _WHOLE else "a number"
        raise DatasetError(f"{where}: expected {what}, got {text!r}") from None
    return int(number) if name in _WHOLE else number
