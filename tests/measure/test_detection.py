"""Regions found and missed: worked cases, an independent implementation by brute force, and what may not matter."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medlsam.errors import GeometryError, UsageError
from medlsam.measure.detection import (
    DetectionScore,
    RegionCounts,
    RegionPair,
    detection_score,
    find_regions,
    match_regions,
    pool,
    region_ious,
)

Mask = NDArray[np.bool_]


def rows(*spans: tuple[int, int, int]) -> Mask:
    """A mask of 3 x 12 x 12 with runs of voxels along x: (y, first x, number)."""
    mask = np.zeros((3, 12, 12), bool)
    for y, x, count in spans:
        mask[1, y, x : x + count] = True
    return mask


def figures(score: DetectionScore) -> tuple[int, int, int, float, float]:
    return (
        score.regions.tp,
        score.regions.fp,
        score.regions.fn,
        round(score.regions.f1, 4),
        round(score.voxels.dice, 4),
    )


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        # The same two lesions.
        (rows((0, 0, 4), (4, 0, 4)), rows((0, 0, 4), (4, 0, 4)), (2, 0, 0, 1.0, 1.0)),
        # One of two found: 4 of 4 and 0 of 4 voxels; Dice 2 * 4 / (4 + 8).
        (rows((0, 0, 4)), rows((0, 0, 4), (4, 0, 4)), (1, 0, 1, 0.6667, 0.6667)),
        # Shifted by two of six: IoU 4 / 8 just counts; Dice 8 / 12.
        (rows((0, 2, 6)), rows((0, 0, 6)), (1, 0, 0, 1.0, 0.6667)),
        # Shifted by three of six: IoU 3 / 9; both a false find and a miss, and Dice 6 / 12.
        (rows((0, 3, 6)), rows((0, 0, 6)), (0, 1, 1, 0.0, 0.5)),
        # One lesion predicted in halves of 6 of 12: IoU 1/2 each, but only one may be its partner.
        (rows((0, 0, 12)) & ~rows((0, 6, 1)), rows((0, 0, 12)), (1, 1, 0, 0.6667, 0.9565)),
        # Two lesions predicted as one: 9 voxels, of which 4 and 4 are right: IoU 4 / 9 each.
        (rows((0, 0, 9)), rows((0, 0, 4), (0, 5, 4)), (0, 1, 2, 0.0, 0.9412)),
        # Nothing predicted, nothing there, neither.
        (rows(), rows((0, 0, 4)), (0, 0, 1, 0.0, 0.0)),
        (rows((0, 0, 4)), rows(), (0, 1, 0, 0.0, 0.0)),
    ],
)
def test_worked_cases(prediction: Mask, reference: Mask, expected: tuple[float, ...]) -> None:
    assert figures(detection_score(prediction, reference)) == expected


@pytest.mark.parametrize(("kind", "inside"), [(np.uint8, 255), (np.uint16, 256), (np.int64, 7), (float, 1)])
def test_masks_of_numbers_are_masks(kind: type, inside: int) -> None:
    prediction, reference = rows((0, 0, 4), (6, 2, 3)), rows((0, 1, 4), (4, 0, 4))
    score = detection_score(prediction.astype(kind) * kind(inside), reference.astype(kind) * kind(inside))
    assert score == detection_score(prediction, reference)
    assert find_regions(prediction.astype(kind) * kind(inside))[1] == 2


def test_two_empty_masks_have_no_figures() -> None:
    score = detection_score(rows(), rows())
    assert score.regions == RegionCounts(0, 0, 0)
    assert all(
        math.isnan(value)
        for value in (score.regions.f1, score.regions.precision, score.regions.recall, score.voxels.dice)
    )


def test_precision_and_recall() -> None:
    counts = RegionCounts(tp=3, fp=1, fn=2)
    assert (counts.precision, counts.recall, counts.f1) == (0.75, 0.6, 6 / 9)
    assert math.isnan(RegionCounts(fn=1).precision)
    assert RegionCounts(fn=1).recall == 0


def test_diagonal_neighbours_are_one_region() -> None:
    mask = np.zeros((3, 4, 5), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True
    mask[0, 3, 4] = True
    assert find_regions(mask)[1] == 2


def test_small_regions_are_left_out_on_both_sides_and_stay_in_dice() -> None:
    prediction, reference = rows((0, 0, 5), (4, 0, 2)), rows((0, 0, 5), (8, 0, 2))
    assert figures(detection_score(prediction, reference)) == (1, 1, 1, 0.5, 0.7143)
    assert figures(detection_score(prediction, reference, smallest_voxels=3)) == (1, 0, 0, 1.0, 0.7143)
    numbered, count = find_regions(prediction, 3)
    assert (count, np.unique(numbered).tolist()) == (1, [0, 1])


def test_optimal_matching_finds_a_pair_more_than_greedy() -> None:
    # The first prediction fits both references, the second only the first reference.
    ious = np.array([[0.9, 0.4], [0.45, 0.0]])
    assert match_regions(ious, 0.3, "greedy") == (RegionPair(1, 1, 0.9),)
    assert match_regions(ious, 0.3, "optimal") == (RegionPair(1, 2, 0.4), RegionPair(2, 1, 0.45))
    # Of as many pairs the better ones.
    assert match_regions(np.array([[0.5, 0.7], [0.6, 0.7]]), 0.3) == (
        RegionPair(1, 2, 0.7),
        RegionPair(2, 1, 0.6),
    )


def test_lesions_that_touch_are_told_apart_where_instances_are_given() -> None:
    instances = np.zeros((1, 1, 8), np.uint16)
    instances[..., :4], instances[..., 4:] = 7, 300
    ious = region_ious(instances, instances)
    assert ious.shape == (300, 300)
    assert [pair.prediction for pair in match_regions(ious)] == [7, 300]
    assert detection_score(instances > 0, instances > 0).regions.tp == 1


def test_pooled_cases_weigh_by_lesions() -> None:
    many = detection_score(rows((0, 0, 4), (3, 0, 4), (6, 0, 4)), rows((0, 0, 4), (3, 0, 4), (6, 0, 4)))
    none = detection_score(rows((0, 0, 4)), rows((6, 0, 4)))
    empty = detection_score(rows(), rows())
    pooled = pool([many, none, empty])
    assert pooled.regions == RegionCounts(3, 1, 1)
    assert pooled.regions.f1 == 0.75  # the mean over the two cases is 0.5
    assert pooled.voxels.dice == 24 / 32


def test_wrong_calls_are_refused() -> None:
    mask = rows((0, 0, 4))
    for threshold in (0, 1.1, -1, math.nan):
        with pytest.raises(UsageError, match="threshold must be above 0"):
            detection_score(mask, mask, threshold)
    with pytest.raises(UsageError, match="matching: 'best' is unknown"):
        detection_score(mask, mask, matching="best")  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match=r"shape \(3, 12, 12\).*\(2, 12, 12\)"):
        detection_score(mask, mask[:2])


# --- against an implementation of its own: sets of voxels, a flood, and every way of pairing


def flooded(mask: Mask) -> list[frozenset[tuple[int, ...]]]:
    left = {tuple(int(n) for n in place) for place in np.argwhere(mask)}
    found = []
    while left:
        waiting, region = [left.pop()], set()
        while waiting:
            place = waiting.pop()
            region.add(place)
            for step in product((-1, 0, 1), repeat=3):
                near = tuple(a + b for a, b in zip(place, step, strict=True))
                if near in left:
                    left.remove(near)
                    waiting.append(near)
        found.append(frozenset(region))
    return found


def by_brute_force(prediction: Mask, reference: Mask, threshold: float) -> tuple[int, float]:
    """Most pairs, and the largest sum of IoUs with so many, over all ways of pairing."""
    few, many = sorted((flooded(prediction), flooded(reference)), key=len)
    best = (0, 0.0)
    for chosen in permutations(many, len(few)):
        ious = [len(a & b) / len(a | b) for a, b in zip(few, chosen, strict=True)]
        good = [iou for iou in ious if iou >= threshold]
        best = max(best, (len(good), sum(good)))
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.25, 0.5, 0.75]))
def test_agrees_with_every_way_of_pairing(seed: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        mask = np.zeros((4, 7, 7), bool)
        for _ in range(generator.integers(0, 5)):
            corner = generator.integers(0, (3, 5, 5))
            size = generator.integers(1, (3, 4, 4))
            mask[tuple(slice(a, a + b) for a, b in zip(corner, size, strict=True))] = True
        masks.append(mask)
    score = detection_score(*masks, threshold)
    count, total = by_brute_force(*masks, threshold)
    assert len(score.pairs) == score.regions.tp == count
    assert sum(pair.iou for pair in score.pairs) == pytest.approx(total)
    assert score.regions.tp + score.regions.fp == len(flooded(masks[0]))
    assert score.regions.tp + score.regions.fn == len(flooded(masks[1]))
    greedy = detection_score(*masks, threshold, matching="greedy")
    assert greedy.regions.tp <= score.regions.tp
    if threshold > 0.5:
        assert greedy.pairs == score.pairs
    swapped = detection_score(masks[1], masks[0], threshold)
    assert (swapped.regions.f1, swapped.voxels.dice) == pytest.approx(
        (score.regions.f1, score.voxels.dice), nan_ok=True
    )
    turned = detection_score(masks[0][::-1].transpose(0, 2, 1), masks[1][::-1].transpose(0, 2, 1), threshold)
    assert turned.regions == score.regions
