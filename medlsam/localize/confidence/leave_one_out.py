"""Leave-one-out: each template is located with the others, so that a template file knows its own errors.

Each template is searched alone in every other template's scan. Merged over the others, these candidates are the
result of ``locate`` without the scan's own mark; one by one they show which template does not fit (``outliers``). A
left-out scan has one template fewer than a new scan will have, so its errors are a little larger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box
from medlsam.localize.confidence.evidence import Evidence, collect_evidence
from medlsam.localize.confidence.outliers import CrossTable, diagnose
from medlsam.localize.confidence.status import status_model, uncalibrated
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.candidate import Candidate, merge_candidates
from medlsam.localize.search.consensus import consensus
from medlsam.localize.search.options import SearchOptions
from medlsam.localize.search.probe_trust import TRUSTS, along_axes, apply_probe, recommend_trust
from medlsam.localize.templates.template_set import (
    DEFAULT_TRUST,
    AxisTrust,
    StructureCalibration,
    StructureTemplate,
    TemplateSet,
    Trust,
)

#: The share of faces that lie within their margin.
MARGIN_LEVEL = 0.9
#: How many templates the usual error of the structure is worth against that of one face, and that of all structures
#: of the file against that of the structure (benchmarks/localize/status/fit_status.py prints what other values give).
STRUCTURE_WORTH = 8.0
FILE_WORTH = 4.0
#: How many templates the default margin is worth: three patients may all be easy ones.
DEFAULT_WORTH = 1.0
#: The paper's margin, [2, 10, 10] voxels of 3 mm along (z, y, x), for the faces x-, x+, y-, y+, z-, z+.
PAPER_MARGIN_MM = (30.0, 30.0, 30.0, 30.0, 6.0, 6.0)

Array = NDArray[np.float64]
#: (structure, template searched for, template in whose scan) to the candidate.
CrossCandidates = dict[tuple[str, str, str], Candidate]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """One structure of one template, located by the others.

    Attributes:
        structure: the structure.
        template: the one that was left out.
        error_mm: (6,) located face minus marked face, LPS mm.
        iou: of the boxes.
        evidence: of the candidate.
        probe_trust: how far the faces followed the probe: the best of all trials of the structure.
    """

    structure: str
    template: str
    error_mm: Array
    iou: float
    evidence: Evidence
    probe_trust: AxisTrust


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A left-out template before the structure's trust is chosen: faces by trust, LPS mm."""

    mark: StructureTemplate
    others: tuple[StructureTemplate, ...]
    candidate: Candidate
    faces: Mapping[Trust, Array]
    contrast: float | None


def calibrated(
    templates: TemplateSet, embeddings: Mapping[str, ScanEmbedding], options: SearchOptions | None = None
) -> TemplateSet:
    """Calibrate templates by locating them with each other: errors, margins, trust, and templates that do not fit.

    Args:
        templates: to calibrate.
        embeddings: template name to its embedded scan.
        options: of the search, the same as in later use.
    """
    return tried(templates, embeddings, options)[0]


def tried(
    templates: TemplateSet, embeddings: Mapping[str, ScanEmbedding], options: SearchOptions | None = None
) -> tuple[TemplateSet, list[LeftOut], CrossTable]:
    """Calibrate templates as ``calibrated`` does, and show what came of it face by face.

    Args:
        templates: to calibrate.
        embeddings: template name to its embedded scan.
        options: of the search, the same as in later use.

    Returns:
        The calibrated templates; each structure of each template, located by all others that have it; and the boxes
        that each template finds alone in each other's scan.
    """
    options = options or SearchOptions()
    candidates = locate_each_other(templates, embeddings, options)
    table = cross_table(templates, candidates)
    diagnosis = diagnose(table)
    scores = {
        template: {
            structure: float(diagnosis.scores[o, s])
            for o, structure in enumerate(table.structures)
            if np.isfinite(diagnosis.scores[o, s])
        }
        for s, template in enumerate(table.templates)
    }
    trials = leave_one_out(templates, embeddings, candidates, options)
    whole = replace(
        templates,
        calibration=calibrate(templates.structures, trials),
        issues=diagnosis.issues,
        outlier_scores={template: own for template, own in scores.items() if own},
    )
    return whole, trials, table


def locate_each_other(
    templates: TemplateSet, embeddings: Mapping[str, ScanEmbedding], options: SearchOptions
) -> CrossCandidates:
    """Search for each template's structures in every other template's scan, each template alone."""
    candidates: CrossCandidates = {}
    for target in templates.template_names:
        wanted = [
            (structure, s) for structure in templates.structures for s in templates.by_structure[structure]
        ]
        wanted = [(structure, template) for structure, template in wanted if template.template != target]
        if wanted:
            found = consensus(
                embeddings[target], [(template,) for _, template in wanted], templates.anchors, options
            )
            for (structure, template), candidate in zip(wanted, found, strict=True):
                candidates[structure, template.template, target] = candidate
    return candidates


def cross_table(templates: TemplateSet, candidates: CrossCandidates) -> CrossTable:
    """Tabulate the boxes of these candidates beside the templates' own."""
    structures, names = templates.structures, templates.template_names
    own = np.full((len(structures), len(names), 6), np.nan)
    found = np.full((len(structures), len(names), len(names), 6), np.nan)
    for o, structure in enumerate(structures):
        for template in templates.by_structure[structure]:
            own[o, names.index(template.template)] = template.box.faces
    for (structure, source, target), candidate in candidates.items():
        found[structures.index(structure), names.index(source), names.index(target)] = candidate.box.faces
    return CrossTable(structures, names, own, found)


def leave_one_out(
    templates: TemplateSet,
    embeddings: Mapping[str, ScanEmbedding],
    candidates: CrossCandidates,
    options: SearchOptions,
) -> list[LeftOut]:
    """Locate each structure of each template with all others that have it."""
    trials = []
    for structure in templates.structures:
        group = templates.by_structure[structure]
        attempts = []
        for mark in group:
            others = tuple(s for s in group if s.template != mark.template)
            if others:
                candidate = merge_candidates(
                    [candidates[structure, s.template, mark.template] for s in others]
                )
                faces, contrast = dict.fromkeys(TRUSTS, candidate.box.faces), None
                if options.probe:
                    faces, contrast = apply_probe(embeddings[mark.template], others, candidate.box, TRUSTS)
                attempts.append(_Attempt(mark, others, candidate, faces, contrast))
        errors = {
            trust: np.array([a.faces[trust] - a.mark.box.faces for a in attempts]).reshape(-1, 6)
            for trust in TRUSTS
        }
        trusts = recommend_trust(errors)
        for a in attempts:
            box = Box.from_faces(along_axes(a.faces, trusts))
            evidence = collect_evidence(embeddings[a.mark.template], a.others, a.candidate, box, a.contrast)
            error, iou = box.faces - a.mark.box.faces, box.iou(a.mark.box)
            trials.append(LeftOut(structure, a.mark.template, error, iou, evidence, trusts))
    return trials


def calibrate(organs: Sequence[str], left_out: Sequence[LeftOut]) -> dict[str, StructureCalibration]:
    """Summarize the trials of each structure.

    A structure with one template could not be tried and gets the figures of the file's others (n is 0). Where no
    structure could be tried, the defaults of ``status`` take their place (n is 0, too).

    Args:
        organs: the structures of the file.
        left_out: the trials.
    """
    if not left_out:
        return {structure: uncalibrated() for structure in organs}
    errors = {o: np.array([t.error_mm for t in left_out if t.structure == o]).reshape(-1, 6) for o in organs}
    widths = margins(errors)
    calibration = {}
    for structure in organs:
        own = [trial for trial in left_out if trial.structure == structure]
        used = own or left_out
        usual = _usual([trial.evidence for trial in used])
        calibration[structure] = StructureCalibration(
            n=len(own),
            face_error_mm=tuple(float(v) for v in np.abs([t.error_mm for t in used]).mean(axis=0)),
            margin_mm=tuple(float(v) for v in widths[structure]),
            similarity=usual["similarity"],
            iou=float(np.mean([t.iou for t in used])),
            usual=usual,
            probe_trust=own[0].probe_trust if own else DEFAULT_TRUST,
        )
    return calibration


def _usual(evidence: Sequence[Evidence]) -> dict[str, float]:
    """Take the median of each number: one template that does not fit must not shift the usual values."""
    rows = [e.to_dict() for e in evidence]
    names = {name for row in rows for name in row}
    return {name: float(np.median([row[name] for row in rows if name in row])) for name in sorted(names)}


def margins(
    errors: Mapping[str, Array], level: float = MARGIN_LEVEL, default_mm: float | None = None
) -> dict[str, Array]:
    """Compute margins that hold ``level`` of all faces of all structures (locally weighted conformal prediction).

    A handful of templates says little about one face and nothing about its tail. So only the usual error is taken per
    face, drawn towards that of the structure and of the file; the tail is pooled over all faces, structures and
    templates: each template's errors in units of those expected from the *others*, with the finite-sample correction.
    Margins from few templates are drawn towards the default margin.

    Args:
        errors: structure to (n, 6) face errors in mm; n may be 0.
        level: the share to cover, 0 to 1.
        default_mm: the margin where nothing could be tried; the shipped one where None.

    Returns:
        Structure to (6,) mm, the same both ways: a located face may lie that far inside or outside of the true one.
    """
    file = float(np.concatenate([np.abs(rows).ravel() for rows in errors.values()]).mean())
    scores = []
    for rows in errors.values():
        for index, row in enumerate(rows):
            rest = np.delete(rows, index, axis=0)
            scores.append(np.abs(row) / _scale(rest, file))
    ordered = np.sort(np.concatenate(scores))
    rank = min(len(ordered), int(np.ceil((len(ordered) + 1) * level)))
    default = status_model().margin_mm if default_mm is None else default_mm
    most = max(len(rows) for rows in errors.values())
    share = DEFAULT_WORTH / (most + DEFAULT_WORTH)
    return {
        structure: (1 - share) * ordered[rank - 1] * _scale(rows, file) + share * default
        for structure, rows in errors.items()
    }


def _scale(rows: Array, file: float) -> Array:
    """Compute the usual absolute error of each face (6,), mm, with a floor for marks that agree exactly.

    Args:
        rows: (n, 6) errors of the structure, mm; n may be 0.
        file: mean absolute error of all structures, mm.
    """
    size, count = np.abs(rows), len(rows)
    structure = (size.sum() + 6 * FILE_WORTH * file) / (6 * (count + FILE_WORTH))
    scale: Array = (size.sum(axis=0) + STRUCTURE_WORTH * structure) / (count + STRUCTURE_WORTH)
    return np.maximum(scale, 0.5)


def with_paper_margin(templates: TemplateSet) -> TemplateSet:
    """Replace each margin by the paper's fixed one, [2, 10, 10] voxels of 3 mm along (z, y, x)."""
    fixed = {
        structure: replace(c, margin_mm=PAPER_MARGIN_MM) for structure, c in templates.calibration.items()
    }
    return replace(templates, calibration=fixed)
