"""Slices as pictures: what the page shows, with the window of HU applied here."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from medlsam.errors import UsageError
from medlsam.export.views import PLANES, Plane
from medlsam.geometry import Grid

#: The planes by their names. Row 0 of a picture is its top: the front in axial pictures, the head in the others.
VIEWS: Mapping[str, Plane] = {plane.name: plane for plane in PLANES}


def view_of(name: str) -> Plane:
    """Look a plane up.

    Raises:
        UsageError: no such plane.
    """
    if name not in VIEWS:
        raise UsageError(f"no plane is called {name[:40]!r}; there are: {', '.join(VIEWS)}")
    return VIEWS[name]


def slice_of(array_zyx: NDArray[np.generic], view: Plane, index: int) -> NDArray[np.generic]:
    """Cut one slice as (rows, columns) of its picture, without a copy.

    Args:
        array_zyx: canonical volume, (Z, Y, X).
        view: of it.
        index: of the slice along the axis that is cut.

    Raises:
        UsageError: the volume has no such slice.
    """
    axis = 2 - view.cut
    if not 0 <= index < array_zyx.shape[axis]:
        raise UsageError(
            f"there is no {view.name} slice {index}; slices go from 0 to {array_zyx.shape[axis] - 1}"
        )
    place: list[slice | int] = [slice(None)] * 3
    place[axis] = index
    plane = array_zyx[tuple(place)]
    return plane[::-1] if view.upwards else plane


def png(plane_hu: NDArray[np.generic], low: float, high: float) -> bytes:
    """Draw a slice (rows, columns) in HU as a grey PNG, black at ``low`` and below, white at ``high`` and above.

    Raises:
        UsageError: the window is none.
    """
    if not (np.isfinite([low, high]).all() and low < high):
        raise UsageError(f"a window needs a lowest HU below its highest, got {low:g} and {high:g}")
    grey = (np.clip(plane_hu.astype(np.float32), low, high) - low) * np.float32(255 / (high - low))
    buffer = io.BytesIO()
    # Fast rather than small: the picture goes to this very machine.
    Picture.fromarray((grey + 0.5).astype(np.uint8)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def geometry(grid: Grid) -> dict[str, object]:
    """What the page needs to turn a pixel of a picture into LPS mm and back.

    A point at column c and row r (pixel centres are whole numbers) of slice s lies at ``origin[across] + c *
    spacing[across]`` and so on; rows count down from the last index where ``flipped``.

    Args:
        grid: canonical: its axes run along LPS.
    """
    z, y, x = grid.shape_zyx
    return {
        "shape": [x, y, z],
        "origin": list(grid.origin_xyz),
        "spacing": list(grid.spacing_xyz),
        "views": {
            view.name: {
                "cut": view.cut,
                "across": view.across,
                "down": view.up,
                "flipped": view.upwards,
                "sides": view.sides,
            }
            for view in VIEWS.values()
        },
    }
