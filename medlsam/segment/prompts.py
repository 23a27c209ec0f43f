"""Make one box prompt per slice from a located box: pure functions of boxes, grids and masks.

In-plane boxes are continuous pixel indices of the canonical array: pixel ``i`` covers ``i - 0.5`` to
``i + 0.5``, so the box around one pixel is ``(i - 0.5, i + 0.5)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medlsam.errors import GeometryError
from medlsam.geometry import IDENTITY_DIRECTION, Box, Grid, filled
from medlsam.volume.components import large_components

# A slice centre this close to a face (in slices) counts as inside: faces were converted to mm and back.
_TOLERANCE = 1e-6
# A view of fewer pixels would be magnified more than any picture that whole-slice models were trained on.
_LEAST_VIEW = 64


@dataclass(frozen=True)
class SlicePrompt:
    """A box prompt in one slice.

    Attributes:
        z: slice index of the canonical array.
        box_xyxy: x0, y0, x1, y1 in continuous pixel indices, inside the image.
        point_xy: a point inside the structure, continuous pixel indices, for models that take points.
        view_xyxy: first and after-last column and row of the part of the slice that a whole-slice model encodes;
            None for the whole slice. Models that cut their own crops ignore it.
        window_hu: lowest and highest HU that a whole-slice model is shown; None for the model's own window. Others
            ignore it.
        error_mm: standard deviation of the box's sides: 0 for a box drawn tightly around the structure in this very
            slice, None for a located box, with the error that the segmenter was trained to expect. SAM has no such
            input; ``sam-tiny`` keeps to the sides of an exact box.
        part: which connected part of the structure the box is around. The parts are segmented one by one, since masks
            are handed on, and looked at again, within a part.
        outside_xy: points outside of the structure (negative points), continuous pixel indices.
    """

    z: int
    box_xyxy: tuple[float, float, float, float]
    point_xy: tuple[float, float] | None = None
    view_xyxy: tuple[int, int, int, int] | None = None
    window_hu: tuple[float, float] | None = None
    error_mm: float | None = None
    part: int = 0
    outside_xy: tuple[tuple[float, float], ...] = ()

    @property
    def points(self) -> list[tuple[float, float, int]]:
        """Its points as models take them: x, y and 1 for inside, 0 for outside."""
        inside = [] if self.point_xy is None else [(*self.point_xy, 1)]
        return [*inside, *((x, y, 0) for x, y in self.outside_xy)]


def covered(low: float, high: float, count: int) -> range:
    """List the indices whose centres lie in an interval; at least one if the interval overlaps the array.

    Args:
        low: the interval's start, continuous index.
        high: its end.
        count: length of the array's axis.

    Returns:
        Consecutive indices in 0..count-1; empty where the interval lies outside of the array.
    """
    if high <= -0.5 or low >= count - 0.5:
        return range(0)
    first = max(math.ceil(low - _TOLERANCE), 0)
    last = min(math.floor(high + _TOLERANCE), count - 1)
    if first > last:  # thinner than the slices are apart, between two centres
        first = last = min(max(round((low + high) / 2), 0), count - 1)
    return range(first, last + 1)


def index_box(box: Box, grid: Grid) -> NDArray[np.float64]:
    """Convert a box to continuous indices on a canonical grid: (2, 3), low and high corner, x, y, z.

    Raises:
        GeometryError: the grid's axes do not run along LPS.
    """
    if not np.allclose(grid.direction, IDENTITY_DIRECTION, atol=1e-3):
        raise GeometryError(
            f"prompts need a canonical grid (identity direction), got direction {grid.direction}; "
            "see medlsam.volume.to_canonical"
        )
    return grid.lps_to_ijk([box.min, box.max])


def wpl(box: Box, grid: Grid) -> list[SlicePrompt]:
    """Make whole-box prompts: the same in-plane box on every slice whose centre lies in the 3D box.

    Args:
        box: LPS mm.
        grid: canonical grid.
    """
    return list(_prompts(grid, ((z, index_box(box, grid)[:, :2]) for z in _slices(box, grid))))


def spl(slabs: Sequence[Box], box: Box, grid: Grid) -> list[SlicePrompt]:
    """Make slab prompts: each slice takes the in-plane box of the slab that contains its centre.

    A slice in no slab takes the nearest; one in two slabs takes the nearer centre. Without slabs, as ``wpl``.

    Args:
        slabs: boxes of consecutive slabs along z, LPS mm, any order.
        box: the structure's box, LPS mm, which determines the slices.
        grid: canonical grid.
    """
    if not slabs:
        return wpl(box, grid)
    corners = np.stack([index_box(slab, grid) for slab in slabs])
    low, high = corners[:, 0, 2], corners[:, 1, 2]

    def slab_of(z: int) -> NDArray[np.float64]:
        outside = np.maximum(np.maximum(low - z, z - high), 0.0)
        order = np.lexsort((np.abs((low + high) / 2 - z), np.round(outside, 6)))
        return np.asarray(corners[order[0], :, :2])

    return list(_prompts(grid, ((z, slab_of(z)) for z in _slices(box, grid))))


def profile(box: Box, profile_rows: ArrayLike, grid: Grid) -> list[SlicePrompt]:
    """Make profile prompts: the in-plane box follows the structure's outline from its low to its high end.

    Args:
        box: LPS mm.
        profile_rows: (S, 5) rows ``t, x0, y0, x1, y1``; t in 0..1 from the low to the high z face, the rest
            fractions of the box edges. Interpolated linearly in t at the centre of each slice, constant
            beyond the first and last row.
        grid: canonical grid.

    Raises:
        GeometryError: the rows have another shape or are not finite.
    """
    rows = np.asarray(profile_rows, dtype=float)
    if rows.ndim != 2 or rows.shape[1] != 5 or len(rows) == 0 or not np.isfinite(rows).all():
        raise GeometryError(
            f"a profile needs finite rows (S, 5) of t, x0, y0, x1, y1; got shape {rows.shape}"
        )
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    corners = index_box(box, grid)
    origin, size = corners[0], corners[1] - corners[0]

    def outline(z: int) -> NDArray[np.float64]:
        t = (z - origin[2]) / size[2] if size[2] > 0 else 0.5
        fractions = [np.interp(t, rows[:, 0], rows[:, column]) for column in range(1, 5)]
        return np.asarray(origin[:2] + np.reshape(fractions, (2, 2)) * size[:2])

    return list(_prompts(grid, ((z, outline(z)) for z in _slices(box, grid))))


def shrink(prompts: Sequence[SlicePrompt], factor: float) -> list[SlicePrompt]:
    """Scale the boxes about their centres (0.7 keeps 70 % of each edge); their error becomes unknown.

    3DLAND prompts MedSAM for lesions with boxes of 70 % and a point in the middle.
    """
    return [replace(prompt, box_xyxy=_scaled(prompt.box_xyxy, factor), error_mm=None) for prompt in prompts]


def with_center_point(prompts: Sequence[SlicePrompt]) -> list[SlicePrompt]:
    """Add a point at the centre of each box."""
    return [
        replace(prompt, point_xy=((x0 + x1) / 2, (y0 + y1) / 2))
        for prompt in prompts
        for x0, y0, x1, y1 in (prompt.box_xyxy,)
    ]


def with_outside_points(prompts: Sequence[SlicePrompt], distance: float = 0.1) -> list[SlicePrompt]:
    """Add a negative point beyond the middle of each side of the boxes.

    Args:
        prompts: boxes.
        distance: from the side, in edges of the box.
    """
    found = []
    for prompt in prompts:
        x0, y0, x1, y1 = prompt.box_xyxy
        x, y, dx, dy = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) * distance, (y1 - y0) * distance
        found.append(replace(prompt, outside_xy=((x0 - dx, y), (x1 + dx, y), (x, y0 - dy), (x, y1 + dy))))
    return found


def zoomed(prompts: Sequence[SlicePrompt], zoom: float, shape_hw: tuple[int, int]) -> list[SlicePrompt]:
    """Add to each prompt a square view around its box, to encode in place of the whole slice.

    A square that leaves the image is moved inside, and cut where the image is smaller, so that views at the border
    show as much as others.

    Args:
        prompts: boxes inside the image.
        zoom: edge of the square, in multiples of the box's longest edge; 1 or more.
        shape_hw: rows and columns of the slices.
    """
    found = []
    for prompt in prompts:
        x0, y0, x1, y1 = prompt.box_xyxy
        side = max(math.ceil(max(x1 - x0, y1 - y0) * zoom), _LEAST_VIEW)
        columns = _window((x0 + x1 + 1) / 2, side, shape_hw[1])
        rows = _window((y0 + y1 + 1) / 2, side, shape_hw[0])
        found.append(replace(prompt, view_xyxy=(columns[0], rows[0], columns[1], rows[1])))
    return found


def oracle_slices(mask: NDArray[np.bool_], origin_zyx: tuple[int, int, int] = (0, 0, 0)) -> list[SlicePrompt]:
    """Make the tight box of each slice of a mask; for a reference mask, these are perfect prompts.

    Their ``error_mm`` is 0.

    Args:
        mask: (Z, Y, X).
        origin_zyx: index of its first voxel in the canonical array.
    """
    found = []
    first_z, first_y, first_x = origin_zyx
    for z in filled(mask, 0):
        rows, columns = filled(mask[z], 0), filled(mask[z], 1)
        x0, x1 = float(columns[0] + first_x), float(columns[-1] + first_x)
        y0, y1 = float(rows[0] + first_y), float(rows[-1] + first_y)
        found.append(SlicePrompt(int(z) + first_z, (x0 - 0.5, y0 - 0.5, x1 + 0.5, y1 + 0.5), error_mm=0.0))
    return found


def oracle_parts(mask: NDArray[np.bool_], count: int) -> list[SlicePrompt]:
    """Make the tight box of each slice of each part of a mask (Z, Y, X); for one part, those of the whole mask.

    Args:
        mask: (Z, Y, X).
        count: at most so many parts, the largest.
    """
    parts = [mask] if count == 1 else large_components(mask)[:count]
    return [replace(own, part=part) for part, cut in enumerate(parts) for own in oracle_slices(cut)]


def _scaled(box_xyxy: tuple[float, float, float, float], factor: float) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box_xyxy
    dx, dy = (x1 - x0) * (1 - factor) / 2, (y1 - y0) * (1 - factor) / 2
    return (x0 + dx, y0 + dy, x1 - dx, y1 - dy)


def _window(center: float, side: int, count: int) -> tuple[int, int]:
    """Place ``side`` pixels around a centre (in pixel edges) inside 0..count: first and after-last index."""
    first = min(max(round(center - side / 2), 0), max(count - side, 0))
    return first, min(first + side, count)


def _slices(box: Box, grid: Grid) -> range:
    low, high = index_box(box, grid)[:, 2]
    return covered(float(low), float(high), grid.shape_zyx[0])


def _prompts(grid: Grid, boxes: Iterator[tuple[int, NDArray[np.float64]]]) -> Iterator[SlicePrompt]:
    """Clip (2, 2) corners x, y to the image, and leave out slices whose box vanishes."""
    edge = np.array([grid.shape_zyx[2], grid.shape_zyx[1]]) - 0.5
    for z, corners in boxes:
        (x0, y0), (x1, y1) = np.clip(corners, -0.5, edge).tolist()
        if x1 - x0 > _TOLERANCE and y1 - y0 > _TOLERANCE:
            yield SlicePrompt(z, (x0, y0, x1, y1))
