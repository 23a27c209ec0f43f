"""Status, confidence and margin of a candidate, from its evidence.

Two small models, fitted by ``benchmarks/localize/status/fit_status.py`` and stored in ``status.json``: one says whether
the structure is there, the other how well its box will overlap the true one if it is. Their inputs are differences from
the values usual in leave-one-out among the templates, so one pair of models serves all structures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from medlsam.geometry import Box
from medlsam.localize.confidence.evidence import Evidence
from medlsam.localize.templates.template_set import StructureCalibration
from medlsam.results import Status

#: A structure that is not found is out of view, not missing, if less of its box or of its votes was scanned.
VIEW_SHARE = 0.5
#: A box of which less than this was scanned is out of view whatever else speaks for it.
LEAST_VIEW_SHARE = 0.25
#: Numbers compared with their usual value by difference, and those compared by ratio, with a floor in their unit.
BY_DIFFERENCE = ("similarity", "likeness", "surface", "contrast", "support", "relative")
BY_RATIO = {"inside": 0.03, "match_mm": 10.0, "position_mm": 10.0, "fit_mm": 4.0, "disagreement_mm": 2.0}


@dataclass(frozen=True)
class Verdict:
    """Status, confidence and margin with the numbers behind them."""

    status: Status
    confidence: float
    expected_error_mm: float | None
    margin_mm: tuple[float, ...]
    details: dict[str, float]


@dataclass(frozen=True)
class StatusModel:
    """The fitted constants.

    Attributes:
        presence: name of a feature to its weight in the log-odds that the structure is there, and ``bias``.
        overlap: the same for the expected box IoU.
        missing_below: probability of presence below which a structure is missing.
        uncertain_below: the same for uncertain.
        margin_mm: of every face where nothing could be calibrated (one template).
        error_mm: usual face error there.
        iou: usual overlap there.
        usual: usual evidence there.
    """

    presence: Mapping[str, float]
    overlap: Mapping[str, float]
    missing_below: float
    uncertain_below: float
    margin_mm: float
    error_mm: float
    iou: float
    usual: Mapping[str, float]


@lru_cache(maxsize=1)
def status_model() -> StatusModel:
    """The constants that ship with the package."""
    text = (resources.files("medlsam.localize.confidence") / "status.json").read_text(encoding="utf-8")
    return StatusModel(**json.loads(text)["model"])


def uncalibrated() -> StructureCalibration:
    """Make the default calibration of a structure with one template, which nothing can be tried with."""
    model = status_model()
    return StructureCalibration(
        n=0,
        face_error_mm=(model.error_mm,) * 6,
        margin_mm=(model.margin_mm,) * 6,
        similarity=model.usual["similarity"],
        iou=model.iou,
        usual=dict(model.usual),
    )


def verdict_details(evidence: Evidence, box: Box, calibration: StructureCalibration) -> dict[str, float]:
    """Collect the numbers that a verdict is made of, as ``LocatedStructure.details`` keeps them.

    Beside the evidence: ``usual_...`` of the numbers that are compared, ``usual_overlap`` (box IoU) and
    ``usual_error_mm``, and ``edge_length_mm``, the cube root of the box's volume.
    """
    compared = (*BY_DIFFERENCE, *BY_RATIO)
    return {
        **evidence.to_dict(),
        **{f"usual_{name}": float(calibration.usual[name]) for name in compared if name in calibration.usual},
        "usual_overlap": float(calibration.iou),
        "usual_error_mm": float(np.mean(calibration.face_error_mm)),
        "edge_length_mm": float(np.cbrt(box.volume)),
    }


def features(details: Mapping[str, float]) -> dict[str, float]:
    """Compute the inputs of both models: 0 is as usual, more is better; a missing number counts as usual.

    Cosines are compared by difference, distances by the log of the ratio. ``inside`` is one-sided: intensities more
    alike than usual prove nothing. ``overlap`` and ``size`` come from the templates: log-odds of the structure's
    usual IoU, and the log of the box's mean edge in units of the usual error.

    Args:
        details: from ``verdict_details``.
    """
    found = {}
    for name in BY_DIFFERENCE:
        usual = details.get(f"usual_{name}")
        found[name] = details[name] - usual if usual is not None and name in details else 0.0
    for name, floor in BY_RATIO.items():
        usual = details.get(f"usual_{name}")
        ratio = (usual + floor) / (details[name] + floor) if usual is not None and name in details else 1.0
        found[name.removesuffix("_mm")] = float(np.log(ratio))
    iou = float(np.clip(details["usual_overlap"], 0.05, 0.95))
    found["overlap"] = float(np.log(iou / (1 - iou)))
    found["inside"] = min(found["inside"], 0.0)
    found["size"] = float(np.log(max(details["edge_length_mm"], 1.0) / max(details["usual_error_mm"], 0.5)))
    return found


def probability(weights: Mapping[str, float], inputs: Mapping[str, float]) -> float:
    """Compute the logistic function of the weighted features plus ``bias``."""
    total = weights["bias"] + sum(weight * inputs[name] for name, weight in weights.items() if name != "bias")
    return float(1 / (1 + np.exp(-np.clip(total, -30, 30))))


def classify(
    evidence: Evidence, box: Box, calibration: StructureCalibration | None, model: StatusModel | None = None
) -> Verdict:
    """Classify one candidate: status, confidence and margin.

    ``out_of_view``: the box lies outside of the scan, or the structure is not found and its place is outside.
    ``missing``: it is not found, and its place was scanned. ``uncertain``: some evidence is lacking, or the box reaches
    beyond the edge of the scan, so that a part may be cut off. The confidence is the expected IoU of the box: the
    probability that the structure is there, times the overlap to expect if it is.

    Args:
        evidence: the candidate's.
        box: as located, LPS mm.
        calibration: leave-one-out figures of the structure; the stated defaults where None.
        model: the fitted constants; those that ship where None.
    """
    model = model or status_model()
    known = calibration or uncalibrated()
    details = verdict_details(evidence, box, known)
    inputs = features(details)
    presence, overlap = probability(model.presence, inputs), probability(model.overlap, inputs)
    return Verdict(
        status=_status(evidence, presence, model),
        confidence=presence * overlap,
        expected_error_mm=details["usual_error_mm"] if known.n else None,
        margin_mm=tuple(known.margin_mm),
        details={**details, "presence": presence, "expected_overlap": overlap},
    )


def _status(evidence: Evidence, presence: float, model: StatusModel) -> Status:
    if evidence.in_view < LEAST_VIEW_SHARE:
        return "out_of_view"
    if presence < model.missing_below:
        seen = min(evidence.in_view, evidence.votes_in_view)
        return "out_of_view" if seen < VIEW_SHARE else "missing"
    if presence < model.uncertain_below or evidence.edge_mm < 0:
        return "uncertain"
    return "found"
