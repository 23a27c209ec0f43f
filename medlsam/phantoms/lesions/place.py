"""Where a lesion can lie: inside its organ (or in the fat beside it), apart from the others, at every visit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medlsam.geometry import Vector
from medlsam.phantoms.generate import Anatomy
from medlsam.phantoms.layout import VALUES
from medlsam.phantoms.lesions.kinds import Kind
from medlsam.phantoms.lesions.lesion import PhantomLesion
from medlsam.phantoms.lesions.shape import LesionShape, lobulated_balls
from medlsam.phantoms.lesions.visit import Visitor

# Candidates are looked for on a grid no finer than this; the lesion itself is checked on the scan's own.
_SEARCH_MM = 2.5
_MARGIN_MM = 1.0
_GAP_MM = 3.0
_BESIDE_MM = 4.0
_FAT_HU = (-145.0, -55.0)
_TRIES, _SHRINK = 30, 0.82


@dataclass(frozen=True)
class Plan:
    """A lesion through all visits.

    Attributes:
        kind: of the lesion.
        organ: in or beside which it lies.
        factors: of its diameters at each visit, or None where it is not there.
        shape: at factor 1, in the posture of visit 0.
        centers: LPS mm at each visit, whether it is there or not.
    """

    kind: Kind
    organ: str
    factors: tuple[float | None, ...]
    shape: LesionShape
    centers: tuple[Vector, ...]

    def at(self, visit: int, person: Visitor, number: int = 0) -> PhantomLesion | None:
        """The lesion at one visit, with no HU yet; None where it is not there."""
        factor = self.factors[visit]
        if factor is None:
            return None
        shape = self.shape.turned(person.posture).scaled(factor)
        return PhantomLesion(
            number, self.kind.name, self.organ, self.centers[visit], shape, 0.0, 0.0, self.kind.beside
        )


class Places:
    """Finds places in the bodies of one person at several visits.

    Args:
        bodies: the person at each visit; the label maps are those of the organs.
        people: the person at each visit.
    """

    def __init__(self, bodies: Sequence[Anatomy], people: Sequence[Visitor]) -> None:
        self._bodies, self._people = bodies, people
        self._depths: dict[tuple[str, bool], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def find(
        self,
        kind: Kind,
        organ: str,
        factors: tuple[float | None, ...],
        others: Sequence[Plan],
        rng: np.random.Generator,
    ) -> Plan | None:
        """A lesion of a kind in an organ, as large as drawn or as there is room for; None where there is none.

        Args:
            kind: of the lesion.
            organ: a structure of the phantom.
            factors: of its diameters at each visit.
            others: what it must not touch.
            rng: draws size, shape and place.
        """
        points, depths = self._candidates(organ, kind.beside)
        if not len(points):
            return None
        largest = max(factor for factor in factors if factor is not None)
        low, high = kind.longest_mm
        longest = min(math.exp(rng.uniform(math.log(low), math.log(high))), 2.2 * depths.max() / largest)
        unit = _unit_shape(kind, rng)
        while longest >= low:
            shape = unit.scaled(longest / 2)
            room = np.flatnonzero(depths >= 0.8 * min(shape.radii_mm) * largest)
            for index in rng.permutation(room)[:_TRIES]:
                center = points[index] + rng.uniform(-0.5, 0.5, 3)
                plan = self._plan(kind, organ, factors, shape, center)
                if self._apart(plan, others) and all(self._fits(plan, v) for v in range(len(self._bodies))):
                    return plan
            longest *= _SHRINK
        return None

    def _plan(
        self,
        kind: Kind,
        organ: str,
        factors: tuple[float | None, ...],
        shape: LesionShape,
        center: NDArray[np.float64],
    ) -> Plan:
        place = self._people[0].place(center[None], organ)
        centers = [center, *(person.find(place, organ)[0] for person in self._people[1:])]
        return Plan(kind, organ, factors, shape, tuple((float(x), float(y), float(z)) for x, y, z in centers))

    def _apart(self, plan: Plan, others: Sequence[Plan]) -> bool:
        """Whether a lesion keeps its distance from others at all visits, also from those that are gone."""
        for other in others:
            for visit in range(len(self._people)):
                reach = sum(
                    max(p.shape.radii_mm) * max(f for f in p.factors if f is not None) for p in (plan, other)
                )
                if math.dist(plan.centers[visit], other.centers[visit]) < reach + _GAP_MM:
                    return False
        return True

    def _fits(self, plan: Plan, visit: int) -> bool:
        """Whether a lesion lies where it belongs at one visit."""
        body = self._bodies[visit]
        lesion = plan.at(visit, self._people[visit])
        if lesion is None:
            return True
        wider = replace(lesion, shape=lesion.shape.widened(_MARGIN_MM))
        first, last = _index_bounds(wider, body)
        if (first < 0).any() or (last >= body.grid.shape_zyx).any():
            return False
        part, distance = wider.distance_on(body.grid, 0.0)
        inside = distance < 0
        if not inside.any():
            return False
        labels = body.labels[part]
        if not plan.kind.beside:
            return bool((labels[inside] == VALUES[plan.organ]).all())
        if labels[inside].any() or not _is_fat(body.hu[part][inside]).all():
            return False
        return self._is_nearest(lesion, body)

    @staticmethod
    def _is_nearest(lesion: PhantomLesion, body: Anatomy) -> bool:
        """Whether a node's own organ is near, and no other structure as near."""
        reach = _BESIDE_MM + 2 * max(body.grid.spacing_xyz)
        part, distance = lesion.distance_on(body.grid, reach)
        labels = body.labels[part]
        mine = distance[labels == VALUES[lesion.organ]]
        theirs = distance[(labels != 0) & (labels != VALUES[lesion.organ])]
        nearest = mine.min(initial=math.inf)
        step = max(body.grid.spacing_xyz[:2])
        return bool(nearest <= _BESIDE_MM and theirs.min(initial=math.inf) > nearest + step)

    def _candidates(self, organ: str, beside: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, 3) LPS mm of places at visit 0, and (N,) mm how deep each lies inside what it may be in."""
        key = (organ, beside)
        if key not in self._depths:
            self._depths[key] = self._search(organ, beside)
        return self._depths[key]

    def _search(self, organ: str, beside: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        body = self._bodies[0]
        grid = body.grid
        steps = [max(1, int(_SEARCH_MM / s)) for s in grid.spacing_xyz[::-1]]
        sparse = tuple(slice(None, None, step) for step in steps)
        spacing = [step * s for step, s in zip(steps, grid.spacing_xyz[::-1], strict=True)]
        labels = body.labels[sparse]
        found = ndimage.find_objects((labels == VALUES[organ]).astype(np.uint8))
        if not found:
            return np.zeros((0, 3)), np.zeros(0)
        border = 30.0 if beside else 2 * _SEARCH_MM
        part = tuple(
            slice(max(0, s.start - math.ceil(border / mm)), s.stop + math.ceil(border / mm))
            for s, mm in zip(found[0], spacing, strict=True)
        )
        mine = labels[part] == VALUES[organ]
        allowed = (labels[part] == 0) & _is_fat(body.hu[sparse][part]) if beside else mine
        depth = ndimage.distance_transform_edt(np.pad(allowed, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
        chosen = allowed
        if beside:
            away = ndimage.distance_transform_edt(~mine, sampling=spacing)
            # The middle of a node is as far from the organ as it is large, and little more.
            chosen = allowed & (away < depth + _BESIDE_MM + _SEARCH_MM)
        kji = np.argwhere(chosen)
        ijk = (kji + [s.start for s in part])[:, ::-1] * steps[::-1]
        return grid.ijk_to_lps(ijk), depth[chosen]


def _unit_shape(kind: Kind, rng: np.random.Generator) -> LesionShape:
    """A shape whose longest half axis is 1 mm, at any angle."""
    turn = tuple(float(v) for v in Rotation.random(random_state=rng).as_matrix().ravel())
    form = rng.random()
    if form < kind.round:
        return LesionShape((1.0, 1.0, 1.0))
    b, c = rng.uniform(0.6, 0.95), rng.uniform(0.6, 0.95)
    lobulated = form < kind.round + kind.lobulated
    shape = LesionShape((1.0, float(b), float(c)), turn)
    return replace(shape, balls=lobulated_balls(rng)) if lobulated else shape


def _is_fat(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((hu > _FAT_HU[0]) & (hu < _FAT_HU[1]))


def _index_bounds(lesion: PhantomLesion, body: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last (z, y, x) index that a lesion reaches, also outside the grid."""
    half = lesion.shape.half_extent()
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    ijk = body.grid.lps_to_ijk(corners + np.asarray(lesion.center))
    return np.floor(ijk.min(axis=0))[::-1], np.ceil(ijk.max(axis=0))[::-1]
