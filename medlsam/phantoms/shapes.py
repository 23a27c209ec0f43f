"""Implicit shapes: arrays of coordinates in, signed distances in mm out (negative inside, approximate)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

# float32 wherever it is worth it; numpy may widen small intermediate results.
Array = NDArray[np.floating[Any]]
Coordinates = tuple[Array, Array, Array]
Node = tuple[float, float, float, float]
Nodes = tuple[Node, ...]


def ellipsoid(
    p: Coordinates,
    center: Sequence[float],
    radii: Sequence[float],
    power: float = 2.0,
    reach_mm: float = 30.0,
) -> Array:
    """Distance to an ellipsoid (``power`` 2) or superellipsoid (above 2: boxier), mm.

    Args:
        p: x, y, z arrays of one shape, mm.
        center: x, y, z of its middle, mm.
        radii: half axes along x, y, z, mm.
        power: exponent of the superellipsoid.
        reach_mm: how far from the surface the distance must be right; farther away it may be larger.
    """
    low = np.asarray(center, dtype=float) - radii - reach_mm
    part = _near(_ranges(p), low, low + 2 * (np.asarray(radii) + reach_mm))
    out = np.full(p[0].shape, np.float32(1e3))
    if part is not None:
        out[part] = _whole_ellipsoid((p[0][part], p[1][part], p[2][part]), center, radii, power)
    return out


def _whole_ellipsoid(p: Coordinates, center: Sequence[float], radii: Sequence[float], power: float) -> Array:
    total = np.zeros(p[0].shape, np.float32)
    fourth = np.zeros_like(total) if power > 2 else total
    slope = np.zeros_like(total)
    for axis, middle, radius in zip(p, center, radii, strict=True):
        scaled = (axis - np.float32(middle)) * np.float32(1.0 / radius)
        squared = scaled * scaled
        total += squared
        if power > 2:
            fourth += squared * squared
        squared *= np.float32(1.0 / radius**2)
        slope += squared
    root = np.sqrt(total)
    # Dividing by the gradient makes the distance right beside the surface, also of thin shapes.
    gradient = np.sqrt(slope) + np.float32(1e-6)
    near = (root + np.float32(1e-3)) / gradient
    if power > 2:
        root += np.float32(_squareness(power, 3)) * (np.sqrt(np.sqrt(fourth)) - root)
    return np.asarray((root - np.float32(1.0)) * near, dtype=np.float32)


def _squareness(power: float, dimensions: int) -> float:
    """The share of the 4-norm that, mixed with the 2-norm, has the diagonal of the given power.

    Square roots are many times faster than general powers.
    """
    round_one, square = dimensions**0.5, dimensions**0.25
    return float((round_one - dimensions ** (1.0 / power)) / (round_one - square))


def tube(
    p: Coordinates, nodes: Nodes, flatten: Sequence[float] = (1.0, 1.0, 1.0), reach_mm: float = 14.0
) -> Array:
    """Distance to a chain of tapered segments, mm.

    Args:
        p: x, y, z arrays of one shape (three axes), mm.
        nodes: (x, y, z, radius) along the chain, mm.
        flatten: factors that narrow the cross-section along x, y and z (2 halves it).
        reach_mm: how far from the surface the distance must be right; farther away it may be larger.
    """
    return _segments(p, list(itertools.pairwise(nodes)), flatten, reach_mm)


def _segments(
    p: Coordinates, segments: Sequence[tuple[Node, Node]], flatten: Sequence[float], reach_mm: float
) -> Array:
    factors = np.asarray(flatten, dtype=np.float64)
    best = np.full(p[0].shape, np.float32(1e3))
    ranges = _ranges(p)
    for start, stop in segments:
        ends = np.array([start[:3], stop[:3]])
        margin = (max(start[3], stop[3]) + reach_mm) / factors
        part = _near(ranges, ends.min(axis=0) - margin, ends.max(axis=0) + margin)
        if part is None:
            continue
        a, b = ends * factors
        ab = (b - a).astype(np.float32)
        inverse = np.float32(1.0 / max(float(np.dot(ab, ab)), 1e-6))
        px, py, pz = (
            axis[part] * np.float32(f) - np.float32(origin) if f != 1.0 else axis[part] - np.float32(origin)
            for axis, f, origin in zip(p, factors, a, strict=True)
        )
        along = (px * ab[0] + py * ab[1] + pz * ab[2]) * inverse
        np.clip(along, 0.0, 1.0, out=along)
        px -= along * ab[0]
        py -= along * ab[1]
        pz -= along * ab[2]
        px *= px
        py *= py
        pz *= pz
        px += py
        px += pz
        np.sqrt(px, out=px)
        px -= np.float32(start[3]) + along * np.float32(stop[3] - start[3])
        view = best[part]
        np.minimum(view, px, out=view)
    return best


def _ranges(p: Coordinates) -> list[list[tuple[Array, Array]]]:
    """Bounds of x, y and z in each layer along each array axis, from every sixth voxel of a layer."""
    step = 6
    out = []
    for axis in range(3):
        rest = tuple(k for k in range(3) if k != axis)
        sample = tuple(slice(None) if k == axis else slice(None, None, step) for k in range(3))
        layers = []
        for c in p:
            chosen = c[sample]
            # Past the last sampled voxel the coordinate can go on for up to five more.
            beyond = sum(abs(float(c.take(-1, k).flat[0] - c.flat[0])) / c.shape[k] for k in rest) * (
                step - 1
            )
            layers.append((chosen.min(axis=rest) - beyond, chosen.max(axis=rest) + beyond))
        out.append(layers)
    return out


def _near(
    ranges: list[list[tuple[Array, Array]]], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[slice, slice, slice] | None:
    """The index box outside which no voxel lies between ``low`` and ``high`` (x, y, z mm)."""
    part = []
    for layers in ranges:
        keep = np.ones(len(layers[0][0]), bool)
        for axis, (smallest, largest) in enumerate(layers):
            keep &= (largest > low[axis] - 2) & (smallest < high[axis] + 2)
        hits = np.flatnonzero(keep)
        if not len(hits):
            return None
        part.append(slice(int(hits[0]), int(hits[-1]) + 1))
    return part[0], part[1], part[2]


@lru_cache(maxsize=512)
def curve(nodes: Nodes, count: int) -> Nodes:
    """``count`` nodes on a smooth curve through the given ones (position and radius)."""
    array = np.asarray(nodes, dtype=float)
    steps = np.linalg.norm(np.diff(array[:, :3], axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-3))])
    dense = PchipInterpolator(length, array, axis=0)(np.linspace(0.0, length[-1], count))
    return tuple((float(r[0]), float(r[1]), float(r[2]), float(r[3])) for r in dense)


def plate(p: Coordinates, edge_a: Nodes, edge_b: Nodes, count: int) -> Array:
    """Distance to a curved plate between two edges, as ``count`` struts close to one another, mm."""
    struts = list(zip(curve(edge_a, count), curve(edge_b, count), strict=True))
    return _segments(p, struts, (1.0, 1.0, 1.0), 9.0)


def smooth_union(a: Array, b: Array, width: float) -> Array:
    """The union of two shapes with a fillet of about ``width`` mm."""
    k = np.float32(width)
    h = np.maximum(k - np.abs(a - b), np.float32(0.0)) / k
    return np.asarray(np.minimum(a, b) - h * h * k * np.float32(0.25), dtype=np.float32)


class Profile:
    """Cross-sections along z: half width, front, back and squareness, smooth between the given heights.

    Args:
        rows: (z, half width, front y, back y, power) from low to high z, mm.
    """

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        table = np.asarray(rows, dtype=float)
        self.low, self.high = float(table[0, 0]), float(table[-1, 0])
        # A fine lookup table: interpolating it linearly is much faster than evaluating the spline per voxel.
        self._knots = np.arange(self.low, self.high + 0.5, 1.0)
        values = PchipInterpolator(table[:, 0], table[:, 1:], axis=0)(self._knots).T
        values[3] = [_squareness(power, 2) for power in values[3]]
        self._values = values.astype(np.float32)

    def at(self, z: Array, column: int) -> Array:
        """The 0 half width, 1 front y, 2 back y or 3 squareness at heights ``z``, mm."""
        return np.asarray(np.take(self._values[column], self._index(z), mode="clip"), dtype=np.float32)

    def _index(self, z: Array) -> NDArray[np.intp]:
        # The knots are 1 mm apart, so an index replaces the binary search of np.interp.
        index = np.clip(z - np.float32(self.low), 0.0, len(self._knots) - 1)
        return np.asarray(index, dtype=np.intp)

    def distance(self, p: Coordinates, open_below: bool = False) -> Array:
        """In-slice distance to the outline, mm; above and below the table the distance to its ends.

        Args:
            p: x, y, z arrays of one shape, mm.
            open_below: whether the shape goes on below the table.
        """
        x, y, z = p
        index = self._index(z)
        half, front, back, square = (np.take(column, index, mode="clip") for column in self._values)
        depth = (back - front) * np.float32(0.5)
        u = np.abs(x) / half
        v = (y - front - depth) / depth
        u *= u
        v *= v
        size = np.sqrt(u * half * half + v * depth * depth)
        radius = np.sqrt(u + v) + np.float32(1e-3)
        u *= u
        v *= v
        radius += square * (np.sqrt(np.sqrt(u + v)) - radius)
        inside = size - size / radius
        inside = np.where(radius < np.float32(0.05), -np.minimum(half, depth), inside)
        beyond = z - np.float32(self.high)
        if not open_below:
            np.maximum(beyond, np.float32(self.low) - z, out=beyond)
        return np.asarray(np.maximum(inside, beyond), dtype=np.float32)
