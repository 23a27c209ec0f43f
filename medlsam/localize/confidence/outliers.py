"""Outliers: templates whose marks do not fit the others, and in what way.

Each template was located in every other template's scan, alone. A wrong mark is wrong both ways: searched in the
others it finds another place than they marked, and they find another place in its scan than it marked. The two errors
of a pair together give the displacement of one template's marks as measured by the other. A template is scored by its
better half of partners, so that one bad partner does not make it look bad. No image and no truth is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box
from medlsam.localize.templates.issues import TemplateIssue

Array = NDArray[np.float64]

#: Two good templates usually differ by this much along x, y and z: the most along z, where slices are thick and where a
#: structure ends is the most a matter of taste; in mm, or as a share of a large structure's size. This prior is worth
#: as much as this many pairs of templates.
USUAL_MM = (3.0, 4.0, 6.0)
USUAL_SHARE = 0.05
USUAL_PAIRS = 8
#: Displacements of this many times the usual raise an alarm (chosen by benchmarks/localize/status/bad_templates.py).
ALARM = 3.6
#: A box that overlaps what the others find by less than this share of the usual overlap raises an alarm, too.
ALARM_OVERLAP = 0.2
#: A label holds another structure when its box overlaps that one's by at least this much.
LOOKS_LIKE = 0.25
#: A shift that most structures of a template share counts from here on, mm.
COMMON_SHIFT_MM = 9.0
#: When this share of a template's structures is off, the issue is one of the whole template.
MOST = 0.6


@dataclass(frozen=True, eq=False)
class CrossTable:
    """Faces (x-, x+, y-, y+, z-, z+) of templates located in each other's scans, LPS mm; NaN where there is none.

    Attributes:
        organs: O names.
        templates: N names.
        own: (O, N, 6) the templates' own marks.
        found: (O, N, N, 6) by structure, template searched for (alone), and template in whose scan.
    """

    structures: tuple[str, ...]
    templates: tuple[str, ...]
    own: Array
    found: Array


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Outlier scores and the issues that follow from them.

    Attributes:
        scores: (O, N) distance of each template's structure from the others, in units of an alarm (1); NaN where it was
            not compared.
        issues: the alarms, the worst first.
    """

    scores: Array
    issues: tuple[TemplateIssue, ...]


def diagnose(table: CrossTable) -> Diagnosis:
    """Find the templates that do not fit the others (see the module).

    With two templates only their disagreement is certain; an issue then names both.
    """
    if len(table.templates) < 2:
        return Diagnosis(np.full(table.own.shape[:2], np.nan), ())
    shift, usual = _displacements(table)
    overlap = _overlaps(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        far = np.linalg.norm(shift / usual, axis=-1) / ALARM
        apart = ALARM_OVERLAP * _nanmedian(overlap, axis=1)[:, None] / np.maximum(overlap, 1e-3)
    scores = np.fmax(far, apart)
    located = _nanmedian(table.found, axis=1)  # (O, N, 6): what the others find in each scan
    issues: list[TemplateIssue] = []
    for number in range(len(table.templates)):
        issues += _explain(table, number, scores[:, number], shift[:, number], located[:, number])
    issues = _undecided(table, issues)
    return Diagnosis(scores, tuple(sorted(issues, key=lambda f: -f.outlier_score)))


def _displacements(table: CrossTable) -> tuple[Array, Array]:
    """Measure each template's displacement by its partners: (O, N, 3) mm, and the usual displacement (O, N, 3) mm."""
    error = table.found - table.own[:, None]
    moved = _common(error)
    pairs = (moved - moved.transpose(0, 2, 1, 3)) / 2  # found in t off by +d, and t's found in s off by -d
    count = len(table.templates)
    shift = np.full((len(table.structures), count, 3), np.nan)
    edges = _nanmedian(table.own[..., 1::2] - table.own[..., 0::2], axis=1)
    prior = np.fmax(USUAL_MM, USUAL_SHARE * edges)
    usual = np.repeat(prior[:, None], count, axis=1)
    for s in range(count):
        others = [t for t in range(count) if t != s]
        shift[:, s] = _low_median(pairs[:, s, others])
        rest = [pairs[:, t, u] for i, t in enumerate(others) for u in others[i + 1 :]]
        if rest:
            known = np.abs(np.stack(rest, axis=1))
            number = np.isfinite(known).sum(axis=1)
            spread = np.nan_to_num(1.48 * _nanmedian(known, axis=1))
            usual[:, s] = np.sqrt((USUAL_PAIRS * prior**2 + number * spread**2) / (USUAL_PAIRS + number))
    return shift, usual


def _common(error: Array) -> Array:
    """Compute how far both faces of an axis moved the same way, (..., 3) mm; 0 where they moved apart or together.

    The end of a structure is often a matter of taste (a spinal cord); a wrong label moves both ends.
    """
    low, high = error[..., 0::2], error[..., 1::2]
    moved: Array = np.where(
        low * high > 0, np.sign(low) * np.minimum(np.abs(low), np.abs(high)), 0 * low * high
    )
    return moved


def _low_median(values: Array) -> Array:
    """Take the value of median size along axis 1, per component, the smaller of two; NaN left out."""
    order = np.argsort(np.abs(values), axis=1)  # NaN last
    middle = np.maximum(np.isfinite(values).sum(axis=1, keepdims=True) - 1, 0) // 2
    index = np.take_along_axis(order, middle, axis=1)
    chosen: Array = np.take_along_axis(values, index, axis=1)[:, 0]
    return chosen


def _overlaps(table: CrossTable) -> Array:
    """Compute the box IoU of each template's marks with its partners' (O, N), by the better half of them, both ways."""
    structures, count = table.own.shape[:2]
    overlap = np.full((structures, count), np.nan)
    for o in range(structures):
        for s in range(count):
            both = [
                (_iou(table.found[o, s, t], table.own[o, t]) + _iou(table.found[o, t, s], table.own[o, s]))
                / 2
                for t in range(count)
                if t != s and np.isfinite(table.own[o, [s, t]]).all()
            ]
            if both:
                overlap[o, s] = sorted(both, reverse=True)[(len(both) - 1) // 2]
    return overlap


def _iou(one: Array, other: Array) -> float:
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return 0.0
    return Box.from_faces(one).iou(Box.from_faces(other))


def _nanmedian(values: Array, axis: int) -> Array:
    """Take the median of the finite values, NaN where there is none, without numpy's warning."""
    middle = np.ma.median(np.ma.masked_invalid(values), axis=axis)  # type: ignore[no-untyped-call]
    result: Array = np.ma.filled(np.ma.asarray(middle, dtype=float), np.nan)
    return result


def _explain(
    table: CrossTable, number: int, scores: Array, shift: Array, located: Array
) -> list[TemplateIssue]:
    """Explain why one template does not fit: first by a cause for most of its structures, then one by one."""
    own = table.own[:, number]
    comparable = [o for o in range(len(own)) if np.isfinite(scores[o])]
    bad = [o for o in comparable if scores[o] >= 1]
    name = (table.templates[number],)
    most = len(bad) >= max(3, MOST * len(comparable))
    structures = tuple(table.structures[o] for o in bad)
    worst = max((float(scores[o]) for o in bad), default=0.0)
    axis = _flipped_axis(table, number, comparable) if most else None
    if axis is not None and axis != "x":
        return [TemplateIssue(name, structures, "flipped", worst, axis=axis)]
    common = _common_shift(shift[comparable]) if len(comparable) > 1 else None
    if common is not None:
        every = tuple(table.structures[o] for o in comparable)
        size = float(np.median(scores[comparable]))
        return [TemplateIssue(name, every, "shifted", max(size, 1.0), shift_mm=common)]
    like = {o: _looks_like(own[o], o, located) for o in bad}
    if most and sum(v is not None for v in like.values()) < len(bad) / 2:
        return [TemplateIssue(name, structures, "flipped", worst)]
    issues: list[TemplateIssue] = []
    swapped: list[int] = []
    for o, other in like.items():
        issue = TemplateIssue(name, (table.structures[o],), "unlike", float(scores[o]))
        if other is not None and like.get(other) == o:
            if other < o:
                continue
            issue = replace(
                issue, structures=(table.structures[o], table.structures[other]), kind="exchanged"
            )
            if _is_sideways(own[o], own[other]):
                swapped += [o, other]
                continue
        elif other is not None:
            issue = replace(issue, kind="another_organ", looks_like=table.structures[other])
        elif _iou(own[o] - np.repeat(shift[o], 2), located[o]) > max(0.3, 1.5 * _iou(own[o], located[o])):
            issue = replace(issue, kind="shifted", shift_mm=_vector(shift[o]))
        issues.append(issue)
    if swapped:
        structures = tuple(table.structures[o] for o in swapped)
        issues.append(TemplateIssue(name, structures, "left_right", float(max(scores[o] for o in swapped))))
    return issues


def _common_shift(shift: Array) -> tuple[float, float, float] | None:
    """Find the shift (mm) that most structures of a template share, if it is larger than usual."""
    middle = np.median(shift, axis=0)
    size = float(np.linalg.norm(middle))
    alike = np.linalg.norm(shift - middle, axis=1) < 0.6 * size
    if size < COMMON_SHIFT_MM or alike.mean() < 0.5 or alike.sum() < 2:
        return None
    return _vector(middle)


def _vector(values: Array) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))


def _looks_like(own: Array, structure: int, located: Array) -> int | None:
    """Find the other structure that the other templates locate at the marked place."""
    overlaps = [0.0 if o == structure else _iou(own, faces) for o, faces in enumerate(located)]
    best = int(np.argmax(overlaps))
    if overlaps[best] < LOOKS_LIKE or overlaps[best] < 2 * _iou(own, located[structure]):
        return None
    return best


def _is_sideways(one: Array, other: Array) -> bool:
    """Whether two boxes of similar size lie beside each other, left and right."""
    first, second = Box.from_faces(one), Box.from_faces(other)
    apart = np.abs(np.subtract(first.center, second.center))
    ratio = np.divide(first.size, np.maximum(second.size, 1e-3))
    return bool(apart[0] > 1.5 * apart[1:].max() and (ratio > 0.5).all() and (ratio < 2.0).all())


def _flipped_axis(table: CrossTable, number: int, organs: list[int]) -> str | None:
    """Find the axis along which a template's structures lie in the reverse of the others' order, if there is one."""
    centres = table.own[organs].reshape(len(organs), len(table.templates), 3, 2).mean(axis=-1)
    centres = centres - np.nanmean(centres, axis=0)
    others = _nanmedian(np.delete(centres, number, axis=1), axis=1)
    here = centres[:, number]
    known = np.isfinite(here).all(axis=1) & np.isfinite(others).all(axis=1)
    if known.sum() < 3:
        return None
    here, others = here[known] - here[known].mean(axis=0), others[known] - others[known].mean(axis=0)
    slope = (here * others).sum(axis=0) / np.maximum((others**2).sum(axis=0), 1.0)
    return "xyz"[int(slope.argmin())] if slope.min() < -0.5 else None


def _undecided(table: CrossTable, issues: list[TemplateIssue]) -> list[TemplateIssue]:
    """Merge the issues where half or more of a structure's templates are accused, since none can be trusted more."""
    decided: list[TemplateIssue] = []
    for issue in issues:
        holders = [
            n
            for n, _ in enumerate(table.templates)
            if all(np.isfinite(table.own[table.structures.index(o), n]).all() for o in issue.structures)
        ]
        accused = {f.templates[0] for f in issues if set(f.structures) & set(issue.structures)}
        if len(accused) < 2 or 2 * len(accused) < len(holders):
            decided.append(issue)
        elif not any(
            set(f.templates) == accused and set(f.structures) & set(issue.structures) for f in decided
        ):
            decided.append(replace(issue, templates=tuple(sorted(accused))))
    return decided
