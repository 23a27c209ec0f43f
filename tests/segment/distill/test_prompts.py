"""Slices and boxes for the teacher."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medlsam
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.distill.prompts import _iou, plan
from medlsam.segment.prompts import SlicePrompt
from tests.support.data.distill_data import bright_things

IMAGE = bright_things(0)


@given(slices=st.integers(1, 8), boxes=st.integers(1, 6), seed=st.integers(0, 5))
@settings(max_examples=12, deadline=None)
def test_limits_are_kept_and_boxes_differ(slices: int, boxes: int, seed: int) -> None:
    options = DistillOptions(slices_per_scan=slices, prompts_per_slice=boxes)
    planned = plan(IMAGE, options, np.random.default_rng(seed))
    assert 0 < len(planned) <= slices
    assert [own.z for own in planned] == sorted({own.z for own in planned})
    _, rows, columns = IMAGE.array.shape
    for own in planned:
        assert 1 <= len(own.boxes) <= boxes
        assert all(_iou(a, b) <= 0.8 for k, a in enumerate(own.boxes) for b in own.boxes[:k])
        for x0, y0, x1, y1 in own.boxes:
            assert -0.5 <= x0 < x1 <= columns - 0.5
            assert -0.5 <= y0 < y1 <= rows - 0.5


def test_the_seed_decides() -> None:
    first, again, other = (plan(IMAGE, DistillOptions(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_slices_are_spread_over_the_scan() -> None:
    image = medlsam.phantom(1, (4, 4, 5), (200, 460)).image
    planned = plan(image, DistillOptions(slices_per_scan=5, prompts_per_slice=1), np.random.default_rng(0))
    depth = len(image.array)
    assert len(planned) == 5
    ends = np.linspace(0, depth, 6).astype(int)
    assert np.digitize([own.z for own in planned], ends).tolist() == [1, 2, 3, 4, 5]


def test_located_structures_come_first() -> None:
    box = (10.0, 12.0, 20.0, 30.0)
    located = [SlicePrompt(z, box) for z in (4, 5)]
    options = DistillOptions(slices_per_scan=2, prompts_per_slice=3)
    for seed in range(5):
        planned = plan(IMAGE, options, np.random.default_rng(seed), located)
        theirs = [own for own in planned if own.z in (4, 5)]
        assert theirs
        assert all(own.boxes[0] == box for own in theirs)
        assert all(box not in own.boxes for own in planned if own.z not in (4, 5))


def test_air_has_no_boxes() -> None:
    empty = type(IMAGE)(np.full_like(IMAGE.array, -1000), IMAGE.grid)
    assert plan(empty, DistillOptions(), np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((0, 0, 2, 2), (0, 0, 2, 2), 1), ((0, 0, 2, 2), (2, 0, 4, 2), 0), ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3)],
)
def test_overlap(one: tuple[float, ...], other: tuple[float, ...], expected: float) -> None:
    assert _iou(one, other) == pytest.approx(expected)  # type: ignore[arg-type]
