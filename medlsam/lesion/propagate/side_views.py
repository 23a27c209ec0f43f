"""Look at a lesion from the side: coronal and sagittal slices cross every axial one, and show where it ends.

In each of some slices of both planes the lesion's width is known from the key slice, and its height is not. So a box as
high as wide, with the error of a guess, is segmented; the box follows the mask, and is segmented again. Between these
slices probabilities are interpolated, and the two planes are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import filled
from medlsam.lesion.propagate.planes import Region, connected_to
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.planes import SIDES, Plane
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image

if TYPE_CHECKING:
    from medlsam.lesion.propagate.memory import MemoryOptions

# The last look has a box that follows a mask: its error is smaller than that of the guess.
_LAST_ERROR = 2 / 3


@dataclass
class _Look:
    """One slice of a side plane.

    Attributes:
        low: lower edge of its box, continuous index of the scan's slices.
        high: upper edge.
        left: left edge, continuous index along the slice's columns.
        right: right edge.
        plane: (Z, columns) probabilities in the region, as seen last.
    """

    low: float
    high: float
    left: float
    right: float
    plane: NDArray[np.float32]


def side_views(
    segmenter: Segmenter,
    volume: Image,
    region: Region,
    key: NDArray[np.bool_],
    options: MemoryOptions,
    stopwatch: Stopwatch | None = None,
) -> NDArray[np.float32]:
    """Look at a lesion in coronal and sagittal slices.

    Args:
        segmenter: any registered model.
        volume: canonical scan, HU.
        region: where the lesion may be.
        key: (rows, columns) of the region: its mask on the key slice.
        options: how many slices, how often, with which error.
        stopwatch: records the segmenter's seconds.

    Returns:
        Probabilities in the region, (Z, rows, columns); 0 beside the key slice's rows and columns.
    """
    total = np.zeros(region.shape_zyx, np.float32)
    for plane in SIDES:
        axis = plane.order[0] - 1  # of (rows, columns): where the plane's slices lie side by side
        looks = _first_looks(plane, volume, region, key, axis, options.views)
        turned = plane.volume(volume)
        for number in range(options.rounds):
            last = number == options.rounds - 1
            error = options.view_error_mm * (_LAST_ERROR if last else 1.0)
            _look(segmenter, turned, region, key, axis, looks, error, stopwatch)
        total += _between(looks, filled(key, axis), axis, region.shape_zyx) / len(SIDES)
    return total


def _first_looks(
    plane: Plane, volume: Image, region: Region, key: NDArray[np.bool_], axis: int, views: int
) -> dict[int, _Look]:
    """Choose slices across the key slice's mask, evenly, and guess a box for each: as high as it is wide."""
    lines = filled(key, axis)
    places = np.linspace(lines[0], lines[-1], min(views, len(lines)) + 2)[1:-1]
    sx, sy, sz = volume.grid.spacing_xyz
    across = sx if plane.order[2] == 2 else sy
    z = region.origin_zyx[0] + region.key
    shift = region.origin_zyx[2 - axis]
    looks = {}
    for place in np.unique(np.rint(places).astype(int)).tolist():
        columns = np.flatnonzero(np.take(key, place, axis=axis))
        if not columns.size:  # a mask with a gap
            continue
        left, right = columns[0] - 0.5 + shift, columns[-1] + 0.5 + shift
        half = max((right - left) * across / sz / 2, 1.0)
        empty = np.zeros((region.shape_zyx[0], key.shape[1 - axis]), np.float32)
        looks[place] = _Look(z - half, z + half, left, right, empty)
    return looks


def _look(
    segmenter: Segmenter,
    turned: Image,
    region: Region,
    key: NDArray[np.bool_],
    axis: int,
    looks: dict[int, _Look],
    error_mm: float,
    stopwatch: Stopwatch | None,
) -> None:
    """Segment each slice with its box, and let the box's ends follow the mask."""
    first, shift, offset = region.origin_zyx[0], region.origin_zyx[2 - axis], region.origin_zyx[1 + axis]
    top = turned.array.shape[1] - 0.5
    prompts = {
        str(place): [
            SlicePrompt(
                place + offset,
                (look.left, max(look.low, -0.5), look.right, min(look.high, top)),
                error_mm=error_mm,
            )
        ]
        for place, look in looks.items()
    }
    answers = segmenter.segment(turned, prompts, stopwatch=stopwatch)
    depth, width = region.shape_zyx[0], key.shape[1 - axis]
    for place, look in looks.items():
        seen = answers[str(place)].window(place + offset, (shift, first, shift + width, first + depth))
        assert seen is not None, "segmenters answer for every slice with a prompt"
        mask = seen >= 0.5
        seed = np.zeros_like(mask)
        seed[region.key] = np.take(key, place, axis=axis)
        own = connected_to(mask, seed)
        look.plane = np.where(own | ~mask, seen, 0).astype(np.float32)
        if own.any():
            rows, columns = filled(own, 0), filled(own, 1)
            look.low, look.high = float(rows[0]) - 0.5 + first, float(rows[-1]) + 0.5 + first
            look.left = min(look.left, float(columns[0]) - 0.5 + shift)
            look.right = max(look.right, float(columns[-1]) + 0.5 + shift)


def _between(
    looks: dict[int, _Look], lines: NDArray[np.intp], axis: int, shape_zyx: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Interpolate between the slices that were looked at, over all lines that the key slice's mask has."""
    whole = np.zeros(shape_zyx, np.float32)
    places = sorted(looks)
    for line in range(int(lines[0]), int(lines[-1]) + 1):
        after = int(np.searchsorted(places, line))
        lower, upper = places[max(after - 1, 0)], places[min(after, len(places) - 1)]
        share = 0.0 if upper == lower else (line - lower) / (upper - lower)
        plane = (1 - share) * looks[lower].plane + share * looks[upper].plane
        whole[(slice(None), line) if axis == 0 else (slice(None), slice(None), line)] = plane
    return whole
