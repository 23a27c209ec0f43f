"""What the lesion demo found, and what was drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medlsam.lesion.propagate.run import PropagatedLesions
from medlsam.lesion.recist.cautions import follow_up_cautions
from medlsam.lesion.recist.follow_up import Visit
from medlsam.lesion.recist.lesion import Lesion
from medlsam.lesion.recist.response import Assessment
from medlsam.lesion.recist.track import FollowUp
from medlsam.measure.lesions import LEAST_VOXELS
from medlsam.phantoms.lesions import LesionPhantom, PhantomLesion


@dataclass(frozen=True)
class DemoVisit:
    """One visit: what was drawn and what was found of it.

    Attributes:
        name: of the visit.
        phantom: the scan and the truth.
        found: masks from one box each; their values are numbers of their own.
        truth: value in ``found`` to the lesion that was drawn.
        lesions: measured.
        dice: value to the overlap with the truth.
    """

    name: str
    phantom: LesionPhantom
    found: PropagatedLesions
    truth: dict[int, PhantomLesion]
    lesions: tuple[Lesion, ...]
    dice: dict[int, float]


@dataclass(frozen=True)
class LesionDemoResult:
    """A finished demo.

    Attributes:
        output: the folder.
        visits: the two visits.
        followed: the lesions matched, and the response.
        true_response: what the response would be with the true diameters of the same targets, and true matches.
        failed: visit and lesion to what went wrong.
        seconds: of each part of the demo.
    """

    output: Path
    visits: tuple[DemoVisit, ...]
    followed: FollowUp
    true_response: Assessment
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def response(self) -> Assessment:
        """The response at the second visit."""
        return self.followed.assessments[0]

    @property
    def exit_code(self) -> int:
        """0, or 1 where a lesion failed."""
        return 1 if self.failed else 0

    def matches(self) -> dict[int, bool]:
        """True id of each lesion to whether the follow-up is right about it: the same, gone, or new."""
        right: dict[int, bool] = {}
        for track in self.followed.tracks:
            ids = [
                {visit.truth[lesion.id].id for lesion in sighting.lesions}
                for visit, sighting in zip(self.visits, track.sightings, strict=True)
            ]
            for key in ids[0] | ids[1]:
                there = [any(lesion.id == key for lesion in visit.truth.values()) for visit in self.visits]
                right[key] = [key in own for own in ids] == there and len(ids[0] | ids[1]) == 1
        return right

    def cautions(self) -> list[str]:
        """What a reader would have to look at, as ``medlsam lesion follow-up`` says it."""
        visits = [Visit(visit.name, visit.lesions, None) for visit in self.visits]
        return list(follow_up_cautions(self.followed, visits, LEAST_VOXELS))

    def places(self) -> dict[str, Path]:
        """Where to look."""
        return {
            "report": self.output / "report.html",
            "pictures": self.output / "pictures",
            "follow-up": self.output / "followed",
            "what is what": self.output / "README.txt",
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        right = self.matches()
        return {
            "output": str(self.output),
            "places": {what: str(path) for what, path in self.places().items()},
            "lesions": [
                {"visit": visit.name, **_entry(visit, lesion, right)}
                for visit in self.visits
                for lesion in visit.lesions
            ],
            "matches_right": sum(right.values()),
            "matches": len(right),
            "response": self.response.overall.value,
            "true_response": self.true_response.overall.value,
            "sum_mm": [None if mm is None else round(mm, 2) for mm in self.followed.sums_mm],
            "true_sum_mm": [
                # All true diameters are known: there is no sum where there are no targets.
                None if self.true_response.sum_mm is None else round(mm or 0.0, 2)
                for mm in (self.true_response.nadir_mm, self.true_response.sum_mm)
            ],
            "cautions": self.cautions(),
            "failed": self.failed,
            "seconds": {part: round(seconds, 2) for part, seconds in self.seconds.items()},
            "exit_code": self.exit_code,
        }


def _entry(visit: DemoVisit, lesion: Lesion, right: dict[int, bool]) -> dict[str, Any]:
    truth = visit.truth[lesion.id]
    return {
        "id": truth.id,
        "kind": truth.kind,
        "organ": lesion.kind.site,
        "true_organ": truth.organ,
        "dice": round(visit.dice[lesion.id], 4),
        "longest_mm": round(lesion.measured.longest_mm, 2),
        "true_longest_mm": round(truth.longest_mm, 2),
        "perpendicular_mm": round(lesion.measured.perpendicular_mm, 2),
        "true_perpendicular_mm": round(truth.perpendicular_mm, 2),
        "volume_ml": round(lesion.measured.volume_ml, 3),
        "true_volume_ml": round(truth.volume_ml, 3),
        "match_right": right[truth.id],
    }
