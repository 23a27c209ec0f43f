"""One lesion over all visits, and what a follow-up of all of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.lesion.recist.measurable import NORMAL_NODE_MM
from medlsam.lesion.recist.response import Assessment

#: ``not_yet``: before the visit that showed it first. ``merged``: it has become part of another lesion.
State = Literal["not_yet", "measured", "vanished", "not_evaluated", "merged"]

#: ``too small`` and a ``normal node`` of the baseline count as nothing; ``follow_up`` says when such a node is a new
#: lesion.
Role = Literal["target", "non-target", "normal node", "new", "too small"]


@dataclass(frozen=True)
class Sighting:
    """A lesion at one visit.

    Attributes:
        state: whether it is there.
        lesions: its lesions in that visit: one, several where it split, none where it is not there.
        diameter_mm: the one that counts, of several the sum; 0 where it is gone or merged, None where not evaluated.
        volume_ml: of all its lesions; None as above.
        distance_mm: from where the anatomy said it would be; None at the visit that showed it first.
        ambiguous: ids of other lesions that it might be instead; -1 stands for none of them.
        merged_into: id of the track that it has become part of.
    """

    state: State
    lesions: tuple[Lesion, ...] = ()
    diameter_mm: float | None = None
    volume_ml: float | None = None
    distance_mm: float | None = None
    ambiguous: tuple[int, ...] = ()
    merged_into: int | None = None


@dataclass(frozen=True)
class Track:
    """One lesion over all visits.

    Attributes:
        id: from 1, in the order of appearance.
        kind: as the visit says that showed it first.
        sightings: one a visit.
        alias: A, B, ... of the targets; empty for all others.
        small: whether it has too few voxels to be a lesion at every visit. It is followed all the same: a lesion that
            shrinks is not gone, and a speck that grows into one is not new.
    """

    id: int
    kind: Kind
    sightings: tuple[Sighting, ...]
    alias: str = ""
    small: bool = False

    @property
    def target(self) -> bool:
        """Whether its diameter counts in the sum."""
        return bool(self.alias)

    @property
    def first(self) -> int:
        """The number of the visit that showed it first."""
        return next(number for number, own in enumerate(self.sightings) if own.state != "not_yet")

    @property
    def role(self) -> Role:
        """What it counts as."""
        if self.target:
            return "target"
        if self.small:
            return "too small"
        if self.first:
            return "new"
        return "normal node" if self.normal(0) else "non-target"

    def normal(self, visit: int) -> bool:
        """Whether it is a node below 10 mm at a visit."""
        diameter = self.sightings[visit].diameter_mm
        return self.kind.node and diameter is not None and diameter < NORMAL_NODE_MM


@dataclass(frozen=True)
class FollowUp:
    """A patient's visits with every lesion followed.

    Attributes:
        visits: names, the baseline first.
        tracks: the lesions.
        assessments: the response at each visit after the baseline.
        sums_mm: sum of the targets' diameters at each visit; None where one was not evaluated, or there are none.
        volumes_ml: sum of their volumes, likewise.
        new: ids of the tracks that count as new lesions at each visit.
    """

    visits: tuple[str, ...]
    tracks: tuple[Track, ...]
    assessments: tuple[Assessment, ...]
    sums_mm: tuple[float | None, ...]
    volumes_ml: tuple[float | None, ...]
    new: tuple[tuple[int, ...], ...]
