"""Shape of a mask beyond its box: the mean mask and the box of every slice, in fractions of the box."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Box, Grid, filled
from medlsam.localize.templates.template_set import KEPT_STRUCTURES, SHAPE_SIZE, StructureTemplate


def shape_in_box(mask: NDArray[np.bool_], grid: Grid, box: Box) -> NDArray[np.uint8]:
    """Resample a mask to its box.

    Args:
        mask: (Z, Y, X) on a canonical grid (identity direction).
        grid: the mask's grid.
        box: LPS mm.

    Returns:
        (32, 32, 32) uint8 along (z, y, x), 255 for inside; cell ``i`` of ``n`` is centred at (i + 0.5) / n of the edge.
    """
    axes = []
    for axis, count in zip((2, 1, 0), SHAPE_SIZE, strict=True):
        place = box.min[axis] + (np.arange(count) + 0.5) / count * box.size[axis]
        axes.append((place - grid.origin_xyz[axis]) / grid.spacing_xyz[axis])
    z, y, x = np.meshgrid(*axes, indexing="ij")
    values = ndimage.map_coordinates(mask.astype(np.float32), [z, y, x], order=1, mode="nearest")
    return np.asarray(np.rint(values * 255), dtype=np.uint8)


def slice_profile(mask: NDArray[np.bool_], grid: Grid, box: Box) -> NDArray[np.float32]:
    """Compute the box of every slice of a mask, in fractions of its whole box.

    Args:
        mask: (Z, Y, X) on a canonical grid.
        grid: the mask's grid.
        box: the mask's tight box, LPS mm.

    Returns:
        (T, 5) rows t, x0, y0, x1, y1: one for every slice that holds some of the mask, t at the slice's centre.
    """
    rows = []
    for k in filled(mask, 0):
        ys, xs = filled(mask[k], 0), filled(mask[k], 1)
        z = grid.origin_xyz[2] + k * grid.spacing_xyz[2]
        edges = []
        for low, high, axis in ((xs[0], xs[-1], 0), (ys[0], ys[-1], 1)):
            for index in (low - 0.5, high + 0.5):
                place = grid.origin_xyz[axis] + index * grid.spacing_xyz[axis]
                edges.append((place - box.min[axis]) / box.size[axis])
        rows.append([(z - box.min[2]) / box.size[2], edges[0], edges[2], edges[1], edges[3]])
    return np.asarray(rows, dtype=np.float32)


def mean_shape(templates: Sequence[StructureTemplate]) -> NDArray[np.float32] | None:
    """Average the templates' shapes, 0 to 1, read-only; None where none has a mask."""
    return _mean_of(tuple(templates))


@lru_cache(maxsize=KEPT_STRUCTURES)
def _mean_of(templates: tuple[StructureTemplate, ...]) -> NDArray[np.float32] | None:
    shapes = [s.shape for s in templates if s.shape.size]
    if not shapes:
        return None
    mean = np.asarray(np.mean(shapes, axis=0), dtype=np.float32) / np.float32(255)
    mean.setflags(write=False)
    return mean


def mean_profile(templates: Sequence[StructureTemplate], rows: int = 32) -> NDArray[np.float32] | None:
    """Average the templates' slice boxes at ``rows`` equal steps along z: (rows, 5) rows t, x0, y0, x1, y1.

    The outlines that are estimated from six points (``outline.py``) count only where no template has a mask.

    Returns:
        None where no template has either, as in files of before.
    """
    profiles = [s.profile for s in templates if s.shape.size] or [s.profile for s in templates]
    profiles = [p for p in profiles if len(p)]
    if not profiles:
        return None
    return np.asarray(np.mean([at_equal_steps(p, rows) for p in profiles], axis=0), dtype=np.float32)


def at_equal_steps(profile: NDArray[np.float32], rows: int) -> NDArray[np.float64]:
    """Interpolate a profile (T, 5) at ``rows`` equal steps along z: (rows, 5), constant beyond its ends."""
    t = (np.arange(rows) + 0.5) / rows
    sides = [np.interp(t, profile[:, 0], profile[:, column]) for column in range(1, 5)]
    return np.stack([t, *sides], axis=1)


def pooled_hu(templates: Sequence[StructureTemplate]) -> tuple[float, ...]:
    """Pool the templates' quantiles of HU, low to high; each template counts alike."""
    return tuple(sorted(float(value) for template in templates for value in template.hu))
