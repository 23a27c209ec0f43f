"""Scores of one structure in one case, and their means in the form of ``metrics.json``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medlsam.geometry import Box
from medlsam.measure.metrics import MaskOutcome, MaskScores, box_iou, wall_distance
from medlsam.measure.summary import summarize
from medlsam.results import LocatedStructure

ROWS = ("located", "oracle_box", "oracle_slices", "shape_prior")
FIGURES = ("dice", "hd95_mm", "nsd")
STAGES = ("read", "embed", "locate", "encode", "decode", "write")
MISSED = MaskScores(MaskOutcome.MISSED, 0.0, math.nan, 0.0)
NOT_OFFERED = MaskScores(MaskOutcome.ABSENT, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class StructureScore:
    """One labelled, complete structure of one case.

    Attributes:
        case: the scan.
        structure: the structure.
        status: of the localization, or ``failed`` where the case failed.
        confidence: of the localization, 0 to 1.
        iou: of the box that is reported; 0 where missed.
        wall_distance_mm: of the same box; nan where missed.
        rows: per name in ``ROWS`` the mask's scores; ``NOT_OFFERED`` where the templates cannot give it.
        errors_mm: how far each face (x-, x+, y-, y+, z-, z+) of the box as located lies outside of the true one; empty
            where missed.
        margins_mm: the margin that the answer promises per face; empty where it promises none.
    """

    case: str
    structure: str
    status: str
    confidence: float
    iou: float
    wall_distance_mm: float
    rows: Mapping[str, MaskScores] = field(default_factory=dict)
    errors_mm: tuple[float, ...] = ()
    margins_mm: tuple[float, ...] = ()

    @property
    def missed(self) -> bool:
        """Whether the scan has the structure and no box was given."""
        return math.isnan(self.wall_distance_mm)


def score_box(case: str, name: str, structure: LocatedStructure | None, truth: Box) -> StructureScore:
    """Score the box of a structure; ``structure`` is None where the case failed or the structure was not looked for.

    Args:
        case: the scan.
        name: the structure.
        structure: the answer.
        truth: tight box of the label, LPS mm.
    """
    if structure is None:
        return StructureScore(case, name, "failed", 0.0, 0.0, math.nan, dict.fromkeys(ROWS, MISSED))
    box = structure.box if structure.present else None
    # Margins are promised for the box as located.
    located, promised = (structure.located_box, structure.prompt_box) if box is not None else (None, None)
    return StructureScore(
        case,
        name,
        structure.status,
        structure.confidence,
        box_iou(box, truth),
        wall_distance(box, truth),
        errors_mm=() if located is None else _outward(truth, located),
        margins_mm=() if located is None or promised is None else _outward(located, promised),
    )


def score_located(case: str, name: str, structure: LocatedStructure, truth: Box) -> StructureScore:
    """Score a structure's box as it was located, before its mask was made; see ``score_box``."""
    return score_box(case, name, replace(structure, box=structure.located_box), truth)


def _outward(inner: Box, outer: Box) -> tuple[float, ...]:
    """(6,) mm by which each face of ``outer`` lies outside of the same face of ``inner``; negative inside."""
    return tuple(float(v) for v in (outer.faces - inner.faces) * np.array([-1.0, 1.0] * 3))


def aggregate_boxes(scores: Sequence[StructureScore], order: Sequence[str]) -> dict[str, Any]:
    """``organs`` and ``mean`` with IoU, wall distance and misses only; structures in ``order``."""
    structures: dict[str, dict[str, Any]] = {
        name: {
            "n": len(own),
            "iou": summarize(score.iou for score in own),
            "wall_distance_mm": summarize(score.wall_distance_mm for score in own),
            "missed": sum(score.missed for score in own),
        }
        for name, own in _by_structure(scores, order).items()
    }
    across = {
        key: _across(structure[key]["mean"] for structure in structures.values())
        for key in ("iou", "wall_distance_mm")
    }
    mean = {"n": len(structures), **{key: value["mean"] for key, value in across.items()}, "spread": across}
    return {"organs": structures, "mean": mean}


def aggregate(
    scores: Sequence[StructureScore], false_found: Mapping[str, int], order: Sequence[str]
) -> dict[str, Any]:
    """``organs`` and ``mean`` of ``metrics.json``.

    Beside each figure of the contract ``spread`` repeats mean, std and n: over cases for a structure, over
    structures for the mean. HD95 and wall distance have no value where a structure is missed: a smaller n.

    Args:
        scores: one per structure and case that is scored.
        false_found: structure to number of scans that lack it and in which it was found.
        order: of the structures.
    """
    result = aggregate_boxes(scores, order)
    structures, mean = result["organs"], result["mean"]
    grouped = _by_structure(scores, order)
    for name in false_found:
        empty = {"n": 0, "iou": summarize(()), "wall_distance_mm": summarize(()), "missed": 0}
        structures.setdefault(name, empty)
    for name, structure in structures.items():
        structure["false_found"] = int(false_found.get(name, 0))
        spread = {figure: _rows(grouped.get(name, ()), figure) for figure in FIGURES}
        structure.update({figure: {row: spread[figure][row]["mean"] for row in ROWS} for figure in FIGURES})
        structure["spread"] = spread
    for figure in FIGURES:
        across = {row: _across(structure[figure][row] for structure in structures.values()) for row in ROWS}
        mean[figure] = {row: across[row]["mean"] for row in ROWS}
        mean["spread"][figure] = across
    return result


def aggregate_seconds(per_case: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Mean, std and n of the seconds of each stage over the cases that did not fail.

    The stages of the contract are always there, with 0 where a stage did not run; others come after them.
    """
    stages = dict.fromkeys([*STAGES, *(stage for seconds in per_case for stage in seconds)])
    return {stage: summarize(seconds.get(stage, 0.0) for seconds in per_case) for stage in stages}


def to_csv(scores: Sequence[StructureScore]) -> str:
    """One line per case and structure; a figure without a value is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{figure}_{row}" for figure in FIGURES for row in ROWS]
    writer.writerow(["case", "organ", "status", "confidence", "missed", "iou", "wall_distance_mm", *columns])
    for score in scores:
        figures = [getattr(score.rows.get(row, NOT_OFFERED), figure) for figure in FIGURES for row in ROWS]
        values = [score.confidence, score.iou, score.wall_distance_mm, *figures]
        confidence, *rest = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
        writer.writerow([score.case, score.structure, score.status, confidence, int(score.missed), *rest])
    return text.getvalue()


def _by_structure(scores: Sequence[StructureScore], order: Sequence[str]) -> dict[str, list[StructureScore]]:
    """Structure to its scores, without the structures that have none."""
    grouped = {name: [score for score in scores if score.structure == name] for name in order}
    return {name: own for name, own in grouped.items() if own}


def _rows(scores: Sequence[StructureScore], figure: str) -> dict[str, dict[str, Any]]:
    """Mean, std and n of a figure for each row of one structure."""
    table = {}
    for row in ROWS:
        own = [score.rows.get(row, NOT_OFFERED) for score in scores]
        # Templates either offer a row or do not: a miss must not stand as 0 in a row that does not exist.
        offered = not any(entry.outcome is MaskOutcome.ABSENT for entry in own)
        table[row] = summarize(getattr(entry, figure) for entry in own if offered)
    return table


def _across(values: Iterable[float | None]) -> dict[str, Any]:
    """Mean, std and n over the structures that have a value."""
    return summarize(value for value in values if value is not None)
