"""A patient's visits, one after the other: every lesion followed, the targets' sum, the response.

The first visit is the baseline: its targets are chosen there (``targets``), and what is left is non-target. At every
later visit each lesion seen so far is looked for where the visit that showed it last says (``match``). What belongs to
nothing is new. The response then follows from plain numbers (``response``).

Nobody but a person can say that a non-target lesion has unequivocally progressed: here they are ``present`` or
``gone``; their diameters and volumes are told all the same.

A node below 10 mm at baseline is no lesion. The guideline leaves open when it becomes one; here it counts as a new
lesion once its short axis has 10 mm and is 5 mm longer than at baseline, so that a node that was measured a pixel
larger makes no progression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from medlsam.errors import UsageError
from medlsam.lesion.recist.anatomy import map_anatomy
from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.lesion.recist.match import BORDER_MM, Matching, match_mapped
from medlsam.lesion.recist.response import Findings, NonTarget, assess
from medlsam.lesion.recist.targets import MOST_TARGETS, choose_targets
from medlsam.lesion.recist.track import FollowUp, Sighting, Track
from medlsam.localize.protocol import ScanEmbedding
from medlsam.measure.lesions import LEAST_VOXELS

#: A node that was normal at baseline is a new lesion if it has grown by so much at least, mm.
NODE_GROWTH_MM = 5.0


@dataclass(frozen=True, eq=False)
class Visit:
    """One visit.

    Attributes:
        name: of the visit, for tables.
        lesions: measured, with their kinds; also small ones, see ``follow_up``.
        embedding: of the scan, from one localizer for all visits; None where the visit could not be read.
        slice_mm: thickness of the slices; their distance where None.
        unread: why the visit could not be read; it is then not evaluable.
    """

    name: str
    lesions: tuple[Lesion, ...]
    embedding: ScanEmbedding | None
    slice_mm: float | None = None
    unread: str = ""


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
        UsageError: fewer than two visits, a baseline that could not be read, more targets than RECIST has, or one that
            the baseline does not have.
    """
    if len(visits) < 2:
        raise UsageError(f"a follow-up needs a baseline and a later visit, got {len(visits)} visit(s)")
    baseline = visits[0]
    if baseline.embedding is None:
        raise UsageError(f"{baseline.name}: the baseline could not be read: {baseline.unread}")
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
    new = tuple(_new(tracks, number, least_voxels) for number in range(len(visits)))
    findings = [
        _findings(tracks, followed, number, len(new[number]), visit.unread)
        for number, visit in enumerate(visits)
    ]
    assessments = assess([track.kind.node for track in followed], findings)
    return FollowUp(
        tuple(visit.name for visit in visits),
        tracks,
        tuple(assessments),
        tuple(_sum([_target_mm(own, followed, n) for own in followed]) for n in range(len(visits))),
        tuple(_sum([own.sightings[n].volume_ml for own in followed]) for n in range(len(visits))),
        new,
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
    chosen = [known[number] for number in dict.fromkeys(targets)]
    if len(chosen) > MOST_TARGETS:
        raise UsageError(
            f"{baseline.name}: {len(chosen)} targets; RECIST 1.1 has at most {MOST_TARGETS} (the others are non-target "
            "lesions)"
        )
    return chosen


def _take(growing: list[_Growing], visits: Sequence[Visit], number: int, visit: Visit) -> None:
    """Add one visit to the tracks."""
    before = list(growing)
    if visit.embedding is None:
        for track in before:
            track.sightings.append(Sighting("not_evaluated"))
        return
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
        shown_there = visits[source].embedding
        assert shown_there is not None, "lesions come from visits that were read"
        assert visit.embedding is not None, "see _take"
        anatomy = map_anatomy(shown_there, visit.embedding)
        mapped[own] = anatomy.apply([last[index][1].measured.center for index in own])
        shown[own] = anatomy.shows(mapped[own], BORDER_MM)
    return match_mapped([lesion for _, lesion in last], mapped, shown, visit.lesions)


def _seen(lesions: list[Lesion], kind: Kind, distance_mm: float | None, other: tuple[int, ...]) -> Sighting:
    # The kind of the first visit decides which axis counts, whatever a later one calls it.
    diameters = [own.measured.perpendicular_mm if kind.node else own.measured.longest_mm for own in lesions]
    volume = sum(own.measured.volume_ml for own in lesions)
    return Sighting("measured", tuple(lesions), sum(diameters), volume, distance_mm, other)


def _new(tracks: Sequence[Track], number: int, least_voxels: int) -> tuple[int, ...]:
    """Ids of the tracks that count as new lesions at one visit."""
    return tuple(
        track.id
        for track in tracks
        if (track.role == "new" or (track.role == "normal node" and _grown(track, number)))
        and track.sightings[number].state == "measured"
        and _voxels(track.sightings[number]) >= least_voxels
        and not track.normal(number)
    )


def _findings(
    tracks: Sequence[Track], targets: Sequence[Track], number: int, new: int, unread: str
) -> Findings:
    others = [track for track in tracks if track.role == "non-target"]
    return Findings(
        tuple(_target_mm(track, targets, number) for track in targets),
        tuple(_non_target(track, number) for track in others),
        new,
        unread,
    )


def _voxels(sighting: Sighting) -> int:
    return sum(lesion.measured.voxels for lesion in sighting.lesions)


def _target_mm(track: Track, targets: Sequence[Track], number: int) -> float | None:
    """The diameter of a target; where it merged with another one it counts there, with anything else nowhere."""
    own = track.sightings[number]
    if own.state == "merged" and own.merged_into not in {other.id for other in targets}:
        return None
    return own.diameter_mm


def _grown(track: Track, number: int) -> bool:
    first, now = track.sightings[0].diameter_mm, track.sightings[number].diameter_mm
    return first is not None and now is not None and now - first >= NODE_GROWTH_MM


def _non_target(track: Track, number: int) -> NonTarget:
    state = track.sightings[number].state
    if state == "not_evaluated":
        return "not_evaluated"
    return "gone" if state == "vanished" or track.normal(number) else "present"


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None
