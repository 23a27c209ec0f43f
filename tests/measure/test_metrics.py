"""Mask and box metrics: hand-worked values, properties, and a brute-force cross-check."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medlsam.errors import GeometryError
from medlsam.geometry import Box
from medlsam.measure.metrics import (
    MaskOutcome,
    box_iou,
    dice,
    hd95,
    iou,
    mask_outcome,
    mask_scores,
    nsd,
    surface,
    surface_distances,
    wall_distance,
)

ANISOTROPIC = (3.0, 1.0, 0.5)


def block(shape: tuple[int, ...], *slices: slice) -> NDArray[np.bool_]:
    """A mask that is true in one block."""
    mask = np.zeros(shape, dtype=bool)
    mask[slices] = True
    return mask


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two masks of one small shape, neither empty."""
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.floats(0.05, 0.95))
    masks = []
    for _ in range(2):
        mask = generator.random(shape) < density
        mask[tuple(generator.integers(0, shape))] = True
        masks.append(mask)
    return masks[0], masks[1]


def test_overlap_of_two_shifted_blocks() -> None:
    a = block((4, 4, 8), slice(0, 4), slice(0, 4), slice(0, 4))
    b = block((4, 4, 8), slice(0, 4), slice(0, 4), slice(1, 5))
    assert dice(a, b) == pytest.approx(2 * 48 / 128)
    assert iou(a, b) == pytest.approx(48 / 80)


def test_hd95_of_single_voxels_goes_by_the_spacing_of_each_axis() -> None:
    for axis, spacing in enumerate(ANISOTROPIC):
        a, b = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
        a[2, 2, 2] = True
        b[tuple(4 if i == axis else 2 for i in range(3))] = True
        assert hd95(a, b, ANISOTROPIC) == pytest.approx(2 * spacing)


def test_hd95_takes_the_worse_direction_and_ignores_the_last_five_percent() -> None:
    a = block((1, 1, 100), slice(0, 1), slice(0, 1), slice(0, 40))
    b = block((1, 1, 100), slice(0, 1), slice(0, 1), slice(0, 80))
    # From b, 40 of 80 voxels lie 1..40 mm outside a: the 95th percentile, linearly at rank 0.95 * 79 = 75.05.
    assert hd95(a, b, (1, 1, 1)) == pytest.approx(36.05)
    assert hd95(b, a, (1, 1, 1)) == pytest.approx(36.05)
    outlier = b.copy()
    outlier[..., 99] = True
    assert hd95(outlier, b, (1, 1, 1)) == 0.0


def test_nsd_counts_both_surfaces_within_the_tolerance() -> None:
    a = block((1, 1, 20), slice(0, 1), slice(0, 1), slice(0, 10))
    b = block((1, 1, 20), slice(0, 1), slice(0, 1), slice(0, 14))
    # All 10 of a lie on b; of b's 14, ten lie on a, two within 2 mm and two further out.
    assert nsd(a, b, (1, 1, 1), 2.0) == pytest.approx(22 / 24)
    assert nsd(a, b, (1, 1, 1), 0.5) == pytest.approx(20 / 24)
    assert nsd(a, b, (1, 1, 2), 2.0) == pytest.approx(21 / 24)


def test_the_tolerance_is_inclusive_despite_rounding() -> None:
    a = block((1, 1, 30), slice(0, 1), slice(0, 1), slice(0, 1))
    b = block((1, 1, 30), slice(0, 1), slice(0, 1), slice(20, 21))
    assert nsd(a, b, (1, 1, 0.1), 2.0) == 1.0


def test_surface_is_the_shell_and_the_array_edge_is_outside() -> None:
    whole = np.ones((4, 5, 6), bool)
    assert surface(whole).sum() == 4 * 5 * 6 - 2 * 3 * 4
    assert not surface(whole)[1:-1, 1:-1, 1:-1].any()


def test_empty_masks_follow_one_policy() -> None:
    empty, full = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    missed = mask_scores(empty, full, (1, 1, 1))
    assert missed.outcome is MaskOutcome.MISSED
    assert (missed.dice, missed.nsd, iou(empty, full)) == (0.0, 0.0, 0.0)
    assert math.isnan(missed.hd95_mm)
    for prediction, outcome in ((full, MaskOutcome.FALSE_FOUND), (empty, MaskOutcome.ABSENT)):
        assert mask_outcome(prediction, empty) is outcome
        scores = mask_scores(prediction, empty, (1, 1, 1))
        assert scores.outcome is outcome
        figures = (scores.dice, scores.hd95_mm, scores.nsd, iou(prediction, empty), dice(prediction, empty))
        assert all(math.isnan(figure) for figure in figures)


def test_masks_of_two_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(GeometryError, match=r"\(2, 2, 2\).*\(2, 2, 3\)"):
        dice(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool))


def test_box_figures_by_hand_and_where_missed() -> None:
    truth, shifted = Box((0, 0, 0), (10, 10, 10)), Box((5, 0, 0), (15, 10, 10))
    assert box_iou(shifted, truth) == pytest.approx(500 / 1500)
    assert wall_distance(shifted, truth) == pytest.approx(10 / 6)
    assert box_iou(None, truth) == 0.0
    assert math.isnan(wall_distance(None, truth))


@given(mask_pairs())
@settings(max_examples=40, deadline=None)
def test_distances_agree_with_brute_force(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    points = []
    for mask in pair:
        padded = np.pad(mask, 1)
        shell = [
            index
            for index in np.argwhere(mask)
            if not all(
                padded[tuple(index + 1 + step)] for step in (*np.eye(3, dtype=int), *-np.eye(3, dtype=int))
            )
        ]
        points.append(np.asarray(shell) * ANISOTROPIC)
    table = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    forth, back = surface_distances(*pair, ANISOTROPIC)
    np.testing.assert_allclose(np.sort(forth), np.sort(table.min(axis=1)), atol=1e-9)
    np.testing.assert_allclose(np.sort(back), np.sort(table.min(axis=0)), atol=1e-9)
    expected = max(np.percentile(table.min(axis=1), 95), np.percentile(table.min(axis=0), 95))
    assert hd95(*pair, ANISOTROPIC) == pytest.approx(expected, abs=1e-9)


@given(mask_pairs(), st.integers(0, 3), st.floats(0.0, 5.0))
@settings(max_examples=40, deadline=None)
def test_metric_properties(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_]], padding: int, tolerance: float
) -> None:
    a, b = pair
    scores = mask_scores(a, b, ANISOTROPIC, tolerance)
    assert 0.0 <= scores.dice <= 1.0
    assert 0.0 <= scores.nsd <= 1.0
    assert scores.hd95_mm >= 0.0
    overlap = iou(a, b)
    assert scores.dice == pytest.approx(2 * overlap / (1 + overlap))
    assert mask_scores(b, a, ANISOTROPIC, tolerance) == scores, "both directions agree"
    assert mask_scores(np.pad(a, padding), np.pad(b, padding), ANISOTROPIC, tolerance) == scores
    assert nsd(a, b, ANISOTROPIC, tolerance + 1) >= scores.nsd
    itself = mask_scores(a, a, ANISOTROPIC, 0.0)
    assert (itself.dice, itself.hd95_mm, itself.nsd) == (1.0, 0.0, 1.0)


def test_integer_masks_are_read_as_masks() -> None:
    a = np.array([[[0, 2, 2]]], dtype=np.uint8)
    b = np.array([[[0, 0, 1]]], dtype=np.uint8)
    assert dice(a, b) == pytest.approx(2 / 3)
    assert iou(a, b) == pytest.approx(1 / 2)
    assert mask_scores(a, b, (1, 1, 1)).dice == pytest.approx(2 / 3)


def test_a_large_organ_in_a_large_scan_takes_well_under_a_second() -> None:
    z, y, x = np.ogrid[:100, :256, :256]
    a = ((z - 50) / 30) ** 2 + ((y - 120) / 50) ** 2 + ((x - 120) / 40) ** 2 < 1
    b = ((z - 52) / 30) ** 2 + ((y - 125) / 50) ** 2 + ((x - 118) / 40) ** 2 < 1
    start = time.perf_counter()
    mask_scores(a, b, (3, 1, 1))
    assert time.perf_counter() - start < 2.0, "seconds; alone it takes about a tenth of that"
