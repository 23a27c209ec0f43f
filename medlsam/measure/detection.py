"""Regions found and missed, one structure in one case: F1 over regions at an IoU threshold, and Dice over voxels.

A region is a connected part of a mask (26 neighbours). A predicted region is a true positive if it is matched with a
region of the reference, one to one, with an IoU of at least the threshold; else it is a false positive, and a reference
region without a partner is a false negative.

| prediction  | reference   | F1 and Dice of the case | counts                           |
|-------------|-------------|-------------------------|----------------------------------|
| some voxels | some voxels | as they are             | as they are                      |
| empty       | some voxels | 0                       | every region is a false negative |
| some voxels | empty       | 0                       | every region is a false positive |
| empty       | empty       | nan: left out of means  | none                             |

This is what MSWAL's table and nnU-Net's evaluation count: a lesion that is not there costs the case. It is not the
policy of ``medlsam.measure.metrics``, where a false find has no value, since organs are scored where they are.

Two sums over cases are told apart: the *mean* over the cases' own figures, in which a case with one lesion weighs as
much as one with twenty, and *pooled* figures of the summed counts, in which each lesion weighs the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import tight_slices
from medlsam.volume.components import number_components

#: How regions find their partners; see ``match_regions``.
Matching = Literal["optimal", "greedy"]
MATCHINGS: tuple[Matching, ...] = ("optimal", "greedy")
#: As in MSWAL's tables.
IOU_THRESHOLD = 0.5


@dataclass(frozen=True)
class RegionCounts:
    """Regions that were found, found in vain, and missed.

    Attributes:
        tp: matched pairs.
        fp: predicted regions without a partner.
        fn: regions of the reference without a partner.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Self) -> RegionCounts:
        """The counts of both: what pooling over cases does."""
        return RegionCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """Share of the predicted regions that are right; nan where nothing is predicted."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the reference's regions that are found; nan where there is none."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); nan where neither side has a region."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True)
class VoxelCounts:
    """Voxels of both masks together, of which Dice is made.

    Attributes:
        shared: voxels in both.
        prediction: voxels of the prediction.
        reference: voxels of the reference.
    """

    shared: int = 0
    prediction: int = 0
    reference: int = 0

    def __add__(self, other: Self) -> VoxelCounts:
        """The counts of both: what pooling over cases does."""
        return VoxelCounts(
            self.shared + other.shared, self.prediction + other.prediction, self.reference + other.reference
        )

    @property
    def dice(self) -> float:
        """2 shared / (prediction + reference); 0 where one mask is empty, nan where both are."""
        return _ratio(2 * self.shared, self.prediction + self.reference)


@dataclass(frozen=True)
class RegionPair:
    """A predicted region and its partner.

    Attributes:
        prediction: number of the predicted region.
        reference: number of the region in the reference.
        iou: their overlap, at least the threshold.
    """

    prediction: int
    reference: int
    iou: float


@dataclass(frozen=True)
class DetectionScore:
    """One structure in one case.

    Attributes:
        regions: their counts.
        voxels: their counts, of the whole masks (small regions are in them).
        pairs: the matched regions, by number in ``find_regions`` of each side.
    """

    regions: RegionCounts
    voxels: VoxelCounts
    pairs: tuple[RegionPair, ...] = ()


def find_regions(
    mask: NDArray[np.bool_], smallest_voxels: int = 1
) -> tuple[NDArray[np.unsignedinteger], int]:
    """Number the connected parts (26 neighbours) of a mask that are large enough.

    Args:
        mask: (Z, Y, X); of numbers, what is not 0 is inside.
        smallest_voxels: smaller parts are left out.

    Returns:
        (Z, Y, X) with the numbers from 1 on, without gaps, 0 elsewhere; and how many there are.
    """
    numbered, sizes = number_components(mask.astype(bool, copy=False))
    large = sizes >= smallest_voxels
    table = np.zeros(len(sizes) + 1, numbered.dtype)
    table[1:][large] = np.arange(1, int(large.sum()) + 1)
    return table[numbered], int(large.sum())


def region_ious(prediction: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
    """IoU of every predicted region with every region of the reference.

    Args:
        prediction: (Z, Y, X), regions numbered from 1 on, 0 elsewhere.
        reference: the same on the same grid. Both may be masks of instances that were drawn apart.

    Returns:
        (P, R), P and R the largest numbers; 0 for a number without a voxel. It is dense: number thousands of regions
        without gaps, or score them part by part as ``medlsam.lesion.evaluate`` does.

    Raises:
        GeometryError: the shapes differ.
    """
    _check_shapes(prediction, reference)
    rows, columns = int(prediction.max(initial=0)), int(reference.max(initial=0))
    both = (prediction != 0) & (reference != 0)
    code = prediction[both].astype(np.int64) * (columns + 1) + reference[both].astype(np.int64)
    shared = np.bincount(code, minlength=(rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)[1:, 1:]
    sizes = [
        np.bincount(array[array != 0], minlength=count + 1)[1:]
        for array, count in ((prediction, rows), (reference, columns))
    ]
    union = sizes[0][:, None] + sizes[1][None, :] - shared
    ious: NDArray[np.float64] = np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)
    return ious


def match_regions(
    ious: NDArray[np.float64], threshold: float = IOU_THRESHOLD, matching: Matching = "optimal"
) -> tuple[RegionPair, ...]:
    """Pair regions one to one.

    Above a threshold of 0.5 no region has two possible partners, and both ways give the same pairs.

    Args:
        ious: (P, R), as ``region_ious`` gives them.
        threshold: least IoU of a pair, above 0 and at most 1; a pair that just reaches it counts.
        matching: ``optimal``: as many pairs as possible, of these the ones with the largest sum of IoUs (the Hungarian
            method); ``greedy``: the pair with the largest IoU first, of equal ones that with the smaller numbers.

    Returns:
        The pairs, by the number of the predicted region.

    Raises:
        UsageError: the threshold or the way of matching is none.
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold must be above 0 and at most 1, got {threshold:g}")
    if matching not in MATCHINGS:
        raise UsageError(f"matching: {matching!r} is unknown; it is one of {', '.join(MATCHINGS)}")
    allowed = ious >= threshold
    # Most regions have no partner; the rest are few.
    rows, columns = np.flatnonzero(allowed.any(axis=1)), np.flatnonzero(allowed.any(axis=0))
    find = _optimal if matching == "optimal" else _greedy
    found = find(np.where(allowed, ious, 0.0)[np.ix_(rows, columns)])
    pairs = [(int(rows[row]), int(columns[column])) for row, column in found]
    return tuple(RegionPair(p + 1, r + 1, float(ious[p, r])) for p, r in sorted(pairs))


def detection_score(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    threshold: float = IOU_THRESHOLD,
    smallest_voxels: int = 1,
    matching: Matching = "optimal",
) -> DetectionScore:
    """Score one structure in one case.

    Args:
        prediction: mask (Z, Y, X); of numbers, what is not 0 is inside.
        reference: mask (Z, Y, X) on the same grid.
        threshold: least IoU of a true positive.
        smallest_voxels: regions with fewer voxels are left out on both sides: neither found nor missed. Dice has all
            voxels.
        matching: see ``match_regions``.

    Raises:
        GeometryError: the shapes differ.
        UsageError: the threshold or the way of matching is none.
    """
    _check_shapes(prediction, reference)
    # Masks of 0 and 255 would count each voxel 255 times.
    prediction, reference = prediction.astype(bool, copy=False), reference.astype(bool, copy=False)
    crop = tight_slices(prediction | reference)
    prediction, reference = prediction[crop], reference[crop]
    numbered, count = find_regions(prediction, smallest_voxels)
    true_numbered, true_count = find_regions(reference, smallest_voxels)
    pairs = match_regions(region_ious(numbered, true_numbered), threshold, matching)
    voxels = VoxelCounts(int((prediction & reference).sum()), int(prediction.sum()), int(reference.sum()))
    regions = RegionCounts(len(pairs), count - len(pairs), true_count - len(pairs))
    return DetectionScore(regions, voxels, pairs)


def pool(scores: Iterable[DetectionScore]) -> DetectionScore:
    """The summed counts of several cases, or of parts of one that share no region; without pairs."""
    regions, voxels = RegionCounts(), VoxelCounts()
    for score in scores:
        regions, voxels = regions + score.regions, voxels + score.voxels
    return DetectionScore(regions, voxels)


def _optimal(ious: NDArray[np.float64]) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    # A pair more is worth more than all IoUs together.
    worth = np.where(ious > 0, ious + min(ious.shape) + 1, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if ious[r, c] > 0]


def _greedy(ious: NDArray[np.float64]) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = set(range(ious.shape[0])), set(range(ious.shape[1]))
    for place in np.argsort(-ious, axis=None, kind="stable"):
        row, column = divmod(int(place), ious.shape[1])
        if ious[row, column] <= 0:
            break
        if row in free_rows and column in free_columns:
            pairs.append((row, column))
            free_rows.remove(row)
            free_columns.remove(column)
    return pairs


def _check_shapes(prediction: NDArray[Any], reference: NDArray[Any]) -> None:
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"masks of one grid are needed: the prediction has shape {prediction.shape}, "
            f"the reference {reference.shape}"
        )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
