"""Agreement of two masks or two boxes, with one policy for empty masks.

| prediction  | reference   | outcome                                                                      |
|-------------|-------------|------------------------------------------------------------------------------|
| some voxels | some voxels | ``scored``                                                                   |
| empty       | some voxels | ``missed``: Dice, IoU and NSD are 0; HD95 has no value (nan)                 |
| some voxels | empty       | ``false_found``: counted; no figure has a value (all nan)                    |
| empty       | empty       | ``absent``: nothing to score (all nan)                                       |

A mean over cases leaves out figures without a value and states its own n; misses are counted beside it.
This is the policy of every function here (``mask_outcome``), of the evaluation and of the reports: a box without a
prediction is ``missed`` (IoU 0, no wall distance). What follows does not repeat it.

Surfaces are the voxels of a mask that share a face with the outside (beyond the array is outside);
distances are between voxel centres, each surface voxel counting once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from medlsam.errors import GeometryError
from medlsam.geometry import Box, tight_slices

Mask = NDArray[np.bool_]
NSD_TOLERANCE_MM = 2.0


class MaskOutcome(StrEnum):
    """The four cases of the empty-mask policy."""

    SCORED = "scored"
    MISSED = "missed"
    FALSE_FOUND = "false_found"
    ABSENT = "absent"


@dataclass(frozen=True)
class MaskScores:
    """The figures of one prediction against one reference; nan where there is no value."""

    outcome: MaskOutcome
    dice: float
    hd95_mm: float
    nsd: float


def mask_outcome(prediction: NDArray[Any], reference: NDArray[Any]) -> MaskOutcome:
    """Which case of the empty-mask policy a pair of masks is.

    Args:
        prediction: mask of any shape.
        reference: mask of the same shape.

    Raises:
        GeometryError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"masks of one grid are needed: the prediction has shape {prediction.shape}, "
            f"the reference {reference.shape}"
        )
    if reference.any():
        return MaskOutcome.SCORED if prediction.any() else MaskOutcome.MISSED
    return MaskOutcome.FALSE_FOUND if prediction.any() else MaskOutcome.ABSENT


def dice(prediction: NDArray[Any], reference: NDArray[Any]) -> float:
    """2|P∩R| / (|P| + |R|) of two masks, 0 to 1."""
    outcome = mask_outcome(prediction, reference)
    if outcome is not MaskOutcome.SCORED:
        return _without_overlap(outcome)
    a, b = prediction.astype(bool), reference.astype(bool)
    return 2.0 * int((a & b).sum()) / (int(a.sum()) + int(b.sum()))


def iou(prediction: NDArray[Any], reference: NDArray[Any]) -> float:
    """|P∩R| / |P∪R| of two masks, 0 to 1."""
    outcome = mask_outcome(prediction, reference)
    if outcome is not MaskOutcome.SCORED:
        return _without_overlap(outcome)
    a, b = prediction.astype(bool), reference.astype(bool)
    return int((a & b).sum()) / int((a | b).sum())


def hd95(prediction: NDArray[Any], reference: NDArray[Any], spacing_zyx: Sequence[float]) -> float:
    """The larger of the two directed 95th percentiles of the surface distances, mm.

    Args:
        prediction: mask (Z, Y, X).
        reference: mask (Z, Y, X).
        spacing_zyx: mm per voxel along each array axis; axes may differ.
    """
    return mask_scores(prediction, reference, spacing_zyx).hd95_mm


def nsd(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing_zyx: Sequence[float],
    tolerance_mm: float = NSD_TOLERANCE_MM,
) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within a tolerance of the other one.

    Args:
        prediction: mask (Z, Y, X).
        reference: mask (Z, Y, X).
        spacing_zyx: mm per voxel along each array axis.
        tolerance_mm: distance that still counts as agreement (inclusive).

    Returns:
        0 to 1.
    """
    return mask_scores(prediction, reference, spacing_zyx, tolerance_mm).nsd


def mask_scores(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    spacing_zyx: Sequence[float],
    tolerance_mm: float = NSD_TOLERANCE_MM,
) -> MaskScores:
    """Dice, HD95 and NSD together: the surfaces are found once, inside the masks' common box.

    Args:
        prediction: mask (Z, Y, X).
        reference: mask (Z, Y, X).
        spacing_zyx: mm per voxel along each array axis.
        tolerance_mm: of the NSD.
    """
    outcome = mask_outcome(prediction, reference)
    if outcome is not MaskOutcome.SCORED:
        overlap = _without_overlap(outcome)
        return MaskScores(outcome, overlap, math.nan, overlap)
    a, b = prediction.astype(bool, copy=False), reference.astype(bool, copy=False)
    crop = tight_slices(a | b)
    a, b = a[crop], b[crop]
    to_reference, to_prediction = surface_distances(a, b, spacing_zyx)
    far = max(float(np.percentile(to_reference, 95)), float(np.percentile(to_prediction, 95)))
    # Distances are sums of squared spacings: 2.0 mm must not fail a tolerance of 2.0 mm by rounding.
    limit = tolerance_mm + 1e-6
    near = int((to_reference <= limit).sum()) + int((to_prediction <= limit).sum())
    return MaskScores(outcome, dice(a, b), far, near / (len(to_reference) + len(to_prediction)))


def surface_distances(
    prediction: Mask, reference: Mask, spacing_zyx: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances in mm from each surface voxel of one mask to the nearest surface voxel of the other.

    Args:
        prediction: boolean (Z, Y, X), not empty.
        reference: boolean (Z, Y, X), not empty.
        spacing_zyx: mm per voxel along each array axis.

    Returns:
        ``(P,)`` from prediction to reference and ``(R,)`` from reference to prediction.
    """
    spacing = np.asarray(spacing_zyx, dtype=float)
    points = [np.argwhere(surface(mask)) * spacing for mask in (prediction, reference)]
    # A tree of surface voxels costs by surface; a distance transform by the volume between far masks.
    to_reference, _ = cKDTree(points[1]).query(points[0])
    to_prediction, _ = cKDTree(points[0]).query(points[1])
    return np.asarray(to_reference, dtype=float), np.asarray(to_prediction, dtype=float)


def surface(mask: Mask) -> Mask:
    """The voxels of a boolean mask that share a face with the outside; same shape."""
    return np.asarray(mask & ~binary_erosion(mask), dtype=bool)


def box_iou(prediction: Box | None, reference: Box) -> float:
    """Intersection over union of two boxes in mm; a prediction of None is missed."""
    return 0.0 if prediction is None else prediction.iou(reference)


def wall_distance(prediction: Box | None, reference: Box) -> float:
    """Mean absolute distance of the six faces, mm; a prediction of None is missed."""
    return math.nan if prediction is None else prediction.wall_distance(reference)


def _without_overlap(outcome: MaskOutcome) -> float:
    """Dice, IoU and NSD where a mask is empty."""
    return 0.0 if outcome is MaskOutcome.MISSED else math.nan
