"""Read a scan or a label map from an image file, a DICOM series folder, or a zip of one."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import GeometryError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.checks import check_grid
from medlsam.io.dicom import (
    is_dicom,
    read_series,
    read_slices,
    series_folders,
)
from medlsam.io.headers import check_header
from medlsam.io.hounsfield import check_ct
from medlsam.io.nifti import nifti_header, nifti_parts
from medlsam.io.values import collect
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume.volume import AIR_HU, Volume

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_ZIP_LIMIT = 16 * 2**30

#: What knows the geometry of a scan, and its values in the order of the file.
_Source = tuple[sitk.Image | sitk.ImageFileReader, Iterator[NDArray[Any]]]


def read_volume(path: Path | str) -> Volume:
    """Read a CT scan.

    Args:
        path: NIfTI, NRRD, MHA or MHD file, a folder with a DICOM series (if several, the one with most
            slices), or a zip of either.

    Returns:
        HU, (Z, Y, X): int16 where the values are whole numbers, else float32; nothing below -1024 (padding).

    Raises:
        VolumeError: the file cannot be read, is not 3D, or does not look like CT in HU.
    """
    path = Path(path)
    with _opened(path) as source:
        return _as_ct(source, path)


def read_dicom_slices(files: Sequence[str], path: Path) -> Volume:
    """Read one CT series from its own files, whatever else lies in their folder.

    Args:
        files: the slices in the order of their positions, or one file that holds a whole scan.
        path: where they lie, for messages.

    Returns:
        HU, (Z, Y, X), as ``read_volume`` does.

    Raises:
        VolumeError: they cannot be read, make no regular volume, or do not look like CT in HU.
    """
    with _silenced():
        return _as_ct(_loaded(read_slices(files, path)), path)


def _as_ct(source: _Source, path: Path) -> Volume:
    geometry, parts = source
    grid = _grid(geometry, path)
    check_grid(grid, path)
    array = collect(parts, grid.shape_zyx, path)
    check_ct(array, path)
    return Volume(np.maximum(array, array.dtype.type(AIR_HU), out=array), grid, path)


def read_label_map(path: Path | str) -> Volume:
    """Read a label map: whole numbers from 0 to 65535.

    Returns:
        Labels, (Z, Y, X): uint8 where no value passes 255, else uint16.

    Raises:
        VolumeError: the file cannot be read, is not 3D, or holds other values.
    """
    path = Path(path)
    with _opened(path) as (geometry, parts):
        grid = _grid(geometry, path)
        array = collect(parts, grid.shape_zyx, path)
    low, high = array.min(), array.max()
    if (
        low < 0
        or high > 65535
        or (array.dtype.kind == "f" and not all((np.rint(z) == z).all() for z in array))
    ):
        raise VolumeError(
            f"{path}: not a label map: values {low:g} to {high:g}; labels are whole numbers from 0 to 65535"
        )
    return Volume(array.astype(np.uint8 if high <= 255 else np.uint16), grid, path)


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    """The geometry and values behind a path; SimpleITK's chatter silenced and its errors put in words."""
    if not path.exists():
        raise VolumeError(f"{path}: there is no such file or folder")
    with _silenced():
        if path.is_dir():
            yield _loaded(read_series(path))
        elif suffix_of(path) == ".zip":
            with _unpacked(path) as source:
                yield source
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


def _loaded(image: sitk.Image) -> _Source:
    # The view does not keep the image alive; the generator does.
    def parts() -> Iterator[NDArray[Any]]:
        yield from sitk.GetArrayViewFromImage(image).reshape(-1, image.GetSize()[1] * image.GetSize()[0])

    return image, parts()


def _read_file(path: Path) -> _Source:
    suffix = suffix_of(path)
    if suffix not in IMAGE_SUFFIXES and not is_dicom(path):
        raise VolumeError(
            f"{path}: unknown kind of file; known are {', '.join(IMAGE_SUFFIXES)}, "
            "a folder with a DICOM series, and a zip of one"
        )
    if path.stat().st_size == 0:
        raise VolumeError(f"{path}: the file is empty (0 bytes); copy it again")
    nifti = nifti_header(path) if suffix in (".nii", ".nii.gz") else None
    check_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _check_kind(reader, path)
        return (reader, nifti_parts(path, nifti)) if nifti else _loaded(reader.Execute())
    except RuntimeError as error:
        raise VolumeError(f"{path}: {_in_words(path, str(error))}") from error


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
def _unpacked(path: Path) -> Iterator[_Source]:
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
            yield _read_file(files[0]) if files else _loaded(read_series(series[0]))
        except VolumeError as error:
            raise VolumeError(str(error).replace(folder, f"{path}")) from error


def _grid(image: sitk.Image | sitk.ImageFileReader, path: Path) -> Grid:
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
