"""Which lesion of a visit is which of the next: one to one, by where they lie in the anatomy.

Every lesion of the earlier visit is mapped into the later scan. The pairs are those of the least total cost, where a
pair costs the distance of the mapped centre from the other one's, and a little where the sizes or the organs differ; a
pair beyond the gate is none. What is left over is new or vanished, unless it lies inside a pair's lesion: then that one
split, or merged with its neighbour. A pair is ambiguous where another answer would have cost hardly more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from medlsam.geometry import Vector
from medlsam.lesion.recist.anatomy import AnatomyMap, map_anatomy
from medlsam.lesion.recist.lesion import Lesion
from medlsam.localize.protocol import ScanEmbedding

#: A pair's centres are at most so far apart, mm, and further for large lesions, which grow to one side: a share of the
#: larger one's radius.
GATE_MM, GATE_SHARE = 14.0, 0.5
#: What a volume that changed e-fold costs, mm, and what two different known organs cost.
SIZE_MM, ORGAN_MM = 1.5, 20.0
#: The other answer costs at most so much more, as a share of the gate.
AMBIGUOUS_SHARE = 0.25
#: How far a mapped place may be off when a lesion is looked for inside another, mm.
OFF_MM = 4.0
#: A place within this of the scan's border counts as not shown, mm.
BORDER_MM = 3.0


@dataclass(frozen=True)
class Match:
    """One lesion at two visits.

    Attributes:
        before: its place in the earlier visit's list.
        after: its place in the later visit's list.
        distance_mm: of the mapped centre from the later one.
        ambiguous: other places in the later visit's list that it might be instead; -1 stands for none of them, that it
            vanished and the other one is new.
    """

    before: int
    after: int
    distance_mm: float
    ambiguous: tuple[int, ...] = ()


@dataclass(frozen=True)
class Matching:
    """How the lesions of two visits correspond, as places in the two lists.

    Attributes:
        pairs: lesions that are the same.
        vanished: those of the earlier visit that are gone although the later scan shows their place.
        out_of_view: those of the earlier visit whose place the later scan does not show.
        new: those of the later visit that were not there.
        splits: lesion of the earlier visit to the further parts that it has later, besides that of its pair.
        merges: lesion of the earlier visit that has become part of a later one, which is paired with another.
        mapped: where each lesion of the earlier visit lies in the later scan, LPS mm.
    """

    pairs: tuple[Match, ...]
    vanished: tuple[int, ...]
    out_of_view: tuple[int, ...]
    new: tuple[int, ...]
    splits: dict[int, tuple[int, ...]]
    merges: dict[int, int]
    mapped: tuple[Vector, ...]


def match_lesions(
    lesions_a: Sequence[Lesion],
    embedding_a: ScanEmbedding,
    lesions_b: Sequence[Lesion],
    embedding_b: ScanEmbedding,
    anatomy: AnatomyMap | None = None,
) -> Matching:
    """Match the lesions of two visits of one person.

    Args:
        lesions_a: of the earlier visit.
        embedding_a: its scan, from ``Localizer.embed``.
        lesions_b: of the later visit.
        embedding_b: its scan, from the same localizer.
        anatomy: of these two scans, where it was made already.
    """
    anatomy = map_anatomy(embedding_a, embedding_b) if anatomy is None else anatomy
    mapped = anatomy.apply([lesion.measured.center for lesion in lesions_a])
    return match_mapped(lesions_a, mapped, anatomy.shows(mapped, BORDER_MM), lesions_b)


def match_mapped(
    lesions_a: Sequence[Lesion],
    mapped: NDArray[np.float64],
    shown: NDArray[np.bool_],
    lesions_b: Sequence[Lesion],
) -> Matching:
    """Match lesions whose places in the later scan are known.

    Args:
        lesions_a: of the earlier visit.
        mapped: (N, 3) LPS mm: where their centres lie in the later scan.
        shown: (N,) whether the later scan shows these places.
        lesions_b: of the later visit.
    """
    cost, distance = _costs(lesions_a, mapped, lesions_b)
    chosen = _assign(cost)
    pairs = tuple(
        Match(a, b, float(distance[a, b]), _alternatives(cost, chosen, a, b))
        for a, b in sorted(chosen.items())
    )
    partner = {match.after: match.before for match in pairs}
    splits: dict[int, tuple[int, ...]] = {}
    new = []
    for b, lesion in enumerate(lesions_b):
        if b in partner:
            continue
        place = np.asarray(lesion.measured.center)
        whole = _within(place, [(a, mapped[a], lesions_a[a]) for a in chosen])
        if whole is None:
            new.append(b)
        else:
            splits[whole] = (*splits.get(whole, ()), b)
    merges: dict[int, int] = {}
    gone = []
    for a in range(len(lesions_a)):
        if a in chosen:
            continue
        places = [(b, np.asarray(lesions_b[b].measured.center), lesions_b[b]) for b in partner]
        whole = _within(mapped[a], places)
        if whole is None:
            gone.append(a)
        else:
            merges[a] = whole
    return Matching(
        pairs,
        tuple(a for a in gone if shown[a]),
        tuple(a for a in gone if not shown[a]),
        tuple(new),
        splits,
        merges,
        tuple((float(x), float(y), float(z)) for x, y, z in mapped),
    )


def _radius(lesion: Lesion) -> float:
    """Of the ball of the same volume, mm."""
    return float(np.cbrt(3 * lesion.measured.volume_ml * 1000 / (4 * np.pi)))


def _costs(
    lesions_a: Sequence[Lesion], mapped: NDArray[np.float64], lesions_b: Sequence[Lesion]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(A, B) cost of each pair as a share of its gate, infinite from 1 on; and the distances, mm."""
    shape = (len(lesions_a), len(lesions_b))
    centres = np.array([lesion.measured.center for lesion in lesions_b]).reshape(-1, 3)
    distance = np.linalg.norm(mapped[:, None] - centres[None], axis=-1).reshape(shape)
    radius = [np.array([_radius(lesion) for lesion in own]) for own in (lesions_a, lesions_b)]
    gate = GATE_MM + GATE_SHARE * np.maximum(radius[0][:, None], radius[1][None])
    sizes = 3 * np.abs(np.log(np.maximum(radius[0][:, None], 0.1) / np.maximum(radius[1][None], 0.1)))
    other = np.array([[_differ(a, b) for b in lesions_b] for a in lesions_a], dtype=bool).reshape(shape)
    cost = (distance + SIZE_MM * sizes + ORGAN_MM * other) / gate
    return np.where((cost < 1) & (distance < gate), cost, np.inf), distance


def _differ(a: Lesion, b: Lesion) -> bool:
    """Whether both say what organ they are of, and not the same."""
    known = [lesion.kind.organ for lesion in (a, b) if lesion.node or lesion.kind.site]
    return len(known) == 2 and known[0] != known[1]


def _assign(cost: NDArray[np.float64]) -> dict[int, int]:
    """The pairs of the least total cost, where a lesion that is left over costs a half."""
    count_a, count_b = cost.shape
    if not count_a or not count_b:
        return {}
    # Everybody may stay single: with oneself in the added rows and columns.
    large = 1e6
    table = np.full((count_a + count_b,) * 2, large)
    table[:count_a, :count_b] = np.where(np.isfinite(cost), cost, large)
    table[np.arange(count_a), count_b + np.arange(count_a)] = 0.5
    table[count_a + np.arange(count_b), np.arange(count_b)] = 0.5
    table[count_a:, count_b:] = 0.0
    rows, columns = linear_sum_assignment(table)
    return {
        int(a): int(b)
        for a, b in zip(rows, columns, strict=True)
        if a < count_a and b < count_b and np.isfinite(cost[a, b])
    }


def _total(cost: NDArray[np.float64], chosen: dict[int, int]) -> float:
    left = sum(cost.shape) - 2 * len(chosen)
    return float(sum(cost[a, b] for a, b in chosen.items()) + 0.5 * left)


def _alternatives(cost: NDArray[np.float64], chosen: dict[int, int], a: int, b: int) -> tuple[int, ...]:
    """What the lesion would be if it were not this pair, where that costs hardly more."""
    without = cost.copy()
    without[a, b] = np.inf
    other = _assign(without)
    if _total(without, other) - _total(cost, chosen) >= AMBIGUOUS_SHARE:
        return ()
    return (other.get(a, -1),)


def _within(place: NDArray[np.float64], lesions: list[tuple[int, NDArray[np.float64], Lesion]]) -> int | None:
    """Which lesion's ellipsoid, as large as its box, holds a place: the one in whose middle it lies most."""
    depths = {}
    for index, centre, lesion in lesions:
        half = np.asarray(lesion.measured.box.size) / 2 + OFF_MM
        depths[index] = float((((place - centre) / half) ** 2).sum())
    best = min(depths, key=depths.__getitem__, default=None)
    return best if best is not None and depths[best] < 1 else None
