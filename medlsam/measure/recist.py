"""Diameters of a lesion in its axial slices, mm: RECIST's, and the one of the HCUCH dataset.

**What is measured.** The longest diameter is the longest line between two points of a slice's convex outline; the short
axis is the longest chord perpendicular to it, within the same outline. Both may leave a lesion that is not convex (a
node with a hilum, a crescent), as calipers do that a radiologist sets from edge to edge. They never cross from one part
to another: where a slice shows a lesion in several parts (8-connected), each part is measured by itself.

**Which outline.** Pixels are in or out by their centres, so the true edge runs somewhere between the outermost centres
inside and the first ones outside. An outline through pixel corners makes diameters too long (by 0.7 of a pixel in the
mean, up to 1.4), one through centres too short (by 0.4, up to 1.8). Through the middles of the outer pixels' edges, of
2,000 random ellipses with half axes of three pixels or more none was off by a whole pixel (counting the pixel's longer
side), and of 2,000 that lie along the pixels' rows, columns or diagonals 2 long axes (by 1.00) and 27 short ones (by up
to 1.13): a mask cannot tell more, since the edge may lie anywhere within a pixel at either end. A single pixel is as
wide as it is. So that is the outline here, and ``shape.axial_diameters`` (the columns of ``statistics.csv``) has the
same longest diameter. Its short one is the width of the outline across the long one, which is never smaller than the
chord. ``python benchmarks/lesion/diameters.py --ellipses 2000 --seed 1`` prints these figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from scipy.spatial.distance import cdist

from medlsam.errors import GeometryError
from medlsam.geometry import filled, tight_slices
from medlsam.measure.shape import Outline, convex_outline

#: Lengths that differ by less are equal.
_EQUAL_MM = 1e-6
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
#: Eight directions (y, x) evenly over half a turn.
_DIRECTIONS = tuple((float(np.sin(a)), float(np.cos(a))) for a in np.arange(8) * np.pi / 8)

#: The two ends of a line: continuous (z, y, x) indices of the mask's array, whole numbers at voxel centres.
Ends = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Diameters:
    """The two diameters of a lesion in one axial slice.

    Attributes:
        slice_index: of the slice, along the mask's first axis.
        longest_mm: the longest diameter of all slices.
        perpendicular_mm: the short axis, perpendicular to it in the same slice.
        longest_zyx: its ends.
        perpendicular_zyx: those of the short axis.
    """

    slice_index: int
    longest_mm: float
    perpendicular_mm: float
    longest_zyx: Ends
    perpendicular_zyx: Ends


@dataclass(frozen=True)
class BoxAxes:
    """The sides of the smallest rectangle around a lesion in one axial slice.

    Attributes:
        slice_index: along the mask's first axis.
        major_mm: the longer side.
        minor_mm: the shorter side.
    """

    slice_index: int
    major_mm: float
    minor_mm: float


def recist_diameters(
    mask: NDArray[np.bool_], spacing: Sequence[float], outline: Outline = "edges"
) -> Diameters:
    """The longest axial diameter of a lesion, and the short axis perpendicular to it.

    Of several diameters that are equally long, that with the longest short axis counts; of those, the first. The
    length does not depend on how the scan is stored (flipped or turned).

    Args:
        mask: (Z, Y, X), axial slices along the first axis, not empty.
        spacing: mm of a voxel along x, y, z; pixels need not be square.
        outline: what the outline goes around; the default is what is meant by a diameter everywhere in medlsam.

    Raises:
        GeometryError: the mask is empty or not of three axes, or a spacing is not positive.
    """
    y, x = _checked(mask, spacing)
    best: tuple[float, float, int, NDArray[np.float64], NDArray[np.float64]] | None = None
    for index, reach in _by_reach(mask, (y, x)):
        if best is not None and reach < best[0] - _EQUAL_MM:
            break
        for _, diagonal, corners_of in _outlines(mask[index], (y, x), outline):
            if best is not None and diagonal < best[0] - _EQUAL_MM:
                continue
            corners = corners_of()
            distances = cdist(corners, corners)
            longest = float(distances.max())
            if best is not None and longest < best[0] - _EQUAL_MM:
                continue
            for start, end in np.argwhere(np.triu(distances) >= longest - _EQUAL_MM):
                across = _widest_chord(corners, corners[start], corners[end])
                width = float(np.linalg.norm(across[1] - across[0]))
                better = best is None or longest > best[0] + _EQUAL_MM
                if better or (best is not None and width > best[1] + _EQUAL_MM):
                    best = (longest, width, index, corners[[start, end]], across)
    assert best is not None, "a mask that is not empty has a slice"
    longest, width, index, line, across = best
    return Diameters(index, longest, width, _ends(index, line, (y, x)), _ends(index, across, (y, x)))


def hcuch_axes(mask: NDArray[np.bool_], spacing: Sequence[float], outline: Outline = "centres") -> BoxAxes:
    """The sides of the minimum-area oriented box of an axial slice, in the slice where its longer side is longest.

    The measure of the HCUCH dataset. The paper does not say what the box goes around; the code that its authors have
    published (robertorojasp06/recist-dataset, ``utils/diameters.py``) takes OpenCV's contours, which run through the
    centres of pixels, and of a slice with several parts the largest. So does this. It differs in that pixels need not
    be square (theirs take the spacing of rows for both axes) and that a slice with a single pixel counts as 0 mm.

    Args:
        mask: (Z, Y, X), axial slices along the first axis, not empty.
        spacing: mm of a voxel along x, y, z.
        outline: what the box goes around; ``edges`` makes it comparable with ``recist_diameters``.

    Raises:
        GeometryError: as ``recist_diameters``.
    """
    y, x = _checked(mask, spacing)
    best: BoxAxes | None = None
    for index, reach in _by_reach(mask, (y, x)):
        if best is not None and reach < best.major_mm - _EQUAL_MM:
            break
        _, _, corners_of = max(_outlines(mask[index], (y, x), outline), key=lambda part: part[0])
        major, minor = _smallest_rectangle(corners_of())
        if best is None or major > best.major_mm + _EQUAL_MM:
            best = BoxAxes(index, major, minor)
    assert best is not None, "a mask that is not empty has a slice"
    return best


def hcuch_diameter(
    mask: NDArray[np.bool_], spacing: Sequence[float], node: bool = False, outline: Outline = "centres"
) -> float:
    """The one diameter of a lesion as the HCUCH dataset has it, mm: see ``hcuch_axes``.

    Args:
        mask: (Z, Y, X), axial slices along the first axis, not empty.
        spacing: mm of a voxel along x, y, z.
        node: whether it is a lymph node: then the minor axis in the slice with the longest major axis, else that
            longest major axis.
        outline: what the box goes around.

    Raises:
        GeometryError: as ``recist_diameters``.
    """
    axes = hcuch_axes(mask, spacing, outline)
    return axes.minor_mm if node else axes.major_mm


def _checked(mask: NDArray[np.bool_], spacing: Sequence[float]) -> tuple[float, float]:
    """Pixel size along rows' axis y and columns' axis x, mm."""
    if mask.ndim != 3 or not mask.any():
        raise GeometryError(
            f"a lesion is a mask (Z, Y, X) with some voxel, got shape {mask.shape}, empty or not"
        )
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise GeometryError(f"a lesion needs three positive spacings (x, y, z) in mm, got {tuple(spacing)}")
    return float(spacing[1]), float(spacing[0])


def _by_reach(mask: NDArray[np.bool_], pixel: tuple[float, float]) -> Iterator[tuple[int, float]]:
    """The slices with some voxel and what no diameter in each of them passes (mm), the longest first.

    Whoever has found a longer diameter need not look at the rest. A diameter is at most half a step away from one of
    ``_DIRECTIONS``, so that the slice's extent along that direction tells it but for the cosine of that angle.
    """
    indices = filled(mask, 0)
    rows = np.arange(mask.shape[1])
    first = mask.argmax(axis=2)[indices]
    last = mask.shape[2] - 1 - mask[:, :, ::-1].argmax(axis=2)[indices]
    seen = np.asarray(mask.any(axis=2))[indices]
    reach = np.zeros(len(indices))
    for up, across in _DIRECTIONS:
        # Half a pixel on either side: the corners of pixels are the outermost outline.
        half = (abs(up) * pixel[0] + abs(across) * pixel[1]) / 2
        ends = [rows * (up * pixel[0]) + side * (across * pixel[1]) for side in (first, last)]
        high = np.where(seen, np.maximum(*ends), -np.inf).max(axis=1)
        low = np.where(seen, np.minimum(*ends), np.inf).min(axis=1)
        reach = np.maximum(reach, high - low + 2 * half)
    reach /= np.cos(np.pi / 2 / len(_DIRECTIONS))
    for order in np.argsort(-reach, kind="stable").tolist():
        yield int(indices[order]), float(reach[order])


def _outlines(
    picture: NDArray[np.bool_], pixel: tuple[float, float], of: Outline
) -> Iterator[tuple[int, float, Callable[[], NDArray[np.float64]]]]:
    """The 8-connected parts of a slice: pixels, the diagonal of the bounding box (mm), and how to get the outline."""
    whole = tight_slices(picture)
    numbered, count = label(picture[whole], _EIGHT_NEIGHBOURS)
    corner = np.array([axis.start for axis in whole]) * pixel
    for number, place in enumerate(find_objects(numbered), start=1):
        part = picture[whole] if count == 1 else numbered[place] == number
        start = corner + np.array([axis.start for axis in place]) * pixel
        diagonal = float(np.hypot(part.shape[0] * pixel[0], part.shape[1] * pixel[1]))

        def outline(
            part: NDArray[np.bool_] = part, start: NDArray[np.float64] = start
        ) -> NDArray[np.float64]:
            return convex_outline(part, pixel, of) + start

        yield int(np.count_nonzero(part)), diagonal, outline


def _widest_chord(
    corners: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(2, 2) mm: the ends of the longest chord of a convex polygon (N, 2) perpendicular to a line.

    Its length is a concave function of the place along the line that bends at the corners, so the longest one passes
    through a corner. Of several, the one nearest to the line's middle.
    """
    length = float(np.linalg.norm(end - start))
    if len(corners) < 3 or length <= _EQUAL_MM:
        return np.stack([start, start])
    along = (end - start) / length
    across = np.array([-along[1], along[0]])
    t, s = corners @ along, corners @ across
    t_next, s_next = np.roll(t, -1), np.roll(s, -1)
    step = t_next - t
    # An edge along the chord adds nothing: its ends are those of its neighbours.
    level = np.abs(step) < _EQUAL_MM
    share = (t[:, None] - t) / np.where(level, 1.0, step)
    crossed = (share >= -1e-9) & (share <= 1 + 1e-9) & ~level
    height = s + np.clip(share, 0, 1) * (s_next - s)
    upper = np.where(crossed, height, -np.inf).max(axis=1)
    lower = np.where(crossed, height, np.inf).min(axis=1)
    width = upper - lower
    longest = np.flatnonzero(width >= width.max() - _EQUAL_MM)
    middle = float((start + end) @ along) / 2
    at = longest[np.abs(t[longest] - middle).argmin()]
    return np.asarray([t[at] * along + lower[at] * across, t[at] * along + upper[at] * across])


def _smallest_rectangle(corners: NDArray[np.float64]) -> tuple[float, float]:
    """The sides of the smallest rectangle around a convex polygon (N, 2): one of them lies along an edge."""
    if len(corners) < 3:
        return float(np.linalg.norm(corners[-1] - corners[0])), 0.0
    edges = np.roll(corners, -1, axis=0) - corners
    along = edges / np.linalg.norm(edges, axis=1, keepdims=True)
    across = along[:, ::-1] * (-1, 1)
    sides = np.stack([np.ptp(corners @ way.T, axis=0) for way in (along, across)], axis=1)
    area = sides.prod(axis=1)
    # Of several that are equally small, the longest.
    smallest = sides[area <= area.min() * (1 + 1e-9)]
    major, minor = max((float(pair.max()), float(pair.min())) for pair in smallest)
    return major, minor


def _ends(index: int, line: NDArray[np.float64], pixel: tuple[float, float]) -> Ends:
    (y0, x0), (y1, x1) = (line / np.asarray(pixel)).tolist()
    return (float(index), y0, x0), (float(index), y1, x1)
