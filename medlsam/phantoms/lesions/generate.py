"""Phantoms with lesions: one scan, or several visits of one person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medlsam.errors import UsageError
from medlsam.phantoms.generate import Anatomy, anatomy, check_choices, scanned
from medlsam.phantoms.lesions.kinds import DARKEST_HU, KINDS, Kind
from medlsam.phantoms.lesions.lesion import LesionPhantom, PhantomLesion
from medlsam.phantoms.lesions.place import Places, Plan
from medlsam.phantoms.lesions.visit import Visitor
from medlsam.phantoms.person import Enhancement
from medlsam.volume import LabelMap

#: What becomes of the lesions from one visit to the next.
Course = Literal["mixed", "growing", "stable", "shrinking"]
#: By course: ranges of the factor of all diameters from one visit to the next; one is chosen for each lesion.
_FACTORS: dict[str, tuple[tuple[float, float], ...]] = {
    "mixed": ((0.55, 0.85), (0.97, 1.03), (1.15, 1.5)),
    "growing": ((1.25, 1.6),),
    "stable": ((0.97, 1.03),),
    "shrinking": ((0.45, 0.65),),
}
#: The label map has a byte for each voxel.
_MOST_LESIONS = 255
#: Chest and upper abdomen.
REGION = (250.0, 640.0)


def lesion_phantom(
    seed: int,
    lesions: int = 6,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    spacing_xyz: Sequence[float] = (2.0, 2.0, 3.0),
    region: str | tuple[float, float] = REGION,
    fov_mm: float | None = None,
    orientation: str | ArrayLike = "LPS",
    noise_hu: float = 15.0,
    table: bool = True,
    enhancement: Enhancement = "one",
) -> LesionPhantom:
    """Make a labelled CT-like volume of one body with lesions.

    The body is the one that ``medlsam.phantoms.phantom`` makes for the same seed and scan. One seed and one scan
    have the same lesions; another spacing or region may have others.

    Args:
        seed: the person and the lesions.
        lesions: how many; fewer where there is no room for them.
        kinds: names of ``KINDS``; each lesion is of one of them.
        spacing_xyz: voxel size, mm. Each 1.5 s at 3 mm in the region of the default, 3 s at the default spacing.
        region: see ``phantom``.
        fov_mm: see ``phantom``.
        orientation: see ``phantom``. Axial diameters are of planes of one LPS height, also where the grid is oblique.
        noise_hu: standard deviation of the noise in soft tissue, HU.
        table: whether the couch is in the picture.
        enhancement: see ``phantom``.

    Raises:
        UsageError: unknown kind, region or enhancement.
        GeometryError: a spacing or orientation that makes no grid.
    """
    return lesion_visits(
        seed, 1, lesions, kinds=kinds, spacing_xyz=spacing_xyz, region=region, fov_mm=fov_mm,
        orientation=orientation, noise_hu=noise_hu, table=table, enhancement=enhancement,
    )[0]  # fmt: skip


def lesion_visits(
    seed: int,
    visits: int = 2,
    lesions: int = 6,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    course: Course = "mixed",
    vanish: float = 0.15,
    new: float = 0.15,
    change: float = 1.0,
    spacing_xyz: Sequence[float] = (2.0, 2.0, 3.0),
    region: str | tuple[float, float] = REGION,
    fov_mm: float | None = None,
    orientation: str | ArrayLike = "LPS",
    noise_hu: float = 15.0,
    table: bool = True,
    enhancement: Enhancement = "one",
) -> list[LesionPhantom]:
    """Make scans of one person at several visits, between which lesions grow, shrink, vanish and appear.

    At later visits the person lies differently (shifted up to 25 mm, turned and bent by some degrees, 2 % larger or
    smaller), breathes differently, and the scan has another spacing and noise. A lesion goes with its organ and keeps
    its id and its proportions.

    Args:
        seed: the person and the lesions.
        visits: how many.
        lesions: how many there are in all, at any visit; fewer where there is no room for them.
        kinds: names of ``KINDS``; each lesion is of one of them.
        course: how diameters change from visit to visit: ``mixed`` (some shrink to 55 to 85 %, some grow to 115 to
            150 %, some stay within 3 %), all ``growing`` (125 to 160 %), ``stable`` (within 3 %) or ``shrinking``
            (45 to 65 %).
        vanish: chance of each lesion to be gone at some later visit, and from then on.
        new: chance of each lesion to appear at a later visit. At least one is there from the first.
        change: how much posture, breath, spacing and noise differ between visits: 1 for what is usual, 0 for not.
        spacing_xyz: voxel size at the first visit, mm; later ones differ by up to 20 %.
        region: see ``phantom``.
        fov_mm: see ``phantom``.
        orientation: see ``phantom``.
        noise_hu: standard deviation of the noise in soft tissue at the first visit, HU.
        table: whether the couch is in the picture.
        enhancement: see ``phantom``.

    Raises:
        UsageError: unknown kind, course, region or enhancement, no visit, or more lesions than a label map has values.
        GeometryError: a spacing or orientation that makes no grid.
    """
    chosen = _kinds(kinds)
    check_choices((), enhancement)
    if course not in get_args(Course):
        raise UsageError(f"the course is one of {', '.join(get_args(Course))}, got {course!r}")
    if visits < 1 or not 0 <= lesions <= _MOST_LESIONS:
        raise UsageError(
            f"lesion phantoms need at least one visit and 0 to {_MOST_LESIONS} lesions, got {visits} and {lesions}"
        )
    people = [Visitor(int(seed), enhancement, visit, change) for visit in range(visits)]
    rng = people[0].generator("lesions")
    scans = [_scan(person, spacing_xyz, noise_hu) for person in people]
    bodies = [
        anatomy(person, spacing, region, fov_mm, orientation)
        for person, (spacing, _) in zip(people, scans, strict=True)
    ]
    places = Places(bodies, people)
    plans: list[Plan] = []
    # Kinds in turn, so that a few lesions are of many kinds.
    order = [chosen[i] for _ in range(2 + 2 * lesions) for i in rng.permutation(len(chosen))]
    for kind in order[: 4 * lesions]:
        if len(plans) == lesions:
            break
        factors = _factors(rng, visits, course, vanish, new if plans else 0.0)
        for organ in rng.permutation(kind.organs):
            plan = places.find(kind, str(organ), factors, plans, rng)
            if plan is not None:
                plans.append(plan)
                break
    colors = [_color(plan, bodies[0], rng) for plan in plans]
    return [
        _drawn(person, body, noise, plans, colors, fov_mm, table)
        for person, body, (_, noise) in zip(people, bodies, scans, strict=True)
    ]


def _kinds(names: Sequence[str]) -> list[Kind]:
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names:
        raise UsageError(
            f"no kind of lesion is called {', '.join(unknown) or 'that'}; there are {', '.join(KINDS)}"
        )
    return [KINDS[name] for name in names]


def _scan(person: Visitor, spacing_xyz: Sequence[float], noise_hu: float) -> tuple[tuple[float, ...], float]:
    """Spacing and noise of one visit."""
    if person.visit == 0:
        return tuple(spacing_xyz), noise_hu
    rng = person.generator(f"scan {person.visit}")
    low, high = -0.2 * person.change, 0.2 * person.change
    plane, along = math.exp(rng.uniform(low, high)), math.exp(rng.uniform(low, high))
    factors = (plane, plane, along)
    return tuple(s * f for s, f in zip(spacing_xyz, factors, strict=True)), noise_hu * math.exp(
        rng.uniform(2 * low, 2 * high)
    )


def _factors(
    rng: np.random.Generator, visits: int, course: str, vanish: float, new: float
) -> tuple[float | None, ...]:
    """Of a lesion's diameters at each visit; None where it is not there."""
    # Always the same number of draws: whether one vanishes changes no other lesion.
    ranges = _FACTORS[course]
    low, high = ranges[int(rng.integers(len(ranges)))]
    steps = rng.uniform(low, high, max(visits - 1, 0))
    comes, goes = rng.random(2)
    first, last = rng.integers(1, visits, 2) if visits > 1 else (0, 0)
    factors: list[float | None] = [float(f) for f in np.cumprod([1.0, *steps])]
    if visits > 1 and comes < new:
        factors[:first] = [None] * int(first)
    elif visits > 1 and goes < vanish:
        factors[last:] = [None] * (visits - int(last))
    return tuple(factors)


def _color(plan: Plan, body: Anatomy, rng: np.random.Generator) -> tuple[float, float]:
    """HU of a lesion and its contrast to what surrounds it at the first visit."""
    offsets = np.array([[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if x or y or z])
    offsets = offsets / np.linalg.norm(offsets, axis=1, keepdims=True)
    ijk = body.grid.lps_to_ijk(np.asarray(plan.centers[0]) + offsets * (max(plan.shape.radii_mm) + 2))
    index = np.clip(np.rint(ijk).astype(int)[:, ::-1], 0, np.asarray(body.grid.shape_zyx) - 1)
    around = body.hu[tuple(index.T)]
    mine = body.labels[tuple(index.T)] == body.labels[_voxel(plan, body)]
    surround = float(np.median(around[mine] if mine.any() else around))
    if plan.kind.hu is not None:
        hu = float(rng.uniform(*plan.kind.hu))
    else:
        ranges = plan.kind.contrast
        hu = max(surround + float(rng.uniform(*ranges[int(rng.integers(len(ranges)))])), DARKEST_HU)
    return hu, hu - surround


def _voxel(plan: Plan, body: Anatomy) -> tuple[int, int, int]:
    i, j, k = np.rint(body.grid.lps_to_ijk(plan.centers[0])).astype(int)
    z, y, x = body.grid.shape_zyx
    return min(max(int(k), 0), z - 1), min(max(int(j), 0), y - 1), min(max(int(i), 0), x - 1)


def _drawn(
    person: Visitor,
    body: Anatomy,
    noise_hu: float,
    plans: Sequence[Plan],
    colors: Sequence[tuple[float, float]],
    fov_mm: float | None,
    table: bool,
) -> LesionPhantom:
    """Paint the lesions that are there at one visit, and scan the body."""
    lesions: list[PhantomLesion] = []
    values: NDArray[np.uint8] = np.zeros(body.grid.shape_zyx, np.uint8)
    for number, (plan, (hu, contrast)) in enumerate(zip(plans, colors, strict=True), start=1):
        lesion = plan.at(person.visit, person, number)
        if lesion is None:
            continue
        lesion = replace(lesion, hu=hu, contrast=contrast)
        part, distance = lesion.distance_on(body.grid)
        # A voxel that the surface cuts holds some of both.
        share = np.clip(0.5 - distance / float(np.prod(body.grid.spacing_xyz)) ** (1 / 3), 0, 1)
        under = body.hu[part]
        body.hu[part] = under + (hu - under) * share
        values[part][distance < 0] = number
        lesions.append(lesion)
    made = scanned(body, fov_mm, noise_hu=noise_hu, table=table)
    return LesionPhantom(
        made.image, made.labels, made.names, tuple(lesions), LabelMap(values, body.grid), person.visit
    )
