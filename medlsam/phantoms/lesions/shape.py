"""The shape of a lesion, and its true measures: analytic of ellipsoids, on a fine grid of lobulated ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

Matrix = tuple[float, ...]
#: One ball of a lobulated shape: centre x, y, z and radius, in units of the half axes.
Ball = tuple[float, float, float, float]
_ELLIPSOID: tuple[Ball, ...] = ((0.0, 0.0, 0.0, 1.0),)
_FINE_STEPS = 48


@dataclass(frozen=True)
class LesionShape:
    """An ellipsoid of any angle, or several of the same angle grown together.

    Attributes:
        radii_mm: half axes of the (enclosing) ellipsoid, mm.
        turn: (9,) row by row: columns are the directions of the half axes in LPS.
        balls: what the shape is the union of, where the (enclosing) ellipsoid is the unit ball. One unit ball
            is the ellipsoid itself.
    """

    radii_mm: tuple[float, float, float]
    turn: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    balls: tuple[Ball, ...] = _ELLIPSOID

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3): columns are the directions of the half axes in LPS."""
        return np.reshape(np.asarray(self.turn, dtype=float), (3, 3))

    @property
    def is_ellipsoid(self) -> bool:
        """Whether all measures have a formula."""
        return self.balls == _ELLIPSOID

    def scaled(self, factor: float) -> LesionShape:
        """The same shape, all its diameters times ``factor``."""
        x, y, z = (radius * factor for radius in self.radii_mm)
        return replace(self, radii_mm=(x, y, z))

    def widened(self, margin_mm: float) -> LesionShape:
        """The shape with a margin around it: its half axes grow by ``margin_mm``."""
        x, y, z = (radius + margin_mm for radius in self.radii_mm)
        return replace(self, radii_mm=(x, y, z))

    def turned(self, rotation: NDArray[np.float64]) -> LesionShape:
        """The shape turned by a (3, 3) rotation in LPS."""
        return replace(self, turn=tuple(float(v) for v in (rotation @ self.matrix).ravel()))

    def distance(self, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        """(...) mm, negative inside: distance of (..., 3) LPS mm from the centre to the surface.

        The sign is exact; the distance is right beside the surface and approximate farther away.
        """
        radii = np.asarray(self.radii_mm)
        unit = (offsets @ self.matrix) / radii
        best = np.full(offsets.shape[:-1], np.inf)
        for *center, radius in self.balls:
            local = unit - center
            length = np.linalg.norm(local, axis=-1)
            # |gradient| of the ball's distance in mm; at the very middle any finite value does.
            slope = np.linalg.norm(local / radii, axis=-1) / np.maximum(length, 1e-9)
            slope = np.where(length < 1e-9, 1 / radii.min(), slope)
            best = np.minimum(best, (length - radius) / slope)
        return best

    @cached_property
    def measures(self) -> tuple[float, float, float]:
        """Longest axial diameter (mm), the longest one perpendicular to it in the same slice (mm), volume (ml).

        Axial slices are planes of one LPS height. Of an ellipsoid the slice through its centre has the longest
        diameter, and all three have formulas. Of a lobulated shape the longest diameter joins two points of the
        outline (it may leave the shape between lobes) and the perpendicular is the longest chord within it.
        """
        if self.is_ellipsoid:
            long, short = _section_radii(np.asarray(self.radii_mm), self.matrix)
            return 2 * long, 2 * short, float(4 / 3 * np.pi * np.prod(self.radii_mm)) / 1000
        height, start, stop = self._longest_chord()
        along = (stop - start) / np.linalg.norm(stop - start)
        return (
            float(np.linalg.norm(stop - start)),
            self._longest_across(height, start, stop, along),
            self._fine_volume_ml(),
        )

    def half_extent(self) -> NDArray[np.float64]:
        """(3,) mm: half the LPS box of the (enclosing) ellipsoid."""
        return np.asarray(np.linalg.norm(self.matrix * np.asarray(self.radii_mm), axis=1))

    def _longest_chord(self) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Height of the slice from the centre, and the two ends of its diameter as (x, y) mm from the centre."""
        reach = float(self.half_extent()[2])
        best = (-1.0, 0.0, np.zeros(2), np.zeros(2))
        for height in np.linspace(-reach, reach, 4 * _FINE_STEPS + 1):
            outline = self._outline(float(height))
            if len(outline) < 3:
                continue
            corners = outline[ConvexHull(outline).vertices]
            lengths = squareform(pdist(corners))
            first, second = np.unravel_index(int(np.argmax(lengths)), lengths.shape)
            if lengths[first, second] > best[0]:
                best = (float(lengths[first, second]), float(height), corners[first], corners[second])
        return best[1:]

    def _outline(self, height: float) -> NDArray[np.float64]:
        """(N, 2) mm from the centre: points on the outlines of all balls in the slice at ``height``."""
        points = []
        angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        scaled = self.matrix * np.asarray(self.radii_mm)
        form = np.linalg.inv(scaled @ scaled.T)
        for *center, radius in self.balls:
            middle = scaled @ np.asarray(center)
            # x^T F x = radius^2 at one z: an ellipse about a middle that moves with the height.
            dz = height - middle[2]
            plane, cross = form[:2, :2], form[:2, 2]
            offset = -np.linalg.solve(plane, cross) * dz
            room = radius**2 - (form[2, 2] - cross @ np.linalg.solve(plane, cross)) * dz * dz
            if room <= 0:
                continue
            values, vectors = np.linalg.eigh(plane)
            points.append((middle[:2] + offset) + ((vectors * np.sqrt(room / values)) @ circle).T)
        return np.concatenate(points) if points else np.zeros((0, 2))

    def _longest_across(
        self,
        height: float,
        start: NDArray[np.float64],
        stop: NDArray[np.float64],
        along: NDArray[np.float64],
    ) -> float:
        across = np.array([-along[1], along[0]])
        length = float(np.linalg.norm(stop - start))
        steps, step = 4 * _FINE_STEPS, length / (4 * _FINE_STEPS)
        t = (np.arange(steps) + 0.5) * step
        s = (np.arange(-steps, steps) + 0.5) * step
        plane = start + t[:, None, None] * along + s[None, :, None] * across
        points = np.concatenate([plane, np.full((*plane.shape[:2], 1), height)], axis=-1)
        inside = self.distance(points) < 0
        return step * max(_longest_run(row) for row in inside)

    def _fine_volume_ml(self) -> float:
        # In the frame of the half axes, where the enclosing ellipsoid is a cube of two units.
        line = (np.arange(-_FINE_STEPS, _FINE_STEPS) + 0.5) / _FINE_STEPS
        x, y, z = line[:, None, None], line[None, :, None], line[None, None, :]
        inside = np.zeros((len(line),) * 3, bool)
        for cx, cy, cz, radius in self.balls:
            inside |= (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < radius**2
        share = np.count_nonzero(inside) / _FINE_STEPS**3
        return float(share * np.prod(self.radii_mm)) / 1000


def lobulated_balls(rng: np.random.Generator) -> tuple[Ball, ...]:
    """A core and five to eight lobes around it, all within the unit ball."""
    count = int(rng.integers(5, 9))
    # Spread over the sphere, so that lobes lie beside one another and not in one another.
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index + rng.uniform(0, 2 * np.pi)
    directions = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
    directions += rng.normal(0, 0.12, directions.shape)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sizes = rng.uniform(0.3, 0.42, count)
    reach = rng.uniform(0.88, 1.0, count)
    lobes = [(*(d * (r - s)), s) for d, s, r in zip(directions, sizes, reach, strict=True)]
    balls = [(0.0, 0.0, 0.0, 0.72), *lobes]
    return tuple((float(x), float(y), float(z), float(r)) for x, y, z, r in balls)


def _section_radii(radii: NDArray[np.float64], turn: NDArray[np.float64]) -> tuple[float, float]:
    """Half axes (long, short) of the axial section through the centre of an ellipsoid, mm."""
    form = turn @ np.diag(1 / radii**2) @ turn.T
    small, large = np.linalg.eigvalsh(form[:2, :2])
    return float(1 / np.sqrt(small)), float(1 / np.sqrt(large))


def _longest_run(row: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))
