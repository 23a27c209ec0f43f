"""The fit of the status: what counts as misplaced, how groups are weighted, and thresholds under weights."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.localize.status.fit_status import group_weights, judged, quantile
from benchmarks.localize.status.rows import Row


def located(iou: float, shift_mm: float) -> Row:
    return Row("group", "scan", "liver", "present", {}, 2, iou, [shift_mm] * 2 + [0.0] * 4)


@pytest.mark.parametrize(
    ("iou", "shift_mm", "truth"),
    [(0.1, 30, "misplaced"), (0.4, 30, "present"), (0.1, 20, "present")],
)
def test_far_off_and_hardly_overlapping_is_misplaced(iou: float, shift_mm: float, truth: str) -> None:
    assert judged([located(iou, shift_mm)])[0].truth == truth


def test_answers_without_a_true_box_stay() -> None:
    row = Row("group", "scan", "liver", "absent", {})
    assert judged([row]) == [row]


def test_groups_count_the_same_and_so_do_present_and_not() -> None:
    kinds = (("a", "present"), ("a", "present"), ("b", "present"), ("a", "absent"))
    rows = [Row(group, "scan", "liver", truth, {}) for group, truth in kinds]
    assert group_weights(rows) == pytest.approx([0.25, 0.25, 0.5, 1.0])


def test_a_quantile_follows_the_weights() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert quantile(values, np.ones(3), 0.5) == 2.0
    assert quantile(values, np.array([10.0, 1.0, 1.0]), 0.5) == 3.0
