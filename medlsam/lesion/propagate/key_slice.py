"""A person's mark in pixels of its key slice: the slice, a box, the outline of diameters, points.

A mark that lies outside of the scan, or whose parts lie in several slices, is an error: it is of another scan, or its
coordinates are of another system.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError
from medlsam.geometry import Grid, Vector
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.segment.prompts import covered
from medlsam.volume import Image

# Short over long diameter of a lesion of which only the long one was drawn.
_USUAL_RATIO = 0.75
# So far from the key slice a part of the mark may lie: slices, and mm where slices are thin.
_OFF_SLICES, _OFF_MM = 1.5, 2.0
# How far around a point the lesion is looked at, mm.
_NEAR_MM = 3.0


def key_slice(prompt: LesionPrompt, grid: Grid) -> int:
    """The slice of a canonical grid that a lesion was marked in.

    Raises:
        GeometryError: the mark lies outside of the scan, or in several slices.
    """
    low, high = grid.box.min, grid.box.max
    if not low[2] <= prompt.z_mm <= high[2]:
        raise GeometryError(
            f"{prompt.name}: marked at z = {prompt.z_mm:.1f} mm, but the scan reaches from {low[2]:.1f} to "
            f"{high[2]:.1f} (LPS mm); is it of another scan?"
        )
    _in_one_slice(prompt, grid)
    center = (*grid.box.center[:2], prompt.z_mm)
    return int(np.clip(np.rint(grid.lps_to_ijk(center)[2]), 0, grid.shape_zyx[0] - 1))


def recist_ellipse(
    prompt: LesionPrompt, grid: Grid
) -> tuple[NDArray[np.float32], tuple[float, float, float, float]]:
    """Draw the outline that a pair of diameters stands for.

    Four quarters of ellipses between neighbouring ends, about the point where the diameters cross; for a long diameter
    alone an ellipse of the usual proportions.

    Args:
        prompt: with a long diameter.
        grid: canonical grid.

    Returns:
        (rows, columns) 0 or 1, and its box x0, y0, x1, y1 in continuous pixel indices.
    """
    assert prompt.long is not None, "a prompt of kind recist"
    spacing = np.asarray(grid.spacing_xyz[:2])

    def place(end: Vector) -> NDArray[np.float64]:
        return np.asarray(grid.lps_to_ijk(end)[:2] * spacing)

    first, last = (place(end) for end in prompt.long)
    along = (last - first) / np.linalg.norm(last - first)
    across = np.array([-along[1], along[0]])
    middle = (first + last) / 2
    if prompt.short is None:
        half = _USUAL_RATIO * float(np.linalg.norm(last - first)) / 2
        sides = (-half, half)
    else:
        ends = np.array([place(end) for end in prompt.short])
        # a hand-drawn short diameter is rarely exactly perpendicular, and need not cross the middle
        middle = first + along * float(
            np.clip((ends.mean(axis=0) - first) @ along, 0, np.linalg.norm(last - first))
        )
        offsets = sorted(float(v) for v in (ends - middle) @ across)
        sides = (min(offsets[0], -1e-3), max(offsets[1], 1e-3))
    low, high = float((first - middle) @ along), float((last - middle) @ along)
    rows, columns = grid.shape_zyx[1:]
    y, x = np.meshgrid(np.arange(rows) * spacing[1], np.arange(columns) * spacing[0], indexing="ij")
    u = (x - middle[0]) * along[0] + (y - middle[1]) * along[1]
    v = (x - middle[0]) * across[0] + (y - middle[1]) * across[1]
    radius_u = np.where(u < 0, min(low, -1e-3), max(high, 1e-3))
    radius_v = np.where(v < 0, sides[0], sides[1])
    mask = (u / radius_u) ** 2 + (v / radius_v) ** 2 <= 1
    turn = np.linspace(0, 2 * np.pi, 181)
    cos, sin = np.cos(turn), np.sin(turn)
    edge = middle + np.outer(np.where(cos < 0, -low, high) * cos, along)
    edge = (edge + np.outer(np.where(sin < 0, -sides[0], sides[1]) * sin, across)) / spacing
    (x0, y0), (x1, y1) = edge.min(axis=0), edge.max(axis=0)
    return mask.astype(np.float32), inside((x0, y0, x1, y1), grid, prompt.name)


def box_in_slice(prompt: LesionPrompt, grid: Grid) -> tuple[float, float, float, float]:
    """The drawn box on a canonical grid: x0, y0, x1, y1 in continuous pixel indices, cut at the image's border."""
    assert prompt.box is not None, "a prompt of kind box"
    (x0, y0, _), (x1, y1, _) = grid.lps_to_ijk([prompt.box.min, prompt.box.max])
    return inside((x0, y0, x1, y1), grid, prompt.name)


def point_in_slice(prompt: LesionPrompt, grid: Grid) -> tuple[float, float]:
    """The point inside on a canonical grid, continuous pixel indices.

    Raises:
        GeometryError: it lies outside of the scan.
    """
    assert prompt.point is not None, "a prompt with a point"
    x, y, _ = grid.lps_to_ijk(prompt.point).tolist()
    if not (-0.5 <= x <= grid.shape_zyx[2] - 0.5 and -0.5 <= y <= grid.shape_zyx[1] - 0.5):
        raise _elsewhere(prompt.name, grid)
    return (x, y)


def marked_hu(prompt: LesionPrompt, volume: Image) -> NDArray[np.generic]:
    """The HU in a mark on its key slice: in the box, in the diameters' outline, or near the point.

    Args:
        prompt: the mark.
        volume: canonical scan, HU.

    Returns:
        (N,); a pixel at least.

    Raises:
        GeometryError: the mark lies outside of the scan.
    """
    grid = volume.grid
    plane = volume.array[key_slice(prompt, grid)]
    if prompt.long is not None and prompt.box is None:
        mask, (x0, y0, x1, y1) = recist_ellipse(prompt, grid)
        if mask.any():
            return np.asarray(plane[mask > 0])
    elif prompt.box is not None:
        x0, y0, x1, y1 = box_in_slice(prompt, grid)
    else:
        x, y = point_in_slice(prompt, grid)
        dx, dy = (_NEAR_MM / spacing for spacing in grid.spacing_xyz[:2])
        x0, y0, x1, y1 = inside((x - dx, y - dy, x + dx, y + dy), grid, prompt.name)
    columns, rows = (
        covered(low, high, n) for low, high, n in ((x0, x1, plane.shape[1]), (y0, y1, plane.shape[0]))
    )
    return np.asarray(plane[rows.start : rows.stop, columns.start : columns.stop]).ravel()


def _in_one_slice(prompt: LesionPrompt, grid: Grid) -> None:
    """Check that diameters and points lie in the key slice, since only their places in it count."""
    most = max(_OFF_SLICES * grid.spacing_xyz[2], _OFF_MM)
    parts = {
        "the end of a diameter": (*(prompt.long or ()), *(prompt.short or ())),
        "the point": () if prompt.point is None else (prompt.point,),
        "a point outside": prompt.outside,
    }
    for part, places in parts.items():
        for place in places:
            if abs(place[2] - prompt.z_mm) > most:
                raise GeometryError(
                    f"{prompt.name}: {part} lies at z = {place[2]:.1f} mm, but the lesion is marked at "
                    f"{prompt.z_mm:.1f} mm; draw all of it in one axial slice"
                )


def inside(
    box: tuple[float, float, float, float], grid: Grid, name: str
) -> tuple[float, float, float, float]:
    """Cut a box at the border of the slice."""
    edge = np.array([grid.shape_zyx[2], grid.shape_zyx[1]] * 2) - 0.5
    x0, y0, x1, y1 = np.clip(box, -0.5, edge).tolist()
    if x1 - x0 <= 1e-6 or y1 - y0 <= 1e-6:
        raise _elsewhere(name, grid)
    return (x0, y0, x1, y1)


def _elsewhere(name: str, grid: Grid) -> GeometryError:
    low, high = np.round(grid.box.min, 1).tolist(), np.round(grid.box.max, 1).tolist()
    return GeometryError(
        f"{name}: it lies outside of the scan, which reaches from {low} to {high} (LPS mm); is it of another scan, or "
        "were RAS coordinates given as LPS?"
    )
