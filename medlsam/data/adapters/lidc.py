"""LIDC-IDRI: DICOM series of chests, from the Imaging Data Commons or a folder tree. Scans only, no labels."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

from medlsam.data.files import SourceFiles
from medlsam.data.idc import IdcSeries, ct_series, download_series
from medlsam.data.source import FoundCases, RawCase, RawScan
from medlsam.errors import DownloadError
from medlsam.io.read import read_image

COLLECTION = "lidc_idri"
#: What lies beside the series in copies of the collection.
_OTHER_FILES = (".xml", ".txt", ".csv", ".json", ".xlsx", ".pdf", ".html", ".tcia", ".md")


def find(files: SourceFiles) -> FoundCases:
    """The CT series of a copy: every folder with DICOM files is one. X-ray pictures are left out."""
    folders: dict[str, list[str]] = {}
    for name in files.names:
        # Any name may be DICOM's: archives also write them without an extension, or as UIDs, which end with a number.
        if PurePosixPath(name).suffix.lower() not in _OTHER_FILES:
            folders.setdefault(str(PurePosixPath(name).parent), []).append(name)
    series: list[tuple[str, str, str]] = []
    left_out: dict[str, str] = {}
    for folder, names in folders.items():
        # A text without extension may lie before the slices.
        header = next((found for name in names[:3] if (found := _header(files, name)) is not None), None)
        if header is None:
            continue
        patient, uid, modality = header
        if modality == "CT":
            # The name becomes that of a file; copies without patients are called as their folders.
            series.append((_safe(patient) or _safe(PurePosixPath(folder).name) or "case", uid, folder))
        else:
            left_out[folder] = f"{modality or 'no modality'}, not CT"
    series.sort()
    cases = [
        RawCase(name, "train", partial(_read, files, folders[folder]), labelled=False)
        for name, (_, _, folder) in zip(_case_names(one[0] for one in series), series, strict=True)
    ]
    return FoundCases({}, tuple(cases), left_out)


def online(downloads: Path) -> FoundCases:
    """The CT series of the Imaging Data Commons; each is fetched when its turn comes, and its files are removed.

    Args:
        downloads: folder for the files of the one series that is at work.

    Raises:
        DownloadError: ``MEDLSAM_OFFLINE``, or the archive lists no series.
        UsageError: ``idc-index`` is not installed.
    """
    series = ct_series(COLLECTION)
    if not series:
        raise DownloadError(f"the Imaging Data Commons lists no CT series of {COLLECTION}; update idc-index")
    names = _case_names(one.patient for one in series)
    cases = [
        RawCase(name, "train", partial(_fetch_and_read, one, downloads / name), labelled=False)
        for name, one in zip(names, series, strict=True)
    ]
    return FoundCases({}, tuple(cases))


def _case_names(patients: Iterable[str]) -> list[str]:
    """The patient's name, with a number behind it from the second series on."""
    names, seen = [], dict[str, int]()
    for patient in patients:
        seen[patient] = seen.get(patient, 0) + 1
        names.append(patient if seen[patient] == 1 else f"{patient}_{seen[patient]}")
    return names


def _safe(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name).strip("_")


def _header(files: SourceFiles, name: str) -> tuple[str, str, str] | None:
    """Patient, series UID and modality; None for a file that is no DICOM."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    with files.at_hand([name]) as folder:
        try:
            found = pydicom.dcmread(
                folder / PurePosixPath(name).name,
                stop_before_pixels=True,
                specific_tags=["PatientID", "SeriesInstanceUID", "Modality"],
            )
        except (InvalidDicomError, OSError, EOFError):
            return None
    return tuple(str(found.get(tag, "")) for tag in ("PatientID", "SeriesInstanceUID", "Modality"))  # type: ignore[return-value]


def _read(files: SourceFiles, names: list[str]) -> RawScan:
    with files.at_hand(names) as folder:
        return RawScan(read_image(folder))


def _fetch_and_read(series: IdcSeries, folder: Path) -> RawScan:
    # What an interrupted run has left may be half a series.
    shutil.rmtree(folder, ignore_errors=True)
    download_series(series, folder)
    try:
        notes = (f"licence of this series: {series.licence}",) if series.licence else ()
        return RawScan(read_image(folder), notes=notes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
