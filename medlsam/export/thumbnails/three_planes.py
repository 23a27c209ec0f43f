"""One structure in three planes through the middle of its mask: outline, located box, and the box with its margin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.export.thumbnails.cut import cut_plane
from medlsam.export.thumbnails.raster import (
    Picture,
    Pixels,
    encode,
    paint_outline,
    paint_rectangle,
    paint_words,
    resized,
    rgb,
    windowed,
)
from medlsam.export.views import BOX, MASK, PAPER, PLANES, REFERENCE, Plane
from medlsam.geometry import Box, Grid
from medlsam.results import LocatedStructure
from medlsam.volume import Image, LabelMap
from medlsam.windows import WINDOWS, Window

#: Pixels of a plane's side; three stand side by side with a gap between them.
SIDE, GAP = 152, 2
# Voxels of a mask's box that are looked at to find its middle: as fast for a liver as for an eye.
_LOOKED_AT = 40_000
_AIR_HU = -1024
# A mask whose median HU lies below or above is shown in the window of lungs or bone: it would be black or white.
_LUNG_HU, _BONE_HU = -300.0, 300.0


@dataclass(frozen=True, eq=False)
class Labelled:
    """A structure's voxels in a label map.

    Attributes:
        labels: the label map, in any geometry.
        value: of the structure.
    """

    labels: LabelMap
    value: int


def draw_three_planes(
    image: Image,
    own: Labelled,
    structure: LocatedStructure,
    place: tuple[slice, ...] | None = None,
    reference: Labelled | None = None,
) -> Picture | None:
    """Draw a structure as a file; arguments and answer are those of ``paint_three_planes``."""
    pixels = paint_three_planes(image, own, structure, place, reference)
    return None if pixels is None else encode(pixels)


def paint_three_planes(
    image: Image,
    own: Labelled,
    structure: LocatedStructure,
    place: tuple[slice, ...] | None = None,
    reference: Labelled | None = None,
) -> Pixels | None:
    """Draw axial, coronal and sagittal slices side by side; None where the mask has no voxel.

    Nothing is resampled but what is seen, so a scan may lie in any of the 48 orders of axes, or obliquely.

    Args:
        image: the scan, HU.
        own: the mask, on the scan's grid.
        structure: its boxes, LPS mm; ``box`` is the mask's.
        place: where the mask lies in the label map, (Z, Y, X); by ``structure.box`` where None.
        reference: a label map to compare with, in a geometry of its own.
    """
    grid = own.labels.grid
    if place is None:
        if structure.box is None:
            return None
        place = place_of(structure.box, grid)
    found = _sampled_voxels(own, place)
    if found is None:
        return None
    points = grid.ijk_to_lps(found[:, ::-1])
    middle = points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
    window = _window_of(float(np.median(image.array[tuple(found.T)])))
    low, high = _extent(place, grid)
    if structure.located_box is not None:
        low, high = np.minimum(low, structure.located_box.min), np.maximum(high, structure.located_box.max)
    gap = np.full((SIDE, GAP, 3), rgb(PAPER), np.uint8)
    parts: list[Pixels] = []
    for plane in PLANES:
        square = _Square.around(plane, low, high, middle)
        pixels = square.picture(image, window)
        # The mask last: it is what somebody judges.
        square.paint_box(pixels, structure.prompt_box, dash=2)
        square.paint_box(pixels, structure.located_box, dash=0)
        for labelled, colour, dashed in ((reference, REFERENCE, True), (own, MASK, False)):
            if labelled is not None:
                paint_outline(pixels, square.mask(labelled), colour, dashed)
        paint_words(pixels, plane.sides, square.pixel_mm)
        parts += [pixels, gap]
    return np.concatenate(parts[:-1], axis=1)


def place_of(box: Box, grid: Grid) -> tuple[slice, ...]:
    """Slices (Z, Y, X) of the voxels that a box (LPS mm) touches."""
    corners = [[(box.min, box.max)[(corner >> axis) & 1][axis] for axis in range(3)] for corner in range(8)]
    ijk = grid.lps_to_ijk(corners)
    # Faces lie half a voxel beside centres; a hundredth of a voxel is rounding.
    low, high = np.floor(ijk.min(axis=0) + 0.51)[::-1], np.ceil(ijk.max(axis=0) + 0.49)[::-1]
    return tuple(
        slice(int(max(first, 0)), int(min(last, size)))
        for first, last, size in zip(low, high, grid.shape_zyx, strict=True)
    )


def _sampled_voxels(own: Labelled, place: tuple[slice, ...]) -> NDArray[np.intp] | None:
    """(n, 3) indices (z, y, x) of voxels of the mask, evenly thinned out where there are many; None without any."""
    part = own.labels.array[place]
    if not part.size:
        return None
    step = max(1, math.ceil((part.size / _LOOKED_AT) ** (1 / 3)))
    for every in (step, 1):
        found = np.argwhere(part[::every, ::every, ::every] == own.value) * every
        if found.size:
            return np.asarray(found + [side.start for side in place])
    return None


def _window_of(median_hu: float) -> Window:
    if median_hu < _LUNG_HU:
        return WINDOWS["lung"]
    return WINDOWS["bone"] if median_hu > _BONE_HU else WINDOWS["soft-tissue"]


def _extent(place: tuple[slice, ...], grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest LPS mm of a part of the grid."""
    ends = [(side.start - 0.5, side.stop - 0.5) for side in place[::-1]]
    corners = grid.ijk_to_lps(
        [[ends[axis][(corner >> axis) & 1] for axis in range(3)] for corner in range(8)]
    )
    return corners.min(axis=0), corners.max(axis=0)


@dataclass(frozen=True, eq=False)
class _Square:
    """A square of a plane.

    Attributes:
        plane: which way the scan is cut.
        at: LPS mm of the cut.
        center: (across, up) of the square, LPS mm.
        size: of its side, mm.
    """

    plane: Plane
    at: float
    center: tuple[float, float]
    size: float

    @classmethod
    def around(
        cls, plane: Plane, low: NDArray[np.float64], high: NDArray[np.float64], middle: NDArray[np.float64]
    ) -> _Square:
        """Take in a box with enough around a small structure for it to be recognised."""
        across, up = plane.across, plane.up
        longest = float(max(high[across] - low[across], high[up] - low[up]))
        center = (low + high) / 2
        return cls(
            plane,
            float(middle[plane.cut]),
            (float(center[across]), float(center[up])),
            longest + 2 * max(25.0, 0.25 * longest),
        )

    @property
    def pixel_mm(self) -> float:
        """The size of a pixel of the picture."""
        return self.size / SIDE

    def picture(self, image: Image, window: Window) -> Pixels:
        """The scan in the square, (SIDE, SIDE, RGB); black outside of the scan."""
        cut = cut_plane(image, self.plane, self.at, self.center, self.size)
        left, right = (cut.column(self.center[0] + side * self.size / 2) + 0.5 for side in (-1, 1))
        top, bottom = (cut.row(self.center[1] + side * self.size / 2) + 0.5 for side in self._down)
        # Only what is seen, with a frame of air where the square sticks out of the scan.
        first_row, first_column = math.floor(top), math.floor(left)
        rows, columns = math.ceil(bottom) - first_row, math.ceil(right) - first_column
        seen = np.full((rows, columns), _AIR_HU, cut.array.dtype if cut.array.dtype.kind != "u" else np.int32)
        inner = tuple(
            slice(max(first, 0), max(min(first + count, size), 0))
            for first, count, size in zip(
                (first_row, first_column), (rows, columns), cut.array.shape, strict=True
            )
        )
        part = cut.array[inner]
        at_row, at_column = inner[0].start - first_row, inner[1].start - first_column
        seen[at_row : at_row + part.shape[0], at_column : at_column + part.shape[1]] = part
        grey = windowed(seen.astype(np.float32), window.low, window.high)
        edges = (left - first_column, top - first_row, right - first_column, bottom - first_row)
        return resized(grey, SIDE, SIDE, edges)

    def mask(self, labelled: Labelled) -> NDArray[np.bool_]:
        """Which pixels show the structure, (SIDE, SIDE): their centre lies in a voxel of it, or it has one in them.

        The latter, since pixels are larger than voxels where a structure is large, and a thin one must not vanish.
        """
        cut = cut_plane(labelled.labels, self.plane, self.at, self.center, self.size)
        seen = cut.array == labelled.value
        steps = ((np.arange(SIDE) + 0.5) / SIDE - 0.5) * self.size
        rows, columns = cut.row(self.center[1] + steps * self._down[1]), cut.column(self.center[0] + steps)
        at = [np.rint(places).astype(np.intp) for places in (rows, columns)]
        in_cut = [(own >= 0) & (own < size) for own, size in zip(at, seen.shape, strict=True)]
        mask = np.zeros((SIDE, SIDE), bool)
        mask[np.ix_(*in_cut)] = seen[np.ix_(*(own[inside] for own, inside in zip(at, in_cut, strict=True)))]
        # Pixels are evenly spaced, so a voxel's pixel is known from the first one and the step.
        voxels = np.nonzero(seen)
        pixels = [
            np.rint((own - places[0]) / (places[1] - places[0])).astype(np.intp)
            for own, places in zip(voxels, (rows, columns), strict=True)
        ]
        inside = np.logical_and.reduce([(own >= 0) & (own < SIDE) for own in pixels])
        mask[pixels[0][inside], pixels[1][inside]] = True
        return mask

    @property
    def _down(self) -> tuple[int, int]:
        """On which side of the middle the top and the bottom lie along the axis ``up``."""
        return (1, -1) if self.plane.upwards else (-1, 1)

    def paint_box(self, pixels: Pixels, box: Box | None, dash: int) -> None:
        """Paint a box where the plane cuts it."""
        if box is None or not box.min[self.plane.cut] <= self.at <= box.max[self.plane.cut]:
            return
        left, right = (
            (end[self.plane.across] - self.center[0]) / self.pixel_mm + SIDE / 2 for end in (box.min, box.max)
        )
        rows = [(end[self.plane.up] - self.center[1]) / self.pixel_mm for end in (box.min, box.max)]
        top, bottom = sorted(SIDE / 2 + (-row if self.plane.upwards else row) for row in rows)
        paint_rectangle(pixels, left, top, right, bottom, BOX, dash)
