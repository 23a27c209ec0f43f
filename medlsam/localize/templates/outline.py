"""The outline of a structure of which six extreme points are known, and no mask: a box for each of its slices.

The structure holds, near enough, the convex hull of its extreme points, and lies in their box. So the box of a slice
lies between the hull's section there and the whole box. A compact structure fills the box far better than its hull
does (an ellipsoid has 3.1 times the hull's volume), while the hull of a bent tube is mostly not the tube: the less of
the box the hull fills, the nearer to the hull the outline stays.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import ExtremePoints

#: Rows of an outline, at equal steps along z.
ROWS = 32
# Chosen on training scans (docs/decisions/viewer/0079-templates-of-points.md): how much of the way from the hull to the
# box is gone, for each share of the box that the hull's slices fill; and what is added at each side, in edges.
_GROWTH, _MOST, _MARGIN = 1.0, 0.5, 0.06


def outline_of_points(points: ExtremePoints, rows: int = ROWS) -> NDArray[np.float32]:
    """Estimate the box of every slice from six extreme points.

    Args:
        points: LPS mm, of a structure whose box has some extent along each axis.
        rows: how many, at equal steps along z.

    Returns:
        (rows, 5) rows ``t, x0, y0, x1, y1`` as of a template's profile: t in 0..1 from the low to the high z face, the
        rest in fractions of the box.
    """
    box = points.box
    # Only where points are called after the wrong face do they lie outside of their own box.
    places = np.clip((points.array - np.asarray(box.min)) / np.asarray(box.size), 0, 1)
    t = (np.arange(rows) + 0.5) / rows
    sides = np.stack([_section(places, float(level)) for level in t])
    low, high = sides[:, :2], sides[:, 2:]
    growth = min(_GROWTH * float((high - low).prod(axis=1).mean()), _MOST)
    low = np.clip(low - growth * low - _MARGIN, 0, 1)
    high = np.clip(high + growth * (1 - high) + _MARGIN, 0, 1)
    return np.column_stack([t, low, high]).astype(np.float32)


def _section(places: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """The box (x0, y0, x1, y1) of what a plane of constant z cuts from the hull of some points."""
    level = float(np.clip(level, places[:, 2].min(), places[:, 2].max()))
    # The section's corners lie on lines between two points, one on each side of the plane.
    cuts = [point[:2] for point in places if point[2] == level]
    for one, other in combinations(places, 2):
        if (one[2] - level) * (other[2] - level) < 0:
            cuts.append(one[:2] + (level - one[2]) / (other[2] - one[2]) * (other[:2] - one[:2]))
    return np.concatenate([np.min(cuts, axis=0), np.max(cuts, axis=0)])
