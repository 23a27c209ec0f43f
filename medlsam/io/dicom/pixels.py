"""The values of DICOM images in HU: GDCM decodes them, pydicom where GDCM cannot or changes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import VolumeError
from medlsam.io.dicom.header import DicomHeader
from medlsam.volume.field_of_view import fill_from_border
from medlsam.volume.hounsfield import LOWEST_HU

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def read_plane(header: DicomHeader) -> NDArray[Any]:
    """The one slice of a file.

    Rescale slope and intercept are those of the file; what its padding value marks around the field of view is -1024.

    Returns:
        (rows, columns), HU.

    Raises:
        VolumeError: the pixels are cut off, damaged, or compressed in a way that nothing here decodes.
    """
    plane = None
    # GDCM inverts MONOCHROME1, which says how to show the values and nothing of what they are.
    if header.photometric != "MONOCHROME1":
        try:
            plane = sitk.GetArrayFromImage(sitk.ReadImage(str(header.path)))
        except RuntimeError:
            # Such as bits of an overlay beside those of the pixels; pydicom knows, or says what is wrong.
            plane = None
    if plane is None:
        dataset = read_dataset(header.path)
        plane = _rescaled(stored_values(dataset, header.path), dataset)
    plane = (
        plane.reshape(plane.shape[-2:])
        if plane.ndim > 2 and plane.size == np.prod(plane.shape[-2:])
        else plane
    )
    if plane.ndim != 2 or plane.shape != (int(header.rows), int(header.columns)):
        raise VolumeError(
            f"{header.path}: the pixels have the shape {plane.shape}, not the {header.rows} rows and "
            f"{header.columns} columns of one slice"
        )
    padding = _padding_hu(header)
    if padding is not None and padding > LOWEST_HU:
        fill_from_border(plane[None], padding, LOWEST_HU)
    return plane


def read_dataset(path: Path) -> Dataset:
    """A whole DICOM file.

    Raises:
        VolumeError: it cannot be read.
    """
    import pydicom

    try:
        return pydicom.dcmread(path, force=True)  # also without the preamble
    except Exception as error:  # pydicom raises whatever its parts do
        raise VolumeError(f"{path}: the DICOM file cannot be read ({_line(error)}); copy it again") from error


def stored_values(dataset: Dataset, path: Path) -> NDArray[Any]:
    """The values as stored, before any rescale: (rows, columns), or (frames, rows, columns).

    Raises:
        VolumeError: saying whether the data are damaged, or which plug-in would decode them.
    """
    try:
        return np.asarray(dataset.pixel_array)
    except Exception as error:  # pydicom and its plug-ins raise whatever they like
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        name = getattr(syntax, "name", "an unknown transfer syntax")
        if "plugin" in str(error) or "decoder" in str(error).lower():
            raise VolumeError(
                f"{path}: the pixels are compressed as {name} ({syntax}), which cannot be decoded here: "
                f"{_line(error)}; install what is named there (`pip install pylibjpeg pylibjpeg-openjpeg "
                "pylibjpeg-libjpeg`), or decompress the series, for example with gdcmconv --raw"
            ) from error
        raise VolumeError(
            f"{path}: the pixels are truncated or damaged ({name}: {_line(error)}); copy the file again"
        ) from error


def _rescaled(values: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    from pydicom.pixels.processing import apply_modality_lut

    return np.asarray(apply_modality_lut(values, dataset), dtype=np.float32)


def _padding_hu(header: DicomHeader) -> float | None:
    stored = header.numbers("padding", 1)
    if stored is None:
        return None
    slope, intercept = header.numbers("slope", 1) or [1.0], header.numbers("intercept", 1) or [0.0]
    return stored[0] * slope[0] + intercept[0]


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
