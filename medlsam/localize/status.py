"""From the numbers of a search to a status and a confidence: simple thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError
from medlsam.geometry import Box
from medlsam.localize.templates import OrganCalibration
from medlsam.results import Status

#: Stated defaults where nothing could be calibrated (one support only): mm per face, and similarity of a good answer.
DEFAULT_MARGIN_MM = 6.0
DEFAULT_SIMILARITY = 0.7
#: Below these shares of the leave-one-out similarity an answer is uncertain or missing.
UNCERTAIN_SHARE = 0.80
MISSING_SHARE = 0.60
#: An answer is out of view when less than this share of its box was scanned.
VIEW_SHARE = 0.25


@dataclass(frozen=True)
class Verdict:
    """Status, confidence and margin with the numbers behind them."""

    status: Status
    confidence: float
    expected_error_mm: float | None
    margin_mm: tuple[float, ...]
    details: dict[str, float]


def share_in_view(box: Box, view: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """The share of a box's volume that lies in the scanned region (LPS mm), 0 to 1."""
    try:
        common = box.intersection(Box(tuple(view[0]), tuple(view[1])))
    except GeometryError:
        return 0.0
    return common.volume / box.volume if common and box.volume > 0 else 0.0


def judge(
    box: Box,
    view: tuple[NDArray[np.float64], NDArray[np.float64]],
    similarity: float,
    disagreement_mm: float | None,
    spread_mm: float,
    calibration: OrganCalibration | None,
) -> Verdict:
    """Status and confidence of one answer.

    Args:
        box: as located, LPS mm.
        view: what was scanned, LPS mm (low, high).
        similarity: mean cosine at the answers, -1 to 1.
        disagreement_mm: mean absolute deviation of the supports' faces from their median; None with one support.
        spread_mm: spread of the coarse votes.
        calibration: leave-one-out figures of the structure.
    """
    usual = calibration.similarity if calibration else DEFAULT_SIMILARITY
    error = float(np.mean(calibration.face_error_mm)) if calibration else None
    margin = calibration.margin_mm if calibration else (DEFAULT_MARGIN_MM,) * 6
    ratio = similarity / max(usual, 1e-3)
    # A logistic in the share of the usual similarity, damped by how much the supports disagree.
    likeness = 1 / (1 + np.exp(-(ratio - MISSING_SHARE - 0.1) / 0.06))
    agreement = 1.0 if disagreement_mm is None else float(np.exp(-disagreement_mm / 30.0))
    confidence = float(np.clip(likeness * agreement, 0, 1))
    seen = share_in_view(box, view)
    status: Status
    if seen < VIEW_SHARE:
        status = "out_of_view"
    elif ratio < MISSING_SHARE:
        status = "missing"
    elif ratio < UNCERTAIN_SHARE or (disagreement_mm or 0.0) > 25.0:
        status = "uncertain"
    else:
        status = "found"
    details = {
        "similarity": similarity,
        "usual_similarity": usual,
        "vote_spread_mm": spread_mm,
        "in_view": seen,
    }
    if disagreement_mm is not None:
        details["support_disagreement_mm"] = disagreement_mm
    return Verdict(status, confidence, error, tuple(margin), details)
