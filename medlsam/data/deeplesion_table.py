"""``DL_info.csv``, the table of DeepLesion: box, diameters, type and key slice of each lesion, in pixels.

Columns run to the patient's left and rows to the back; slices are numbered towards the feet. The table counts pixels
from 1 (its authors' own loader takes 1 away); here they are continuous indices of pixel centres, from 0.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.data.source import Split
from medlsam.errors import DatasetError

_TYPES = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis")
_SPLITS: dict[str, Split] = {"1": "train", "2": "val", "3": "test"}
#: The authors' own split, by patient.
SPLIT_COLUMN = "Train_Val_Test"
_NEEDED = ("File_name", "Bounding_boxes", "Measurement_coordinates", "Spacing_mm_px_")
_FURTHER = ("Coarse_lesion_type", "Possibly_noisy", SPLIT_COLUMN)
_FILE = re.compile(r"(.+)_(\d+)(?:\.png)?")


@dataclass(frozen=True)
class KeyLesion:
    """A row of ``DL_info.csv``.

    Attributes:
        index: of the row, from 0.
        series: ``<patient>_<study>_<series>``.
        slice: number of its key slice.
        box_xyxy: in pixels of the slice, with the authors' margin of 5.
        axes_xy: (4, 2) pixels: the ends of the long diameter, then of the short one.
        spacing_xyz: mm, the last between slices.
        kind: coarse type; empty where the authors give none.
        noisy: whether the authors doubt the row.
        split: theirs; None where the row does not say it.
    """

    index: int
    series: str
    slice: int
    box_xyxy: tuple[float, float, float, float]
    axes_xy: NDArray[np.float64]
    spacing_xyz: tuple[float, float, float]
    kind: str
    noisy: bool
    split: Split | None

    @property
    def patient(self) -> int:
        """Whose scan it is."""
        return int(self.series.partition("_")[0])


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used.

    Attributes:
        series: as of ``KeyLesion``; empty where the row does not say it.
        slice: as of ``KeyLesion``; None where the row does not say it.
        error: names the file, the row and what is wrong.
    """

    series: str
    slice: int | None
    error: DatasetError


def from_zero(pixels: Iterable[float]) -> tuple[float, ...]:
    """Pixel coordinates of the table as they are used here."""
    return tuple(pixel - 1 for pixel in pixels)


def read_key_lesions(text: str, where: str, needed: Sequence[str] = ()) -> Iterator[KeyLesion | BadRow]:
    """Read the rows of the table one by one.

    Args:
        text: of the file.
        where: the file, for messages.
        needed: columns that the table must have beside those of box, diameters and spacing.

    Raises:
        DatasetError: a column is missing, so it is not DeepLesion's table.
    """
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in (*_NEEDED, *needed) if name not in (rows.fieldnames or ())]
        if missing:
            raise DatasetError(f"{where}: column {', '.join(missing)} is missing")
        for index, row in enumerate(rows):
            yield _read(index, row, where)
    except csv.Error as error:
        raise DatasetError(f"{where}: cannot be read as a table ({error})") from error


def _read(index: int, row: Mapping[str, str | None], where: str) -> KeyLesion | BadRow:
    # a row that was cut off lacks its last cells
    cells = {name: (row.get(name) or "").strip() for name in (*_NEEDED, *_FURTHER)}
    named = _FILE.fullmatch(cells["File_name"])
    try:
        if named is None:
            raise ValueError(f"File_name: {cells['File_name']!r} is not <series>_<slice>.png")
        return _lesion(index, named[1], int(named[2]), cells)
    except ValueError as error:
        told = DatasetError(f"{where}: row {index + 2}: {error}")
        return BadRow(named[1], int(named[2]), told) if named else BadRow("", None, told)


def _lesion(index: int, series: str, number: int, row: Mapping[str, str]) -> KeyLesion:
    spacing = _numbers(row, "Spacing_mm_px_", 3)
    kind = int(float(row["Coarse_lesion_type"] or -1))
    if not all(spacing):
        raise ValueError(f"Spacing_mm_px_: no distance may be 0, found {row['Spacing_mm_px_']!r}")
    x0, y0, x1, y1 = from_zero(_numbers(row, "Bounding_boxes", 4))
    if row[SPLIT_COLUMN] not in ("", *_SPLITS):
        raise ValueError(f"{SPLIT_COLUMN}: 1, 2 or 3 is needed, found {row[SPLIT_COLUMN]!r}")
    return KeyLesion(
        index,
        series,
        number,
        (x0, y0, x1, y1),
        np.asarray(from_zero(_numbers(row, "Measurement_coordinates", 8))).reshape(4, 2),
        # Signs were seen in copies: the distance is meant.
        (abs(spacing[0]), abs(spacing[1]), abs(spacing[2])),
        _TYPES[kind - 1] if 1 <= kind <= len(_TYPES) else "",
        row["Possibly_noisy"] == "1",
        _SPLITS.get(row[SPLIT_COLUMN]),
    )


def _numbers(row: Mapping[str, str], column: str, count: int) -> list[float]:
    try:
        numbers = [float(text) for text in row[column].split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{column}: {count} numbers are needed, found {row[column]!r}")
    return numbers
