"""The two kinds of volume: an image in HU and a label map, each an array on a grid, with where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import GeometryError
from medlsam.geometry import Grid


@dataclass(frozen=True)
class Source:
    """Where a volume was read from. Everything is empty for a volume that was made in memory.

    Attributes:
        path: the file, the folder of a DICOM series, or the zip of one; also names the volume in messages.
        modality: of DICOM files, such as CT; empty for other files, which do not say it.
        study_uid: DICOM Study Instance UID.
        series_uid: DICOM Series Instance UID.
        files: the DICOM files; where there are several, one for each slice of the array, in its order. Empty where
            they were read from a zip.
        frames: of one file that holds many slices, the number of the frame (from 0) for each slice of the array.
        grid_is_scanners: whether voxel and slice n of the array are those of the DICOM files. False where a tilted
            gantry was straightened, after resampling or turning, and for other files, which do not say it.
        nifti_header: of a NIfTI file, its header as stored, so that both of its transforms can be written again.
    """

    path: Path | None = None
    modality: str = ""
    study_uid: str = ""
    series_uid: str = ""
    files: tuple[Path, ...] = ()
    frames: tuple[int, ...] = ()
    grid_is_scanners: bool = False
    nifti_header: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, eq=False)
class Volume:
    """What an image and a label map have in common. Make an ``Image`` or a ``LabelMap``, never this.

    Attributes:
        array: (Z, Y, X).
        grid: where the voxels lie, LPS mm.
        source: where it was read from.

    Raises:
        GeometryError: the array does not have the shape of the grid.
    """

    array: NDArray[Any]
    grid: Grid
    source: Source = Source()

    def __post_init__(self) -> None:
        if type(self) is Volume:
            raise TypeError("a volume is an Image (HU) or a LabelMap; its array does not say which")
        if self.array.shape != tuple(self.grid.shape_zyx):
            raise GeometryError(
                f"{self.path or 'volume'}: the array has shape {self.array.shape}, "
                f"its grid {self.grid.shape_zyx}"
            )

    @property
    def path(self) -> Path | None:
        """Where it was read from, for messages."""
        return self.source.path

    def derived(self, array: NDArray[Any], grid: Grid) -> Self:
        """A volume of the same kind and source with other voxels on another grid, which is not the scanner's."""
        return replace(self, array=array, grid=grid, source=replace(self.source, grid_is_scanners=False))


@dataclass(frozen=True, eq=False)
class Image(Volume):
    """A CT scan: HU of any real type. It is resampled linearly, and air surrounds it."""


@dataclass(frozen=True, eq=False)
class LabelMap(Volume):
    """Labels: whole numbers of any type, 0 is background. It is resampled to the nearest voxel, and 0 surrounds it."""


V = TypeVar("V", bound=Volume)


def to_sitk(array: NDArray[Any], grid: Grid) -> sitk.Image:
    """A SimpleITK image of an array (Z, Y, X) on a grid; the array is copied."""
    # Types that SimpleITK does not know, as the next larger one.
    stored = {np.dtype(np.bool_): np.uint8, np.dtype(np.float16): np.float32}.get(array.dtype, array.dtype)
    native = array.astype(np.dtype(stored).newbyteorder("="), copy=False)
    image = sitk.GetImageFromArray(np.ascontiguousarray(native))
    image.SetSpacing(grid.spacing_xyz)
    image.SetOrigin(grid.origin_xyz)
    image.SetDirection(grid.direction)
    return image
