"""Read a scan from an image file, a DICOM series, or a zip of one, and open what a label map is read from."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import GeometryError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.archives import unpacked
from medlsam.io.checks import check_grid, nearest_rotation
from medlsam.io.dicom.header import is_dicom
from medlsam.io.dicom.read import open_files, open_folder
from medlsam.io.folders import IMAGE_SUFFIXES, walk_folders
from medlsam.io.hounsfield import check_ct, is_masked, lacks_air
from medlsam.io.nifti import nifti_grid, nifti_header, nifti_parts
from medlsam.io.values import OpenedFile, collect
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume.field_of_view import fill_field_of_view
from medlsam.volume.hounsfield import LOWEST_HU
from medlsam.volume.volume import Image, Source

_log = logging.getLogger(__name__)

_NRRD_SPACING, _META_SPACING = ("space directions:", "spacings:"), ("elementspacing", "elementsize")
_SPACING_FIELDS = {
    ".nrrd": _NRRD_SPACING,
    ".nhdr": _NRRD_SPACING,
    ".mha": _META_SPACING,
    ".mhd": _META_SPACING,
}
#: Words of an NRRD header's "space units" to mm.
_UNITS = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "μm": 0.001}


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


def read_dicom_slices(files: Sequence[str | Path], path: Path) -> Image:
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
        return _as_ct(open_files([Path(file) for file in files], path), path)


def _as_ct(opened: OpenedFile, path: Path) -> Image:
    check_grid(opened.grid, path)
    array = collect(opened.parts, opened.grid.shape_zyx, path)
    check_ct(array, path)
    # In this order: what fills the field of view is made air, and what is left of one value lies in the body.
    for look in (lacks_air, fill_field_of_view, is_masked):
        if words := look(array):
            _log.warning("%s: %s", path, words)
    return Image(np.maximum(array, array.dtype.type(LOWEST_HU), out=array), opened.grid, opened.source)


@contextmanager
def open_file(path: Path) -> Iterator[OpenedFile]:
    """Open an image file, a DICOM series folder or a zip of either as long as it is read.

    Raises:
        VolumeError: there is no such path, or it is no 3D volume of one value per voxel.
    """
    if not path.exists():
        if path.is_symlink():
            raise VolumeError(
                f"{path}: a link to {path.readlink()}, which is not there; fetch the file (git annex get, "
                "or git lfs pull) or mend the link"
            )
        raise VolumeError(f"{path}: there is no such file or folder")
    # SimpleITK's own chatter says less than our errors.
    with _silenced():
        if path.is_dir():
            yield open_folder(path)
        elif suffix_of(path) == ".zip":
            with _in_zip(path) as opened:
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


def _read_file(path: Path) -> OpenedFile:
    suffix = suffix_of(path)
    if path.stat().st_size == 0:
        raise VolumeError(f"{path}: the file is empty (0 bytes); copy it again")
    if suffix not in IMAGE_SUFFIXES:
        if is_dicom(path):
            return open_files([path], path)
        raise VolumeError(
            f"{path}: unknown kind of file; known are {', '.join(IMAGE_SUFFIXES)}, "
            "a folder with a DICOM series, and a zip of one"
        )
    if suffix in (".nii", ".nii.gz"):
        return _read_nifti(path)
    scale = _check_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _check_kind(reader.GetSize(), reader.GetNumberOfComponents(), path)
        image = reader.Execute()
    except RuntimeError as error:
        raise VolumeError(f"{path}: {_in_words(path, str(error))}") from error
    grid = _grid(image, path, scale)

    # The view does not keep the image alive; the generator does.
    def parts() -> Iterator[NDArray[Any]]:
        yield from sitk.GetArrayViewFromImage(image).reshape(-1, image.GetSize()[1] * image.GetSize()[0])

    return OpenedFile(grid, parts(), Source(path))


def _read_nifti(path: Path) -> OpenedFile:
    header = nifti_header(path)
    _check_kind(header.shape, 1 if header.kind else 0, path)
    source = Source(path, nifti_header=header.block)
    return OpenedFile(nifti_grid(path, header), nifti_parts(path, header), source)


def _check_header(path: Path) -> float:
    """What one unit of an NRRD or MetaImage header is in mm; SimpleITK takes 1 mm where no spacing is given.

    Raises:
        VolumeError: there is no spacing, or a unit that is no length.
    """
    fields = _SPACING_FIELDS[suffix_of(path)]
    with path.open("rb") as file:
        header = file.read(1 << 16).decode("utf-8", errors="replace").lower()
    lines = [line.strip() for line in header.splitlines()]
    if not any(line.startswith(fields) for line in lines):
        raise VolumeError(
            f"{path}: no voxel spacing in the header; write it there ({' or '.join(fields)} in mm)"
        )
    written = next((line.partition(":")[2] for line in lines if line.startswith("space units:")), "")
    units = {unit.strip() for unit in re.findall(r'"([^"]*)"', written)} or {"mm"}
    if len(units) > 1 or not units <= set(_UNITS):
        raise VolumeError(
            f"{path}: the space units are {written.strip()}; known are {', '.join(_UNITS)}, one for all"
        )
    return _UNITS[units.pop()]


def _check_kind(size: Sequence[int], components: int, path: Path) -> None:
    shape = " x ".join(str(n) for n in size)
    if components != 1:
        seen = f"{components} values per voxel" if components else "voxels that are no real numbers"
        raise VolumeError(f"{path}: {seen} (colour or vectors); CT has one")
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
def _in_zip(path: Path) -> Iterator[OpenedFile]:
    """The one image or CT scan in a zip, unpacked as long as it is read; what else is in it is named."""
    with unpacked(path) as folder:
        found = [file for _, inside in walk_folders(folder, set()) for file in inside]
        images = [file for file in found if suffix_of(file) in IMAGE_SUFFIXES]
        if len(images) > 1:
            names = ", ".join(str(file.relative_to(folder)) for file in images[:3])
            raise VolumeError(
                f"{path}: a zip must hold one CT series or one image file; found {len(images)} image files ({names})"
            )
        try:
            opened = _read_file(images[0]) if images else open_folder(folder, path)
            # The unpacked files are gone afterwards.
            yield replace(opened, source=replace(opened.source, path=path, files=()))
        except VolumeError as error:
            raise VolumeError(str(error).replace(str(folder), f"{path}")) from error


def _grid(image: sitk.Image, path: Path, scale: float) -> Grid:
    dimension = image.GetDimension()
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    if not np.isfinite(direction).all():
        raise VolumeError(f"{path}: the header's direction is not a number; correct it")
    x, y, z = image.GetSize()[:3]
    sx, sy, sz = (scale * s for s in image.GetSpacing()[:3])
    ox, oy, oz = (scale * o for o in image.GetOrigin()[:3])
    try:
        rotation = nearest_rotation(direction)
        return Grid((z, y, x), (sx, sy, sz), (ox, oy, oz), tuple(float(v) for v in rotation.ravel()))
    except GeometryError as error:
        raise VolumeError(
            f"{path}: {error}; correct the file's header, or resample the scan to an orthogonal grid"
        ) from error
