"""One structure's answer in one scan: the extreme points placed so far, or that it is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from medlsam.errors import UsageError
from medlsam.geometry import FACES, Box, ExtremePoints, Vector

#: Each face of LPS in words: x grows to the patient's left, y to the back, z to the head.
FACE_WORDS = {
    "x-": "right side",
    "x+": "left side",
    "y-": "front",
    "y+": "back",
    "z-": "lower end",
    "z+": "upper end",
}
#: Further inside the box than this is off its face.
_ON_FACE_MM = 0.01


@dataclass(frozen=True)
class StructureMarks:
    """What is known of one structure in one scan. Places are LPS mm.

    The box is that around all points, as ``template build`` and Slicer's reader see it: no point of a structure lies
    outside of it. So a point that reaches further out than that of a face has the box end there (``notes`` says so).

    Attributes:
        faces: point of each face that has one, by ``x-``, ``x+``, ``y-``, ``y+``, ``z-``, ``z+``.
        loose: points whose face is open; they get faces when six points are there.
        absent: the answer "not in this scan"; then there is no point.
    """

    faces: Mapping[str, Vector] = field(default_factory=dict)
    loose: tuple[Vector, ...] = ()
    absent: bool = False

    @property
    def points(self) -> tuple[Vector, ...]:
        """All points, those of faces first in the order of ``FACES``."""
        return (*(self.faces[face] for face in FACES if face in self.faces), *self.loose)

    @property
    def array(self) -> NDArray[np.float64]:
        """(N, 3) LPS mm, in the order of ``points``."""
        return np.asarray(self.points, dtype=float).reshape(-1, 3)

    @property
    def missing(self) -> tuple[str, ...]:
        """The faces without a point, where the structure is not answered otherwise: the guide for the next click.

        Points whose face is open may still turn out to be some of these; ``remaining`` counts the clicks to go.
        """
        if self.absent or len(self.points) >= 6:
            return ()
        return tuple(face for face in FACES if face not in self.faces)

    @property
    def remaining(self) -> int:
        """How many points are still to be placed."""
        return 0 if self.absent else max(0, 6 - len(self.points))

    @property
    def box(self) -> Box | None:
        """The box around the points so far, LPS mm; None for fewer than two. An edge may be 0 long."""
        if len(self.points) < 2:
            return None
        low, high = self.array.min(axis=0).tolist(), self.array.max(axis=0).tolist()
        return Box(tuple(low), tuple(high))

    @property
    def complete(self) -> bool:
        """Whether it is a template: six points that span a volume."""
        return len(self.points) == 6 and not self._flat

    @property
    def answered(self) -> bool:
        """Whether nothing is left to do: complete, or not in this scan."""
        return self.absent or self.complete

    @property
    def extremes(self) -> ExtremePoints | None:
        """The six points, as a reader of the file orders them; None where the structure is not complete."""
        return ExtremePoints.from_unordered(self.array) if self.complete else None

    @property
    def off_box(self) -> dict[str, str]:
        """Face to the face (or ``a point``) whose point reaches further out, so that the box does not end at it."""
        box = self.box
        if box is None:
            return {}
        found = {}
        for face, point in self.faces.items():
            axis, sign = FACES.index(face) // 2, (-1.0, 1.0)[face[1] == "+"]
            further = {
                other: (place[axis] - point[axis]) * sign
                for other, place in self.faces.items()
                if other != face
            }
            if self.loose:
                further["a point"] = max((place[axis] - point[axis]) * sign for place in self.loose)
            if further and max(further.values()) > _ON_FACE_MM:
                found[face] = max(further, key=lambda other: further[other])
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know, in words."""
        words = []
        if len(self.points) > 6:
            words.append(
                f"{len(self.points)} points are placed; six are needed: remove {len(self.points) - 6}"
            )
        if len(self.points) == 6 and self._flat:
            words.append("the six points lie in one plane; move them to where the structure ends")
        for face, other in self.off_box.items():
            who = other if other not in FACE_WORDS else f"the point of the {FACE_WORDS[other]}"
            words.append(
                f"the point of the {FACE_WORDS[face]} is not on the box: {who} reaches further out, and the box ends "
                f"there; move one of them"
            )
        return tuple(words)

    @property
    def _flat(self) -> bool:
        return not np.ptp(self.array, axis=0).min() > 0

    def with_point(self, point: Vector, face: str | None = None) -> StructureMarks:
        """The same with one more point, or with that of a face replaced.

        Raises:
            UsageError: no such face, or six points are placed already.
        """
        if face is not None:
            checked_face(face)
            faces, loose = {**self.faces, face: point}, self.loose
            if face not in self.faces and len(self.points) >= 6:
                raise UsageError(_SIX)
        else:
            if len(self.points) >= 6:
                raise UsageError(_SIX)
            faces, loose = dict(self.faces), (*self.loose, point)
        return replace(self, faces=faces, loose=loose, absent=False).settled()

    def with_face_at(self, face: str, position_mm: float) -> StructureMarks:
        """The same with one face's point moved along the face's axis to this coordinate (LPS mm).

        A face that is dragged past the opposite one changes places with it.

        Raises:
            UsageError: no such face, or it has no point yet.
        """
        checked_face(face)
        if face not in self.faces:
            raise UsageError(f"the {FACE_WORDS[face]} ({face}) has no point yet; place one there first")
        moved = list(self.faces[face])
        moved[FACES.index(face) // 2] = float(position_mm)
        x, y, z = moved
        return replace(self, faces={**self.faces, face: (x, y, z)}).settled()

    def without_point(self, which: str | int) -> StructureMarks:
        """The same without the point of a face, or without a loose one by its number from 0.

        Raises:
            UsageError: there is no such point.
        """
        if isinstance(which, int):
            if not 0 <= which < len(self.loose):
                raise UsageError(f"there is no point {which} without a face; there are {len(self.loose)}")
            return replace(self, loose=self.loose[:which] + self.loose[which + 1 :])
        checked_face(which)
        if which not in self.faces:
            raise UsageError(f"the {FACE_WORDS[which]} ({which}) has no point")
        return replace(self, faces={face: p for face, p in self.faces.items() if face != which})

    def settled(self) -> StructureMarks:
        """The same with the faces that six points have: those that are open, by the smallest total misfit.

        All of them do where two faces are crossed: what lies further left is the left side, whatever it was called.
        """
        if len(self.points) != 6:
            return self
        if self.loose:
            known = dict(enumerate(face for face in FACES if face in self.faces))
            return replace(self, faces=assign_faces(self.points, known), loose=()).settled()
        if any(self.faces[f"{axis}-"][n] > self.faces[f"{axis}+"][n] for n, axis in enumerate("xyz")):
            return replace(self, faces=assign_faces(self.points))
        return self

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for a page."""
        return {
            "faces": {face: list(point) for face, point in self.faces.items()},
            "loose": [list(point) for point in self.loose],
            "absent": self.absent,
            "missing": list(self.missing),
            "remaining": self.remaining,
            "complete": self.complete,
            "box": None if (box := self.box) is None else {"min": list(box.min), "max": list(box.max)},
            "off_box": self.off_box,
            "notes": list(self.notes),
        }


_SIX = "six points are placed already; move one of them, or remove one first"


def assign_faces(points: Sequence[Vector], known: Mapping[int, str] | None = None) -> dict[str, Vector]:
    """Give each of six points a face so that the total misfit is smallest.

    The misfit of a point at a face is how far another point reaches beyond it there, mm.

    Args:
        points: six places, LPS mm, in any order.
        known: number of a point to its face, where that is settled.

    Returns:
        Face to point, in the order of ``FACES``.
    """
    known = known or {}
    array = np.asarray(points, dtype=float).reshape(6, 3)
    low, high = array.min(axis=0), array.max(axis=0)
    misfit = np.stack(
        [array[:, n // 2] - low[n // 2] if n % 2 == 0 else high[n // 2] - array[:, n // 2] for n in range(6)],
        axis=1,
    )
    rows = [n for n in range(6) if n not in known]
    columns = [n for n, face in enumerate(FACES) if face not in known.values()]
    found = {face: points[n] for n, face in known.items()}
    for row, column in zip(*linear_sum_assignment(misfit[np.ix_(rows, columns)]), strict=True):
        found[FACES[columns[column]]] = points[rows[row]]
    return {face: found[face] for face in FACES}


def checked_face(face: str) -> str:
    """The same face.

    Raises:
        UsageError: it is none.
    """
    if face not in FACES:
        raise UsageError(f"{face!r} is no face; faces are {', '.join(FACES)} (LPS)")
    return face
