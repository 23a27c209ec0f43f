"""DICOM series through GDCM: which files make a scan, and whether they fit together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import VolumeError
from medlsam.io.dicom.gantry_tilt import straighten
from medlsam.io.dicom.header import read_dicom_header
from medlsam.volume.volume import Source

_log = logging.getLogger(__name__)
#: Degrees; gantries tilt by 30 at most.
_MOST_TILT = 40.0


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do (an index file, DICOMDIR, does not count)."""
    if not path.is_file() or path.name.upper() == "DICOMDIR" or path.name.startswith("."):
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def holds_series(folder: Path) -> bool:
    """Whether a folder itself (not its subfolders) holds DICOM files."""
    return any(is_dicom(file) for file in sorted(folder.iterdir()))


def series_folders(folder: Path) -> list[Path]:
    """The folder and those below it that hold DICOM files themselves, sorted."""
    below = [f for f in folder.rglob("*") if f.is_dir() and "__MACOSX" not in f.parts]
    return [f for f in sorted([folder, *below]) if holds_series(f)]


def read_series(folder: Path) -> tuple[sitk.Image, Source]:
    """Read the CT series of a folder; of several, the one with most slices.

    Returns:
        The image, HU, slices in the order of their positions, and where it came from.

    Raises:
        VolumeError: there is no CT series, or its slices do not make one regular volume.
    """
    ids = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    series = [tuple(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)) for uid in ids]
    listed = {Path(file).name for files in series for file in files}
    damaged = [file.name for file in sorted(folder.iterdir()) if is_dicom(file) and file.name not in listed]
    if damaged:
        raise VolumeError(
            f"{folder}: {len(damaged)} DICOM files are truncated or damaged, the first is {damaged[0]}; "
            "copy the series again"
        )
    readable = [(files, modality) for files in series if (modality := _modality(files[0])) is not None]
    if not readable:
        raise VolumeError(
            f"{folder}: no readable DICOM series in this folder; give the folder that holds the slices"
        )
    scans = [files for files, modality in readable if modality == "CT"]
    if not scans:
        found = ", ".join(sorted({modality for _, modality in readable}))
        raise VolumeError(f"{folder}: the DICOM series is of modality {found}, not CT")
    scans.sort(key=len, reverse=True)
    if len(scans) > 1:
        _log.warning(
            "%s: %d CT series; taking the one with most slices (%d)", folder, len(scans), len(scans[0])
        )
    return read_slices(scans[0], folder)


def read_slices(files: Sequence[str], folder: Path) -> tuple[sitk.Image, Source]:
    """Read the slices of one CT series.

    Args:
        files: the slices in the order of their positions, or one file that holds a whole scan.
        folder: where they lie, for messages.

    Returns:
        The image, HU, and where it came from: its grid is not the scanner's where a gantry tilt was taken out.

    Raises:
        VolumeError: they cannot be read, or do not make one regular volume.
    """
    if len(files) == 1:
        return _read_single(files[0], folder), dicom_source(files, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1].strip()
        raise VolumeError(
            f"{folder}: the DICOM series cannot be read: a slice is truncated, damaged or of another "
            f"size ({last})"
        ) from error
    positions = np.asarray([_position(reader, n, files[n]) for n in range(len(files))])
    _check_positions(positions, image, folder)
    straight = _straight(image, positions, folder)
    return straight, dicom_source(files, folder, grid_is_scanners=straight is image)


def dicom_source(files: Sequence[str | Path], path: Path, grid_is_scanners: bool = True) -> Source:
    """Where a CT series came from, as the header of its first file says.

    Args:
        files: its files, in the order of the slices.
        path: where the user says that it lies.
        grid_is_scanners: whether the slices are used as they were stored.
    """
    paths = tuple(Path(file) for file in files)
    header = read_dicom_header(paths[0])
    if header is None:
        return Source(path, files=paths, grid_is_scanners=grid_is_scanners)
    return Source(path, header.modality, header.study, header.series, paths, grid_is_scanners)


def _read_single(file: str, folder: Path) -> sitk.Image:
    # One file is one slice, or a whole scan as enhanced multi-frame CT.
    try:
        return sitk.ReadImage(file)
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1].strip()
        raise VolumeError(f"{folder}: {Path(file).name} cannot be read ({last})") from error


def _modality(file: str) -> str | None:
    """The modality of a DICOM image file; None where it holds no readable image (structure sets, reports)."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    return reader.GetMetaData("0008|0060").strip() if reader.HasMetaDataKey("0008|0060") else "unknown"


def _position(reader: sitk.ImageSeriesReader, n: int, file: str) -> list[float]:
    try:
        x, y, z = (float(v) for v in reader.GetMetaData(n, "0020|0032").split("\\"))
    except (RuntimeError, ValueError) as error:
        raise VolumeError(
            f"{file}: the slice has no Image Position (Patient); its place is unknown"
        ) from error
    return [x, y, z]


def twice(along: NDArray[np.float64]) -> int:
    """How many slices lie at the place of another, from their places (mm) along the normal."""
    return int((np.diff(np.sort(along)) < 0.01).sum())


def worst_gap(along: NDArray[np.float64]) -> tuple[int, float, float] | None:
    """The step between neighbouring slices that is furthest from the usual one; None where all are even.

    Args:
        along: (N,) places of the slices along their normal, mm, in order.

    Returns:
        The slice before it, the step and the usual step, mm.
    """
    gaps = np.abs(np.diff(along))
    usual = float(np.median(gaps))
    if gaps.max() - gaps.min() <= max(0.1 * usual, 0.05):
        return None
    worst = int(np.abs(gaps - usual).argmax())
    return worst, float(gaps[worst]), usual


def _check_positions(positions: NDArray[np.float64], image: sitk.Image, folder: Path) -> None:
    normal = np.asarray(image.GetDirection()).reshape(3, 3)[:, 2]
    along = positions @ normal
    # GDCM gives up sorting where two slices lie at one place.
    if count := twice(along):
        raise VolumeError(
            f"{folder}: {count} slices lie at the place of another (several phases or "
            "reconstructions in one series?); give one of them in its own folder"
        )
    if (found := worst_gap(along)) is not None:
        worst, gap, usual = found
        raise VolumeError(
            f"{folder}: the slices are not evenly spaced: usually {usual:g} mm, {gap:g} mm after "
            f"slice {worst + 1} of {len(positions)}; add the missing slice, or resample the series first"
        )


def _straight(image: sitk.Image, positions: NDArray[np.float64], folder: Path) -> sitk.Image:
    """The image as it is, or with the tilt of the gantry taken out."""
    normal = np.asarray(image.GetDirection()).reshape(3, 3)[:, 2]
    steps = np.diff(positions, axis=0)
    mean = steps.mean(axis=0)
    along = float(mean @ normal)
    sideways = float(np.linalg.norm(mean - along * normal))
    if sideways * len(positions) <= 2.0:
        return image
    angle = float(np.degrees(np.arctan2(sideways, abs(along))))
    if angle > _MOST_TILT or np.abs(steps - mean).max() > max(0.1 * abs(along), 0.05):
        raise VolumeError(
            f"{folder}: the slices are shifted against each other by {sideways:.2f} mm on average and at "
            f"{angle:.1f} degrees, which is no gantry tilt; resample the series to a regular grid first"
        )
    _log.warning("%s: gantry tilt of %.1f degrees taken out; results lie on the upright grid", folder, angle)
    return straighten(image, mean)
