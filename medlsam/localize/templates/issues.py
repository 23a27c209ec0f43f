"""Template issues: a template that does not fit the others, described for the person who marked it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from medlsam.geometry import Vector

Kind = Literal["another_organ", "exchanged", "left_right", "shifted", "flipped", "unlike"]
_TOWARDS = (("right", "left"), ("front", "back"), ("feet", "head"))


@dataclass(frozen=True)
class TemplateIssue:
    """One alarm of a template set. The file and ``template show --json`` call ``outlier_score`` ``misfit``.

    Attributes:
        templates: the template that does not fit; several where it is unclear which of them is wrong.
        organs: its structures that do not fit.
        kind: ``another_organ`` (the label holds another structure), ``exchanged`` (two labels have each other's
            name), ``left_right`` (the same with left and right, or a mirrored scan), ``shifted``, ``flipped`` (the scan
            is turned over along an axis), ``unlike`` (none of these).
        looks_like: the structure that is marked instead, where there is one.
        shift_mm: (x, y, z) LPS mm by which the marks lie off, for ``shifted``.
        axis: ``x``, ``y`` or ``z``, for ``flipped`` where it is known.
        outlier_score: distance from the others, in units of an alarm (1).
    """

    templates: tuple[str, ...]
    structures: tuple[str, ...]
    kind: Kind
    outlier_score: float
    looks_like: str | None = None
    shift_mm: Vector | None = None
    axis: str | None = None

    @property
    def message(self) -> str:
        """What is wrong and what to do, in one or two sentences."""
        structures = ", ".join(self.structures)
        if len(self.templates) > 1:
            return (
                f"{' and '.join(self.templates)} disagree on {structures} ({self._what(structures)} by the other's "
                "measure); it cannot be said which of them is wrong: look at them, or add a template"
            )
        return (
            f"{self.templates[0]} does not fit the other templates: {self._what(structures)}; {self._remedy}"
        )

    def _what(self, organs: str) -> str:
        if self.kind == "another_organ":
            return f"what is marked as {organs} looks like {self.looks_like}"
        if self.kind == "exchanged":
            return f"the labels of {organs} look exchanged"
        if self.kind == "left_right":
            return f"left and right look swapped in {organs} (or the scan is mirrored)"
        if self.kind == "shifted":
            assert self.shift_mm is not None
            return f"the marks of {organs} lie off by {_shift(self.shift_mm)}"
        if self.kind == "flipped" and self.axis is not None:
            return f"the scan looks turned over along {self.axis} ({organs})"
        if self.kind == "flipped":
            return f"nothing lies where it should ({organs}): a flipped scan, or marks of another one"
        return f"what is marked as {organs} looks like nothing of that name in the others"

    @property
    def _remedy(self) -> str:
        if self.kind in ("another_organ", "exchanged"):
            return "look at its label map and labels.json, and correct the label values or leave the template out"
        if self.kind == "left_right":
            return "exchange the labels, or correct the scan's orientation"
        if self.kind == "shifted":
            return "check that image and labels have the same origin, or mark it again"
        if self.kind == "flipped":
            return "correct the orientation in the scan's header, or leave the template out"
        return "look at it, and mark it again or leave the template out"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "supports": list(self.templates),
            "organs": list(self.structures),
            "kind": self.kind,
            "misfit": round(self.outlier_score, 2),
            "looks_like": self.looks_like,
            "shift_mm": None if self.shift_mm is None else [round(v, 1) for v in self.shift_mm],
            "axis": self.axis,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TemplateIssue:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: an unknown kind.
        """
        if data["kind"] not in get_args(Kind):
            raise ValueError(f"unknown kind of finding {data['kind']!r}")
        shift = data["shift_mm"]
        return cls(
            templates=tuple(data["supports"]),
            structures=tuple(data["organs"]),
            kind=data["kind"],
            outlier_score=float(data["misfit"]),
            looks_like=data["looks_like"],
            shift_mm=None if shift is None else (float(shift[0]), float(shift[1]), float(shift[2])),
            axis=data["axis"],
        )


def _shift(shift_mm: Vector) -> str:
    """``30 mm towards the head and 12 mm towards the left``: the parts that matter, the largest first."""
    largest = max(abs(v) for v in shift_mm)
    parts = [
        (abs(v), f"{abs(v):.0f} mm towards the {towards[v > 0]}")
        for v, towards in zip(shift_mm, _TOWARDS, strict=True)
        if abs(v) >= 0.3 * largest
    ]
    return " and ".join(text for _, text in sorted(parts, reverse=True))
