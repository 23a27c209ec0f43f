"""Connected parts of a structure: where each lies in the structure's box, and its own slice-by-slice boxes.

Both kidneys under one label, ribs, a pair of lungs: one box around all parts of such a structure holds mostly other
tissue, and segmenters answer it badly. So each part gets prompts of its own, from what the templates show of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import median_high

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from medlsam.geometry import Box, Grid, mask_box
from medlsam.localize.templates.shape import at_equal_steps, slice_profile
from medlsam.localize.templates.template_set import KEPT_STRUCTURES, StructureTemplate
from medlsam.results import PartShape
from medlsam.volume.components import large_components

#: Rows of a part's stored profile.
ROWS = 32
#: Of a structure in one part.
NO_BOXES = np.zeros((0, 2, 3), np.float32)
NO_PROFILES = np.zeros((0, ROWS, 5), np.float32)


def read_parts(
    mask: NDArray[np.bool_], grid: Grid, box: Box
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read off the parts of a mask, the largest first; parts under a tenth of the largest do not count.

    Args:
        mask: (Z, Y, X) on a canonical grid.
        grid: the mask's grid.
        box: the mask's tight box, LPS mm.

    Returns:
        (P, 2, 3) low and high corner (x, y, z) of each part's box in fractions of ``box``; (P, 32, 5) rows t, x0, y0,
        x1, y1 of its profile in fractions of its own box, at equal steps. P is 0 for a mask in one part.
    """
    parts = large_components(mask)
    if len(parts) < 2:
        return NO_BOXES, NO_PROFILES
    corners, profiles = [], []
    for part in parts:
        own = mask_box(part, grid)
        corners.append((np.array([own.min, own.max]) - box.min) / box.size)
        profiles.append(at_equal_steps(slice_profile(part, grid, own), ROWS))
    return np.asarray(corners, dtype=np.float32), np.asarray(profiles, dtype=np.float32)


def usual_parts(templates: Sequence[StructureTemplate]) -> int:
    """Count the parts of a structure: the median of its templates, the larger of two middle ones.

    Parts that touch in a template are one there, so it is enough that half of the templates show several.
    """
    return median_high(template.parts for template in templates)


def mean_parts(templates: Sequence[StructureTemplate]) -> tuple[PartShape, ...]:
    """Average the parts of the templates that have the usual number of them; empty for a structure in one part."""
    return _mean_of(tuple(templates))


@lru_cache(maxsize=KEPT_STRUCTURES)
def _mean_of(templates: tuple[StructureTemplate, ...]) -> tuple[PartShape, ...]:
    count = usual_parts(templates)
    if count < 2:
        return ()
    first, *others = [template for template in templates if template.parts == count]
    boxes, profiles = [first.part_boxes], [first.part_profiles]
    for other in others:
        # Which part is which: the nearest ones belong together. Sizes do not tell a left kidney from a right one.
        apart = first.part_boxes.mean(axis=1)[:, None] - other.part_boxes.mean(axis=1)[None]
        _, order = linear_sum_assignment((apart**2).sum(axis=-1))
        boxes.append(other.part_boxes[order])
        profiles.append(other.part_profiles[order])
    corners = np.asarray(np.mean(boxes, axis=0))
    rows = np.asarray(np.mean(profiles, axis=0), dtype=np.float32)
    rows.setflags(write=False)
    return tuple(
        PartShape(tuple(low.tolist()), tuple(high.tolist()), own)
        for (low, high), own in zip(corners, rows, strict=True)
    )
