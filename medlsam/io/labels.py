"""Read a label map. Import walls keep this file away from everything that must not see labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medlsam.errors import VolumeError
from medlsam.io.read import open_file
from medlsam.io.values import collect
from medlsam.volume.volume import LabelMap


def read_label_map(path: Path | str) -> LabelMap:
    """Read a label map: whole numbers from 0 to 65535, stored as any type.

    Returns:
        Labels, (Z, Y, X): uint8 where no value passes 255, else uint16.

    Raises:
        VolumeError: the file cannot be read, is not 3D, or holds other values.
    """
    path = Path(path)
    with open_file(path) as opened:
        array = collect(opened.parts, opened.grid.shape_zyx, path)
    low, high = array.min(), array.max()
    if (
        low < 0
        or high > 65535
        or (array.dtype.kind == "f" and not all((np.rint(z) == z).all() for z in array))
    ):
        raise VolumeError(
            f"{path}: not a label map: values {low:g} to {high:g}; labels are whole numbers from 0 to 65535"
        )
    return LabelMap(array.astype(np.uint8 if high <= 255 else np.uint16), opened.grid, opened.source)
