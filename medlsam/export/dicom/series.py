"""The series that a scan was read from, as its headers tell: the patient, the study, and where each slice lies."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.config import RAISE
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import DA, validate_value

from medlsam.errors import VolumeError
from medlsam.export.dicom.identity import made_uid

_log = logging.getLogger(__name__)

#: What the outputs repeat of the patient and the study; the first ones must be there, though they may be empty.
REQUIRED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
OPTIONAL = ("SpecificCharacterSet", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight")
_IMAGE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True, eq=False)
class SlicePlane:
    """Where the pixels of one slice lie, LPS mm.

    Attributes:
        instance: SOP Instance UID of its file.
        frame: its number in that file, from 0; None where the file holds one slice.
        shape: rows and columns.
        origin: (3,) centre of the first pixel.
        down: (3,) step from a row to the next one.
        across: (3,) step from a column to the next one.
    """

    instance: str
    frame: int | None
    shape: tuple[int, int]
    origin: NDArray[np.float64]
    down: NDArray[np.float64]
    across: NDArray[np.float64]

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4, 3) LPS mm: the centres of the corner pixels."""
        rows, columns = self.shape[0] - 1, self.shape[1] - 1
        places = ((0, 0), (0, columns), (rows, 0), (rows, columns))
        return np.asarray([self.origin + row * self.down + column * self.across for row, column in places])


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """The series that outputs refer to.

    Attributes:
        path: where it lies, for messages.
        headers: one for each file, no pixels.
        planes: one for each slice.
        made_up: which UIDs the headers lack and were made up.
    """

    path: Path
    headers: tuple[Dataset, ...]
    planes: tuple[SlicePlane, ...]
    made_up: tuple[str, ...] = ()

    @property
    def first(self) -> Dataset:
        """The header that speaks for the whole series."""
        return self.headers[0]

    @property
    def uid(self) -> str:
        """Series Instance UID."""
        return str(self.first.SeriesInstanceUID)

    def warn(self) -> None:
        """Log what a reader of the outputs should know."""
        if self.made_up:
            _log.warning(
                "%s: the series has no %s; the DICOM outputs carry made-up ones, by which no archive finds it",
                self.path,
                " and no ".join(self.made_up),
            )


def read_series_headers(files: Sequence[Path], path: Path, frames: Sequence[int] = ()) -> SourceSeries:
    """Read the headers of a series, no pixels.

    Args:
        files: its files, in the order of the slices; or one file that holds many slices.
        path: where they lie, for messages.
        frames: of one file, the frames (from 0) in the order of the slices; all of them by default.

    Raises:
        VolumeError: a file cannot be read, or lacks what an output must say (position, frame of reference).
    """
    headers = tuple(_read(Path(file)) for file in files)
    if not headers:
        raise VolumeError(f"{path}: the DICOM files of this scan are not known")
    if (
        int(headers[0].get("NumberOfFrames") or 1) > 1
        and "PerFrameFunctionalGroupsSequence" not in headers[0]
    ):
        raise VolumeError(
            f"{files[0]}: its {headers[0].NumberOfFrames} frames do not say each where they lie; DICOM outputs cannot "
            "refer to them"
        )
    if "PerFrameFunctionalGroupsSequence" in headers[0]:
        shown = range(len(headers[0].PerFrameFunctionalGroupsSequence)) if not len(frames) else frames
        planes = [_frame_plane(headers[0], frame, path) for frame in shown]
    else:
        planes = [
            _plane(header, header, header, None, file) for header, file in zip(headers, files, strict=True)
        ]
    if len({plane.instance for plane in planes}) != len(headers):
        raise VolumeError(f"{path}: several slices carry one SOP Instance UID, so none can be referred to")
    _set_thickness(headers[0], planes)
    return SourceSeries(path, headers, tuple(planes), _complete(headers, path))


def _read(file: Path) -> Dataset:
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=[*REQUIRED, *OPTIONAL, *_IMAGE])
    except (OSError, InvalidDicomError, EOFError, ValueError) as error:
        raise VolumeError(f"{file}: the DICOM header cannot be read ({error})") from error
    # Some anonymizers empty these in the data set and forget them in the file's head.
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if not header.get(name):
            setattr(header, name, str(header.file_meta.get(f"MediaStorage{name}", "") or ""))
        if not header.get(name):
            raise VolumeError(f"{file}: no {name}, so that no output can refer to this slice")
    return header


def _plane(image: Dataset, place: Dataset, measures: Dataset, frame: int | None, file: Path) -> SlicePlane:
    """The plane of a slice from the parts of the header that hold size, position with orientation, and spacing."""
    try:
        position = np.asarray(place.ImagePositionPatient, dtype=float)
        across, down = np.asarray(place.ImageOrientationPatient, dtype=float).reshape(2, 3)
        between_rows, between_columns = (float(value) for value in measures.PixelSpacing)
        shape = (int(image.Rows), int(image.Columns))
    except (AttributeError, TypeError, ValueError) as error:
        where = "" if frame is None else f", frame {frame + 1}"
        raise VolumeError(
            f"{file}{where}: position, orientation or pixel spacing is absent from the header ({error}); "
            "DICOM outputs cannot refer to this slice"
        ) from error
    instance = str(image.SOPInstanceUID)
    return SlicePlane(instance, frame, shape, position, down * between_rows, across * between_columns)


def _frame_plane(header: Dataset, frame: int, path: Path) -> SlicePlane:
    shared = next(iter(header.get("SharedFunctionalGroupsSequence") or []), Dataset())
    if not 0 <= frame < len(header.PerFrameFunctionalGroupsSequence):
        raise VolumeError(f"{path}: there is no frame {frame + 1} in the file")
    own = header.PerFrameFunctionalGroupsSequence[frame]
    place, measures = Dataset(), Dataset()
    for target, group in (
        (place, "PlanePositionSequence"),
        (place, "PlaneOrientationSequence"),
        (measures, "PixelMeasuresSequence"),
    ):
        for item in (shared, own):
            if item.get(group):
                target.update(item[group].value[0])
    return _plane(header, place, measures, frame, path)


def _set_thickness(first: Dataset, planes: Sequence[SlicePlane]) -> None:
    """Fill in, in place, a slice thickness that is absent or no number: segmentations must say one. As slices lie."""
    normal = np.cross(planes[0].across, planes[0].down)
    along = np.sort([plane.origin @ normal for plane in planes]) / np.linalg.norm(normal)
    thickness = f"{np.median(np.diff(along)) if len(along) > 1 else 1.0:.6g}"
    holders = [first]
    if "PerFrameFunctionalGroupsSequence" in first:
        groups = [
            *(first.get("SharedFunctionalGroupsSequence") or []),
            *first.PerFrameFunctionalGroupsSequence,
        ]
        holders = [item for group in groups for item in group.get("PixelMeasuresSequence") or []]
    for holder in holders:
        if not _is_valid(holder, "SliceThickness") or not holder.get("SliceThickness"):
            holder.SliceThickness = thickness


def _is_valid(header: Dataset, name: str) -> bool:
    """Whether a date, time or number is one: what is not cannot be written again. Text is handed on as it is."""
    if name not in header or header.get_item(name).VR in ("LO", "SH", "PN"):
        return True
    try:
        element = header[name]
        validate_value(element.VR, element.value, RAISE)
        return element.VR != "DA" or not element.value or bool(DA(element.value))
    except (ValueError, TypeError, OverflowError):
        return False


def _complete(headers: Sequence[Dataset], path: Path) -> tuple[str, ...]:
    """Fill in, in place, what the outputs need of the headers; the UIDs that were made up."""
    first = headers[0]
    if not first.get("FrameOfReferenceUID"):
        raise VolumeError(
            f"{path}: the series has no Frame of Reference UID; DICOM outputs must refer to one, "
            "so leave dicom-seg and rtstruct out"
        )
    made_up = []
    for name, words in (
        ("StudyInstanceUID", "Study Instance UID"),
        ("SeriesInstanceUID", "Series Instance UID"),
    ):
        if not first.get(name):
            made_up.append(words)
            setattr(first, name, made_uid(name, *(str(header.SOPInstanceUID) for header in headers)))
    for name in REQUIRED:
        if name not in first:
            setattr(first, name, "")
    if first.PatientSex not in ("M", "F", "O"):
        first.PatientSex = ""
    for name in (*REQUIRED, *OPTIONAL):
        if not _is_valid(first, name):
            setattr(first, name, "") if name in REQUIRED else delattr(first, name)
    for header in headers:
        header.StudyInstanceUID, header.SeriesInstanceUID = first.StudyInstanceUID, first.SeriesInstanceUID
        header.FrameOfReferenceUID = first.FrameOfReferenceUID
    return tuple(made_up)
