"""What a person has to look at before believing the figures, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from medlsam.lesion.recist.follow_up import Visit
from medlsam.lesion.recist.lesion import NODES, Lesion
from medlsam.lesion.recist.measurable import measurability_of
from medlsam.lesion.recist.targets import MOST_PER_ORGAN
from medlsam.lesion.recist.track import FollowUp


def small_cautions(
    name: str,
    lesions: Sequence[Lesion],
    least_voxels: int,
    slice_mm: float | None = None,
    so: str = "is left out",
) -> Iterator[str]:
    """What is left out for having few voxels although its diameter is measurable: on coarse voxels 50 are many.

    Args:
        name: of the case or visit.
        lesions: all of its mask, small ones too.
        least_voxels: fewer are no lesion.
        slice_mm: thickness of the slices; their distance by default.
        so: what becomes of it.
    """
    for own in lesions:
        few = own.measured.voxels < least_voxels
        if few and measurability_of(own, slice_mm) == "measurable":
            yield (
                f"{name}: lesion {own.id} of {own.diameter_mm:.1f} mm {so}, since it has {own.measured.voxels} voxels "
                f"of at least {least_voxels}; --least-voxels says how many"
            )


def mask_cautions(name: str, lesions: Sequence[Lesion], kinds: str = "") -> Iterator[str]:
    """Of the mask of one case or visit.

    Args:
        name: of the case or visit.
        lesions: measured in it.
        kinds: the file that says their kinds; empty where there is none.
    """
    for value in sorted({own.measured.value for own in lesions if kinds and not str(own.kind)}):
        yield f"{name}: {kinds} does not say what value {value} is; it counts as a lesion that is no node"
    for own in (lesion.measured for lesion in lesions if lesion.measured.parts > 1):
        yield (
            f"{name}: value {own.value} lies in {own.parts} parts and counts as one lesion; where values are kinds of "
            "lesions, not lesions, say --instances connected"
        )


def follow_up_cautions(found: FollowUp, visits: Sequence[Visit], least_voxels: int) -> Iterator[str]:
    """Of a patient's follow-up.

    Args:
        found: from ``follow_up``.
        visits: that it was made of.
        least_voxels: that it was made with.
    """
    baseline = visits[0]
    named = {track.sightings[0].lesions[0].id for track in found.tracks if track.target}
    others = [lesion for lesion in baseline.lesions if lesion.id not in named]
    yield from small_cautions(baseline.name, others, least_voxels, baseline.slice_mm, "is no target")
    for track in found.tracks:
        if track.small and track.first:
            own = track.sightings[track.first].lesions[0]
            yield (
                f"{found.visits[track.first]}: lesion {own.id} was not there before, but never has {least_voxels} "
                "voxels: it does not count as new; --least-voxels says how many"
            )
    yield from _targets(found, baseline)
    for track in found.tracks:
        for name, sighting in zip(found.visits[1:], track.sightings[1:], strict=True):
            if track.target and any(own.measured.cut_off for own in sighting.lesions):
                yield f"{name}: target {track.alias} goes on outside of the scan: it may be larger than measured"
    for number, visit in enumerate(visits[1:], start=1):
        before = [track for track in found.tracks if track.first < number]
        if visit.unread or not before or any(track.sightings[number].lesions for track in before):
            continue
        why = ", but others are there: is it the same patient?" if visit.lesions else "; its mask is empty"
        yield f"{visit.name}: no lesion of an earlier visit is found again{why}"
    for track in found.tracks:
        for name, sighting in zip(found.visits, track.sightings, strict=True):
            for other in sighting.ambiguous:
                might = "might have vanished" if other < 0 else f"might be lesion {other} there"
                yield f"{name}: lesion {track.id} is lesion {sighting.lesions[0].id}, but it {might}: look at both"


def _targets(found: FollowUp, baseline: Visit) -> Iterator[str]:
    """Whether the targets are those that RECIST 1.1 would have."""
    targets = [track for track in found.tracks if track.target]
    for track in targets:
        judged = measurability_of(track.sightings[0].lesions[0], baseline.slice_mm)
        if judged != "measurable":
            yield f"{baseline.name}: target {track.alias} is {judged.replace('_', '-')}: none by RECIST 1.1"
    counts = Counter(track.kind.organ for track in targets)
    for organ, count in counts.items():
        if count > MOST_PER_ORGAN and organ != "unknown":
            where = organ if organ == NODES else f"in one organ ({organ})"
            yield f"{baseline.name}: {count} targets are {where}; RECIST 1.1 allows {MOST_PER_ORGAN}"
    unknown = [track for track in found.tracks if not track.first and track.kind.organ == "unknown"]
    if counts["unknown"] == MOST_PER_ORGAN < len(unknown):
        yield (
            f"{baseline.name}: nobody says the organ of {len(unknown)} lesions; they count as of one organ, so that at "
            f"most {MOST_PER_ORGAN} are targets, and none counts as a node: name their kinds, or choose targets"
        )
