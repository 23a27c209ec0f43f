"""The value that a scan or a label map is: an array and its grid, and the way to and from SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import GeometryError
from medlsam.geometry import Grid

AIR_HU = -1024.0


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or a label map.

    Attributes:
        array: (Z, Y, X); HU as int16 or float32, or labels as uint8 or uint16: unsigned means labels.
        grid: where the voxels lie, LPS mm.
        path: where it was read from, for messages.
    """

    array: NDArray[Any]
    grid: Grid
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.array.shape != tuple(self.grid.shape_zyx):
            raise GeometryError(
                f"{self.path or 'volume'}: the array has shape {self.array.shape}, "
                f"its grid {self.grid.shape_zyx}"
            )

    @property
    def is_label_map(self) -> bool:
        """Whether the array holds labels: HU are signed, labels are not."""
        return bool(self.array.dtype.kind in "ub")


def to_sitk(array: NDArray[Any], grid: Grid) -> sitk.Image:
    """A SimpleITK image of an array (Z, Y, X) on a grid; the array is copied."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(grid.spacing_xyz)
    image.SetOrigin(grid.origin_xyz)
    image.SetDirection(grid.direction)
    return image
