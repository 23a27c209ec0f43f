"""Read a scan from an image file, a DICOM series folder, or a zip of one, and open what a label map is read from."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import GeometryError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.checks import check_grid
from medlsam.io.dicom.slices import dicom_source, is_dicom, read_series, read_slices, series_folders
from medlsam.io.hounsfield import check_ct
from medlsam.io.nifti import nifti_header, nifti_parts
from medlsam.io.values import collect
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume.hounsfield import LOWEST_HU
from medlsam.volume.volume import Image, Source

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_NRRD_SPACING, _META_SPACING = ("space directions:", "spacings:"), ("elementspacing", "elementsize")
_SPACING_FIELDS = {
    ".nrrd": _NRRD_SPACING,
    ".nhdr": _NRRD_SPACING,
    ".mha": _META_SPACING,
    ".mhd": _META_SPACING,
}
_ZIP_LIMIT = 16 * 2**30


@dataclass(frozen=True, eq=False)
class OpenedFile:
    """What an image file or DICOM series holds, before its values are put together.

    Attributes:
        grid: where the voxels lie, LPS mm.
        parts: values in the order of the file, to be taken once.
        source: where they come from.
    """

    grid: Grid
    parts: Iterator[NDArray[Any]]
    source: Source


def read_image(path: Path | str) -> Image:
    """Read a CT scan.

    Args:
        path: NIfTI, NRRD, MHA or MHD file, a folder with a DICOM series (if several, the one with most
            slices), or a zip of either.

    Returns:
        HU, (Z, Y, X): int16 where the values are whole numbers, else float32; nothing below -1024 (padding). The
        source of a DICOM series holds its UIDs and slice files, that of other files the path alone.

    Raises:
        VolumeError: the file cannot be read, is not 3D, or does not look like CT in HU.
    """
    path = Path(path)
    with open_file(path) as opened:
        return _as_ct(opened, path)


def read_dicom_slices(files: Sequence[str], path: Path) -> Image:
    """Read one CT series from its own files, whatever else lies in their folder.

    Args:
        files: the slices in the order of their positions, or one file that holds a whole scan.
        path: where they lie, for messages.

    Returns:
        HU, (Z, Y, X), as ``read_image`` does.

    Raises:
        VolumeError: they cannot be read, make no regular volume, or do not look like CT in HU.
    """
    with _silenced():
        return _as_ct(_loaded(*read_slices(files, path)), path)


def _as_ct(opened: OpenedFile, path: Path) -> Image:
    check_grid(opened.grid, path)
    array = collect(opened.parts, opened.grid.shape_zyx, path)
    check_ct(array, path)
    return Image(np.maximum(array, array.dtype.type(LOWEST_HU), out=array), opened.grid, opened.source)


@contextmanager
def open_file(path: Path) -> Iterator[OpenedFile]:
    """Open an image file, a DICOM series folder or a zip of either as long as it is read.

    Raises:
        VolumeError: there is no such path, or it is no 3D volume of one value per voxel.
    """
    if not path.exists():
        raise VolumeError(f"{path}: there is no such file or folder")
    # SimpleITK's own chatter says less than our errors.
    with _silenced():
        if path.is_dir():
            yield _loaded(*read_series(path))
        elif suffix_of(path) == ".zip":
            with _unpacked(path) as opened:
                yield opened
        else:
            yield _read_file(path)


@contextmanager
def _silenced() -> Iterator[None]:
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _loaded(image: sitk.Image, source: Source) -> OpenedFile:
    # The view does not keep the image alive; the generator does.
    def parts() -> Iterator[NDArray[Any]]:
        yield from sitk.GetArrayViewFromImage(image).reshape(-1, image.GetSize()[1] * image.GetSize()[0])

    return OpenedFile(_grid(image, source.path), parts(), source)


def _read_file(path: Path) -> OpenedFile:
    suffix = suffix_of(path)
    if suffix not in IMAGE_SUFFIXES and not is_dicom(path):
        raise VolumeError(
            f"{path}: unknown kind of file; known are {', '.join(IMAGE_SUFFIXES)}, "
            "a folder with a DICOM series, and a zip of one"
        )
    if path.stat().st_size == 0:
        raise VolumeError(f"{path}: the file is empty (0 bytes); copy it again")
    nifti = nifti_header(path) if suffix in (".nii", ".nii.gz") else None
    _check_spacing(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _check_kind(reader, path)
        if nifti:
            return OpenedFile(_grid(reader, path), nifti_parts(path, nifti), Source(path))
        source = Source(path) if suffix in IMAGE_SUFFIXES else dicom_source([path], path)
        return _loaded(reader.Execute(), source)
    except RuntimeError as error:
        raise VolumeError(f"{path}: {_in_words(path, str(error))}") from error


def _check_spacing(path: Path) -> None:
    """Refuse an NRRD or MetaImage header without spacing, which SimpleITK would take for 1 mm."""
    fields = _SPACING_FIELDS.get(suffix_of(path), ())
    with path.open("rb") as file:
        header = file.read(1 << 16).decode("latin-1").lower()
    if fields and not any(line.strip().startswith(fields) for line in header.splitlines()):
        raise VolumeError(
            f"{path}: no voxel spacing in the header; write it there ({' or '.join(fields)} in mm)"
        )


def _check_kind(reader: sitk.ImageFileReader, path: Path) -> None:
    size = reader.GetSize()
    shape = " x ".join(str(n) for n in size)
    if reader.GetNumberOfComponents() > 1:
        raise VolumeError(
            f"{path}: {reader.GetNumberOfComponents()} values per voxel (colour or vectors); CT has one"
        )
    if len(size) < 3:
        raise VolumeError(f"{path}: a 2D image ({shape}); medlsam needs a 3D scan")
    if len(size) > 3 and max(size[3:]) > 1:
        raise VolumeError(
            f"{path}: {len(size)}D ({shape}), several frames or channels in one file; "
            "give one 3D scan per file"
        )


def _in_words(path: Path, error: str) -> str:
    lines = [line.strip() for line in error.strip().splitlines()]
    last = [line for line in lines if line and not line.startswith("Reason:")][-1]
    if "orthonormal" in error:
        return (
            "the header's axes are not at right angles (a sheared sform, perhaps gantry tilt) "
            "and no qform helps; resample the scan to an orthogonal grid first"
        )
    if "spacing" in last:
        return f"no or zero voxel spacing in the header ({last}); write the spacing in mm there"
    if suffix_of(path) == ".mhd" or suffix_of(path) == ".nhdr":
        return f"cannot be read: header damaged, or its data file missing or too short ({last})"
    return f"cannot be read: the file is truncated, damaged or not what its extension says ({last})"


@contextmanager
def _unpacked(path: Path) -> Iterator[OpenedFile]:
    """The one image or series in a zip, unpacked as long as it is read."""
    with tempfile.TemporaryDirectory(prefix="medlsam-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > _ZIP_LIMIT:
                    raise VolumeError(f"{path}: the zip unpacks to more than 16 GiB; give the scan unpacked")
                archive.extractall(folder)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise VolumeError(
                f"{path}: the zip cannot be unpacked: damaged or encrypted ({error})"
            ) from error
        files = [
            f
            for f in sorted(Path(folder).rglob("*"))
            if suffix_of(f) in IMAGE_SUFFIXES and not f.name.startswith(".")
        ]
        series = series_folders(Path(folder))
        if len(files) + len(series) != 1:
            raise VolumeError(
                f"{path}: a zip must hold one DICOM series or one image file; "
                f"found {len(series)} series folders and {len(files)} image files"
            )
        try:
            opened = _read_file(files[0]) if files else _loaded(*read_series(series[0]))
            # The unpacked files are gone afterwards.
            yield replace(opened, source=replace(opened.source, path=path, files=()))
        except VolumeError as error:
            raise VolumeError(str(error).replace(folder, f"{path}")) from error


def _grid(image: sitk.Image | sitk.ImageFileReader, path: Path | None) -> Grid:
    dimension = image.GetDimension()
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    if not np.isfinite(direction).all():
        raise VolumeError(f"{path}: the header's direction is not a number; correct it")
    # Headers hold rounded numbers: take the nearest true rotation.
    u, _, v = np.linalg.svd(direction)
    rotation = u @ v
    if np.abs(rotation - direction).max() > 1e-2:
        raise VolumeError(
            f"{path}: the header's axes are not at right angles: "
            f"direction {np.round(direction, 3).tolist()}; resample the scan to an orthogonal grid first"
        )
    if np.abs(rotation - direction).max() < 1e-6:
        rotation = direction
    x, y, z = image.GetSize()[:3]
    sx, sy, sz = image.GetSpacing()[:3]
    ox, oy, oz = image.GetOrigin()[:3]
    try:
        return Grid((z, y, x), (sx, sy, sz), (ox, oy, oz), tuple(float(v) for v in rotation.ravel()))
    except GeometryError as error:
        raise VolumeError(f"{path}: {error}; correct the file's header") from error
