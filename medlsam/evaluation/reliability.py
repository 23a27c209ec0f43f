"""Reliability: margins, confidence and status of the answers, compared with the truth.

A margin is promised per face (``prompt_box`` against ``box``) for 90 % of the faces, so the share that keeps the
promise is pooled over faces, and a rank correlation over answers: neither is a mean over structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from medlsam.evaluation.scores import StructureScore
from medlsam.geometry import FACES
from medlsam.measure.summary import summarize
from medlsam.results import Status

#: Those of a structure, and that of every structure in a case that failed.
STATUSES = (*get_args(Status), "failed")
#: Statuses that mean: the structure is not in the scan.
NOT_THERE = ("missing", "out_of_view")
#: Millimetres by which a face may pass its margin through rounding alone.
_ROUNDING_MM = 1e-6


def add_reliability(result: dict[str, Any], scores: Sequence[StructureScore]) -> None:
    """Add ``reliability`` to every structure of ``metrics.json``, and that of all answers to its ``mean``.

    ``mean`` also gets ``scored`` (structures and cases in all) and, in ``confidence_rank_correlation``, the mean
    of the structures' own correlations: what is left when confidence only tells easy structures from hard ones.

    Args:
        result: ``organs`` and ``mean``, as ``scores.aggregate`` gives them; changed in place.
        scores: what they were made from.
    """
    for name, structure in result["organs"].items():
        structure.update(reliability([score for score in scores if score.structure == name]))
    result["mean"].update(reliability(scores), scored=len(scores))
    own = [structure["confidence_rank_correlation"]["rho"] for structure in result["organs"].values()]
    result["mean"]["confidence_rank_correlation"]["within_structures"] = summarize(
        rho for rho in own if rho is not None
    )


def reliability(scores: Sequence[StructureScore]) -> dict[str, Any]:
    """Margins, confidence and status of one group of answers, in the form of ``metrics.json``."""
    shares, missing = statuses(scores)
    return {
        "coverage": coverage(scores),
        "confidence_rank_correlation": rank_correlation(scores),
        "status_shares": shares,
        "false_missing": missing,
        "face_error_mm": face_errors(scores),
    }


def coverage(scores: Sequence[StructureScore]) -> dict[str, Any]:
    """Share of faces whose true place lies within the promised margin of the located one.

    Args:
        scores: only those with status ``found`` and a promise count, six faces each.

    Returns:
        ``within``: share of faces with |located - true| at most the face's margin; ``reached``: share of faces
        that the box with its margin reaches or passes (a box that is too large reaches); ``margin_mm``: mean,
        std and n of the margins; ``n``: faces.
    """
    kept = [s for s in scores if s.status == "found" and s.errors_mm and s.margins_mm]
    if not kept:
        return {"within": None, "reached": None, "margin_mm": summarize(()), "n": 0}
    errors, margins = _stack([s.errors_mm for s in kept]), _stack([s.margins_mm for s in kept])
    return {
        "within": _share(np.abs(errors) <= margins + _ROUNDING_MM),
        "reached": _share(errors >= -margins - _ROUNDING_MM),
        "margin_mm": summarize(margins.ravel()),
        "n": errors.size,
    }


def rank_correlation(scores: Sequence[StructureScore]) -> dict[str, Any]:
    """Spearman's rho of confidence and IoU (0 where missed) over the cases that did not fail.

    Returns:
        ``rho``, None where it has no value (fewer than three answers, or all alike), and ``n``.
    """
    kept = [s for s in scores if s.status != "failed"]
    confidence, iou = [s.confidence for s in kept], [s.iou for s in kept]
    if len(kept) < 3 or len(set(confidence)) < 2 or len(set(iou)) < 2:
        return {"rho": None, "n": len(kept)}
    return {"rho": round(float(spearmanr(confidence, iou).statistic), 4), "n": len(kept)}


def statuses(scores: Sequence[StructureScore]) -> tuple[dict[str, float | None], float | None]:
    """Share of each status among structures that are in the scan, and the share called not there."""
    if not scores:
        return dict.fromkeys(STATUSES), None
    shares: dict[str, float | None] = {
        status: round(sum(s.status == status for s in scores) / len(scores), 4) for status in STATUSES
    }
    return shares, round(sum(s.status in NOT_THERE for s in scores) / len(scores), 4)


def face_errors(scores: Sequence[StructureScore]) -> dict[str, dict[str, Any]]:
    """Per face ``signed`` (positive: outside of the true face, the box is too large there) and ``absolute``, mm."""
    kept = [s.errors_mm for s in scores if s.errors_mm]
    errors = _stack(kept) if kept else np.zeros((0, 6))
    return {
        face: {"signed": summarize(column), "absolute": summarize(np.abs(column))}
        for face, column in zip(FACES, errors.T, strict=True)
    }


def _stack(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.asarray(rows, dtype=float)


def _share(held: NDArray[np.bool_]) -> float:
    return round(float(held.mean()), 4)
