"""How well the scans marked so far agree, in words: which scan to look at, and at which end of the structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import FACES
from medlsam.localize.confidence.leave_one_out import LeftOut
from medlsam.localize.confidence.outliers import CrossTable
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.viewer.annotate.marks import FACE_WORDS

#: Less than this is what leave-one-out is off anyway where people differ, mm. benchmarks/viewer/agreement.py prints
#: how often the right face is named, and one that is right.
LEAST_MM = 20.0
#: A face stands out where no other scan is off by more than this share of it there.
NEXT_SHARE = 0.75
#: Fewer scans cannot tell which of them is off.
FEWEST = 3
#: With fewer scans, what nobody stands out in is told with a word of caution.
ENOUGH = 5
_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
# Where a mark lies that is off, by axis: towards the low coordinate, and towards the high one.
_TOWARDS = (("right", "left"), ("front", "back"), ("feet", "head"))


@dataclass(frozen=True)
class Disagreement:
    """One scan that does not fit the others on one structure.

    Attributes:
        case: the scan.
        number: of the scan in the session, from 1.
        structure: the structure.
        face: where the disagreement is largest.
        error_mm: there, where the others have the face minus where it is marked (along the axis, LPS).
    """

    case: str
    number: int
    structure: str
    face: str
    error_mm: float

    @property
    def message(self) -> str:
        """What disagrees by how much, and where to look."""
        towards = _TOWARDS[FACES.index(self.face) // 2][self.error_mm < 0]
        return (
            f"{ordinal(self.number)} ({self.case}) disagrees on the {self.structure} by {abs(self.error_mm):.0f} mm: "
            f"look at its {FACE_WORDS[self.face]}, which is marked further towards the {towards} than the other "
            "scans lead to expect; if it is right, leave it"
        )


@dataclass(frozen=True)
class Agreement:
    """How the scans so far agree.

    Attributes:
        disagreements: the largest first.
        issues: what else looks wrong (a swapped side, another organ, ...), in words with what to do.
        unknown: what cannot be known yet, and what would tell, a sentence for each structure.
        errors_mm: structure to how far its faces are off in each scan that could be tried, mean over the six faces, mm.
    """

    disagreements: tuple[Disagreement, ...] = ()
    issues: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    errors_mm: Mapping[str, Mapping[str, float]] | None = None

    @property
    def messages(self) -> tuple[str, ...]:
        """Everything in words, the most important first."""
        said = (*self.issues, *(each.message for each in self.disagreements), *self.unknown)
        if said:
            return said
        tried = sum(len(own) for own in (self.errors_mm or {}).values())
        if not tried:
            return ("no structure is complete in any scan yet, so nothing can be compared",)
        return (f"the scans agree: {tried} marked structures were located by the other scans",)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for a page."""
        return {
            "disagreements": [{**vars(each), "message": each.message} for each in self.disagreements],
            "issues": list(self.issues),
            "unknown": list(self.unknown),
            "errors_mm": {name: dict(own) for name, own in (self.errors_mm or {}).items()},
            "messages": list(self.messages),
        }


def agreement_of(
    templates: TemplateSet | None,
    trials: Sequence[LeftOut],
    table: CrossTable | None,
    scans: Sequence[str],
    structures: Sequence[str],
) -> Agreement:
    """Say how templates agree.

    Args:
        templates: of the complete scans, calibrated; None where there are none.
        trials: each structure of each scan, located by the others.
        table: the boxes that each template finds in each other's scan.
        scans: all scans of the session, in their order.
        structures: all structures of the session.
    """
    by_structure = templates.by_structure if templates is not None else {}
    disagreements, unknown = [], []
    errors: dict[str, dict[str, float]] = {}
    for structure in structures:
        own = [trial for trial in trials if trial.structure == structure]
        errors[structure] = {t.template: float(np.abs(t.error_mm).mean()) for t in own}
        if len(by_structure.get(structure, ())) < FEWEST:
            unknown.append(_too_few(structure, [t.template for t in by_structure.get(structure, ())], own))
        else:
            own_words = [] if table is None else _disagreements(structure, table, scans)
            disagreements += own_words
            if not own_words and len(own) < ENOUGH:
                unknown.append(
                    f"{structure}: none of {len(own)} scans stands out; with fewer than {ENOUGH} a mistake of a few "
                    "centimetres may still go unseen"
                )
    issues = tuple(issue.message for issue in templates.issues) if templates is not None else ()
    disagreements.sort(key=lambda each: -abs(each.error_mm))
    tried = {name: own for name, own in errors.items() if own}
    return Agreement(tuple(disagreements), issues, tuple(unknown), tried)


def ordinal(number: int) -> str:
    """``the third scan``, from 1."""
    return f"the {_ORDINALS[number - 1]} scan" if number <= len(_ORDINALS) else f"scan {number}"


def _too_few(structure: str, marked: Sequence[str], trials: Sequence[LeftOut]) -> str:
    if not marked:
        return f"{structure}: no scan has it complete yet, so nothing can be said"
    if len(marked) == 1 or not trials:
        return f"{structure}: only {marked[0]} has it complete; nothing can be compared yet: mark it in a second scan"
    face, error = max(
        ((face, abs(e)) for trial in trials for face, e in zip(FACES, trial.error_mm, strict=True)),
        key=lambda each: each[1],
    )
    names = " and ".join(marked)
    if error < LEAST_MM:
        return f"{structure}: {names} agree within {error:.0f} mm; whether both are right, a third scan will tell"
    return (
        f"{structure}: {names} differ by up to {error:.0f} mm, at the {FACE_WORDS[face]}; which of them is off, or "
        "whether the two people differ so much, cannot be known before a third scan is marked"
    )


def face_disagreements(table: CrossTable, structure: str) -> tuple[list[str], NDArray[np.float64]]:
    """How far each scan's marks lie from where all others would have them.

    Two scans are compared both ways: what the first one finds in the second against the second's mark, and the other
    way round. A scan disagrees by what it disagrees with the middle one of the others; where the others stand on both
    sides of it, by nothing. So one scan that is off does not make the others look off, from three scans on.

    Args:
        table: of the boxes that each template finds in each other's scan.
        structure: of the table.

    Returns:
        The scans that mark the structure, and (N, 6) mm: where the others have each face minus where it is marked.
    """
    o = table.structures.index(structure)
    rows = [n for n in range(len(table.templates)) if np.isfinite(table.own[o, n]).all()]
    # (source, target, 6): located by the source minus marked in the target.
    error = (table.found[o] - table.own[o][None])[np.ix_(rows, rows)]
    between = (error - error.transpose(1, 0, 2)) / 2
    found = np.zeros((len(rows), 6))
    for n in range(len(rows)):
        others = np.sort(np.delete(between[:, n], n, axis=0), axis=0)
        low, high = others[(len(others) - 1) // 2], others[len(others) // 2]
        found[n] = np.where(low * high > 0, np.where(abs(low) < abs(high), low, high), 0.0)
    return [table.templates[n] for n in rows], found


def _disagreements(structure: str, table: CrossTable, scans: Sequence[str]) -> list[Disagreement]:
    """At most one for each scan: its worst face, where no other scan is nearly as far off."""
    names, errors = face_disagreements(table, structure)
    size = abs(errors)
    found = []
    for row, name in enumerate(names):
        others = np.delete(size, row, axis=0).max(axis=0)
        stands_out = (size[row] >= LEAST_MM) & (others <= NEXT_SHARE * size[row])
        if stands_out.any():
            face = int(np.argmax(np.where(stands_out, size[row], -1.0)))
            found.append(
                Disagreement(name, scans.index(name) + 1, structure, FACES[face], float(errors[row, face]))
            )
    return found
