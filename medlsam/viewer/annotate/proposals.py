"""What the templates so far locate in a scan, offered as six points to accept or correct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medlsam.geometry import Box, ExtremePoints
from medlsam.results import LocatedStructure, Status

#: The other five points of a proposal lie at least this share of an edge inside of each face.
_INSIDE = 0.01


@dataclass(frozen=True)
class Proposal:
    """One structure as the templates locate it in a scan.

    Attributes:
        structure: its name.
        status: see ``LocatedStructure``.
        confidence: 0 to 1.
        expected_error_mm: mean distance of a face from the truth that the templates lead to expect.
        points: six points, LPS mm, whose box is ``box``; None where it is missing or out of view.
        box: LPS mm, likewise.
    """

    structure: str
    status: Status
    confidence: float
    expected_error_mm: float | None
    points: ExtremePoints | None
    box: Box | None

    @classmethod
    def of(cls, located: LocatedStructure) -> Proposal:
        """The proposal that a located structure makes."""
        box = located.located_box if located.present else None
        points = None if box is None or located.points is None else _inside(located.points, box)
        if points is None:
            box = None
        return cls(located.name, located.status, located.confidence, located.expected_error_mm, points, box)

    @property
    def message(self) -> str:
        """What was found, and what to do, in one sentence."""
        if self.status == "missing":
            return f"{self.structure} is not seen in this scan; if that is so, answer 'not in this scan'"
        if self.status == "out_of_view":
            return f"{self.structure} seems to lie outside of this scan; if that is so, answer 'not in this scan'"
        error = self.expected_error_mm
        expected = "" if error is None else f", its faces some {error:.0f} mm off"
        if self.status == "uncertain":
            return f"{self.structure} may be here{expected}; look at each face before you accept it"
        return f"{self.structure} is here{expected}; accept it, or correct it"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for a page."""
        return {
            "structure": self.structure,
            "status": self.status,
            "confidence": self.confidence,
            "expected_error_mm": self.expected_error_mm,
            "points": None if self.points is None else [list(point) for point in self.points.points],
            "box": None if self.box is None else {"min": list(self.box.min), "max": list(self.box.max)},
            "message": self.message,
        }


def _inside(points: ExtremePoints, box: Box) -> ExtremePoints:
    """The points, none outside of the box and each on its face: a reader of markups takes the box around all six."""
    margin = np.asarray(box.size) * _INSIDE
    array = np.clip(points.array, np.asarray(box.min) + margin, np.asarray(box.max) - margin)
    array[np.arange(6), np.arange(6) // 2] = box.faces
    return ExtremePoints(tuple((float(x), float(y), float(z)) for x, y, z in array))
