"""A patient's visits, one after the other: every lesion followed, the targets' sum, the response.

The first visit is the baseline: its targets are chosen there (``targets``), and what is left is non-target. At every
later visit each lesion seen so far is looked for where the visit that showed it last says (``match``). What belongs to
nothing is new. The response then follows from plain numbers (``response``).

Nobody but a person can say that a non-target lesion has unequivocally progressed: here they are ``present`` or
``gone``; their diameters and volumes are told all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medlsam.errors import UsageError
from medlsam.lesion.recist.anatomy import map_anatomy
from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.lesion.recist.match import BORDER_MM, Matching, match_mapped
from medlsam.lesion.recist.measurable import NORMAL_NODE_MM
from medlsam.lesion.recist.response import Assessment, Findings, NonTarget, assess
from medlsam.lesion.recist.targets import choose_targets
from medlsam.localize.protocol import ScanEmbedding
from medlsam.measure.lesions import LEAST_VOXELS

#: ``not_yet``: before the visit that showed it first. ``merged``: it has become part of another lesion.
State = Literal["not_yet", "measured", "vanished", "not_evaluated", "merged"]

#: ``too small`` counts as nothing.
Role = Literal["target", "non-target", "new", "too small"]


@dataclass(frozen=True, eq=False)
class Visit:
    """One visit.

    Attributes:
        name: of the visit, for tables.
        lesions: measured, with their kinds; also small ones, see ``follow_up``.
        embedding: of the scan, from one localizer for all visits.
        slice_mm: thickness of the slices; their distance where None.
    """

    name: str
    lesions: tuple[Lesion, ...]
    embedding: ScanEmbedding
    slice_mm: float | None = None


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
        return "new" if self.first else "non-target"


@dataclass(frozen=True)
class FollowUp:
    """A patient's visits with every lesion followed.

    Attributes:
        visits: names, the baseline first.
        tracks: the lesions.
        assessments: the response at each visit after the baseline.
        sums_mm: sum of the targets' diameters at each visit; None where one was not evaluated.
        volumes_ml: sum of their volumes, likewise.
    """

    visits: tuple[str, ...]
    tracks: tuple[Track, ...]
    assessments: tuple[Assessment, ...]
    sums_mm: tuple[float | None, ...]
    volumes_ml: tuple[float | None, ...]


@dataclass
class _Growing:
    """A track while it is being made."""

    kind: Kind
    sightings: list[Sighting] = field(default_factory=list)

    def last_seen(self) -> tuple[int, Lesion]:
        """The last visit that showed it, and its largest lesion there."""
        number = max(n for n, own in enumerate(self.sightings) if own.lesions)
        return number, max(self.sightings[number].lesions, key=lambda own: own.measured.voxels)


def follow_up(
    visits: Sequence[Visit], targets: Sequence[int] | None = None, least_voxels: int = LEAST_VOXELS
) -> FollowUp:
    """Follow every lesion through a patient's visits.

    Args:
        visits: the baseline first, then in order of time.
        targets: ids of the baseline's lesions that a person chose; by default ``choose_targets`` does.
        least_voxels: what never has so many is followed but counts as nothing, and a new lesion counts from so many on.

    Raises:
        UsageError: fewer than two visits, or a target that the baseline does not have.
    """
    if len(visits) < 2:
        raise UsageError(f"a follow-up needs a baseline and a later visit, got {len(visits)} visit(s)")
    baseline = visits[0]
    chosen = _chosen(baseline, targets, least_voxels)
    growing: list[_Growing] = []
    for number, visit in enumerate(visits):
        _take(growing, visits, number, visit)
    ids = [lesion.id for lesion in baseline.lesions]
    alias = {ids.index(lesion.id): chr(ord("A") + rank) for rank, lesion in enumerate(chosen)}
    # Tracks of the baseline lie in the order of its lesions.
    tracks = tuple(
        Track(
            index + 1,
            own.kind,
            tuple(own.sightings),
            alias.get(index, ""),
            max(map(_voxels, own.sightings)) < least_voxels,
        )
        for index, own in enumerate(growing)
    )
    followed = sorted((track for track in tracks if track.target), key=lambda track: track.alias)
    findings = [_findings(tracks, followed, number, least_voxels) for number in range(len(visits))]
    assessments = assess([track.kind.node for track in followed], findings)
    return FollowUp(
        tuple(visit.name for visit in visits),
        tracks,
        tuple(assessments),
        tuple(_sum([_target_mm(own, followed, n) for own in followed]) for n in range(len(visits))),
        tuple(_sum([own.sightings[n].volume_ml for own in followed]) for n in range(len(visits))),
    )


def _chosen(baseline: Visit, targets: Sequence[int] | None, least_voxels: int) -> list[Lesion]:
    if targets is None:
        large = [lesion for lesion in baseline.lesions if lesion.measured.voxels >= least_voxels]
        return choose_targets(large, baseline.slice_mm)
    known = {lesion.id: lesion for lesion in baseline.lesions}
    unknown = sorted(set(targets) - set(known))
    if unknown:
        raise UsageError(
            f"{baseline.name}: there is no lesion {unknown[0]} to be a target; lesions: {', '.join(map(str, known))}"
        )
    return [known[number] for number in dict.fromkeys(targets)]


def _take(growing: list[_Growing], visits: Sequence[Visit], number: int, visit: Visit) -> None:
    """Add one visit to the tracks."""
    before = list(growing)
    matching = _matched(before, visits, number, visit)
    pairs = {pair.before: pair for pair in matching.pairs}
    for index, track in enumerate(before):
        if index in pairs:
            pair = pairs[index]
            own = [visit.lesions[b] for b in (pair.after, *matching.splits.get(index, ()))]
            other = tuple(-1 if b < 0 else visit.lesions[b].id for b in pair.ambiguous)
            track.sightings.append(_seen(own, track.kind, pair.distance_mm, other))
        elif index in matching.merges:
            whole = matching.merges[index]
            into = next(other for other, pair in pairs.items() if pair.after == whole)
            track.sightings.append(Sighting("merged", (), 0.0, 0.0, merged_into=into + 1))
        elif index in matching.vanished:
            track.sightings.append(Sighting("vanished", (), 0.0, 0.0))
        else:
            track.sightings.append(Sighting("not_evaluated"))
    for b in matching.new:
        lesion = visit.lesions[b]
        earlier = [Sighting("not_yet") for _ in range(number)]
        growing.append(_Growing(lesion.kind, [*earlier, _seen([lesion], lesion.kind, None, ())]))


def _matched(before: list[_Growing], visits: Sequence[Visit], number: int, visit: Visit) -> Matching:
    """Match the tracks with one visit, each from the visit that showed it last."""
    last = [track.last_seen() for track in before]
    mapped = np.zeros((len(before), 3))
    shown = np.zeros(len(before), bool)
    for source in sorted({at for at, _ in last}):
        own = [index for index, (at, _) in enumerate(last) if at == source]
        anatomy = map_anatomy(visits[source].embedding, visit.embedding)
        mapped[own] = anatomy.apply([last[index][1].measured.center for index in own])
        shown[own] = anatomy.shows(mapped[own], BORDER_MM)
    return match_mapped([lesion for _, lesion in last], mapped, shown, visit.lesions)


def _seen(lesions: list[Lesion], kind: Kind, distance_mm: float | None, other: tuple[int, ...]) -> Sighting:
    # The kind of the first visit decides which axis counts, whatever a later one calls it.
    diameters = [own.measured.perpendicular_mm if kind.node else own.measured.longest_mm for own in lesions]
    volume = sum(own.measured.volume_ml for own in lesions)
    return Sighting("measured", tuple(lesions), sum(diameters), volume, distance_mm, other)


def _findings(tracks: Sequence[Track], targets: Sequence[Track], number: int, least_voxels: int) -> Findings:
    # A node that is below 10 mm at baseline is no lesion, nor is a new one of that size.
    others = [track for track in tracks if track.role == "non-target" and not _normal(track, 0)]
    new = [
        track for track in tracks if track.role == "new" and _voxels(track.sightings[number]) >= least_voxels
    ]
    return Findings(
        tuple(_target_mm(track, targets, number) for track in targets),
        tuple(_non_target(track, number) for track in others),
        sum(not _normal(track, number) for track in new),
    )


def _voxels(sighting: Sighting) -> int:
    return sum(lesion.measured.voxels for lesion in sighting.lesions)


def _target_mm(track: Track, targets: Sequence[Track], number: int) -> float | None:
    """The diameter of a target; where it merged with another one it counts there, with anything else nowhere."""
    own = track.sightings[number]
    if own.state == "merged" and own.merged_into not in {other.id for other in targets}:
        return None
    return own.diameter_mm


def _normal(track: Track, number: int) -> bool:
    diameter = track.sightings[number].diameter_mm
    return track.kind.node and diameter is not None and diameter < NORMAL_NODE_MM


def _non_target(track: Track, number: int) -> NonTarget:
    state = track.sightings[number].state
    if state == "not_evaluated":
        return "not_evaluated"
    return "gone" if state == "vanished" or _normal(track, number) else "present"


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
