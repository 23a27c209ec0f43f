"""Prompts: which slices, which boxes, always inside the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.errors import GeometryError
from medlsam.geometry import Box, Grid, mask_box
from medlsam.segment.prompts import (
    SlicePrompt,
    covered,
    index_box,
    oracle_slices,
    profile,
    shrink,
    spl,
    with_center_point,
    with_outside_points,
    wpl,
    zoomed,
)

# 10 slices of 8 x 6 pixels, 2 mm in the plane and 5 mm apart; voxel (0, 0, 0) is centred on (10, 20, 30)
GRID = Grid((10, 6, 8), (2.0, 2.0, 5.0), (10.0, 20.0, 30.0))


def test_covered_takes_centres_and_at_least_one() -> None:
    assert list(covered(1.5, 4.5, 10)) == [2, 3, 4]
    assert list(covered(2.0, 4.0, 10)) == [2, 3, 4]  # a centre on the face counts
    assert list(covered(2.1, 2.4, 10)) == [2]  # between two centres: the nearest
    assert list(covered(-7.0, 0.4, 10)) == [0]
    assert list(covered(8.6, 99.0, 10)) == [9]
    assert list(covered(-0.4, -0.2, 10)) == [0]
    assert list(covered(9.5, 12.0, 10)) == []
    assert list(covered(-3.0, -0.5, 10)) == []


def test_wpl_is_one_box_on_the_slices_whose_centres_lie_in_it() -> None:
    # x 12..18 mm is index 1..4, y 21..27 mm is index 0.5..3.5, z 38..51 mm is index 1.6..4.2
    box = Box((12.0, 21.0, 38.0), (18.0, 27.0, 51.0))
    assert wpl(box, GRID) == [SlicePrompt(z, (1.0, 0.5, 4.0, 3.5)) for z in (2, 3, 4)]


def test_boxes_are_clipped_and_dropped_outside_of_the_image() -> None:
    box = Box((-100.0, 21.0, 38.0), (18.0, 500.0, 41.0))
    assert wpl(box, GRID) == [SlicePrompt(2, (-0.5, 0.5, 4.0, 5.5))]
    assert wpl(Box((100.0, 21.0, 38.0), (118.0, 27.0, 51.0)), GRID) == []
    assert wpl(Box((12.0, 21.0, 380.0), (18.0, 27.0, 510.0)), GRID) == []


def test_spl_takes_the_slab_of_each_slice() -> None:
    box = Box((10.0, 20.0, 30.0), (24.0, 30.0, 75.0))  # all slices
    low = Box((12.0, 22.0, 35.0), (14.0, 24.0, 47.0))  # indices 1 to 3.4
    high = Box((16.0, 26.0, 47.0), (20.0, 28.0, 60.0))  # indices 3.4 to 6
    expected = {z: (1.0, 1.0, 2.0, 2.0) if z <= 3 else (3.0, 3.0, 5.0, 4.0) for z in range(10)}
    for slabs in ((low, high), (high, low)):
        found = {p.z: p.box_xyxy for p in spl(slabs, box, GRID)}
        assert found.keys() == expected.keys()
        assert all(found[z] == pytest.approx(expected[z]) for z in found)
    assert spl((), box, GRID) == wpl(box, GRID)


def test_spl_in_two_slabs_takes_the_nearer_centre() -> None:
    box = Box((10.0, 20.0, 50.0), (24.0, 30.0, 56.0))  # slices 4 and 5
    first = Box((12.0, 22.0, 30.0), (14.0, 24.0, 57.0))  # centre 43.5
    second = Box((16.0, 26.0, 48.0), (20.0, 28.0, 60.0))  # centre 54
    assert [p.box_xyxy[0] for p in spl((first, second), box, GRID)] == [3.0, 3.0]


def test_profile_is_interpolated_at_slice_centres() -> None:
    # z 30..70 mm is index 0..8, so slice z has t = z / 8; x and y are index 0..4
    box = Box((10.0, 20.0, 30.0), (18.0, 28.0, 70.0))
    rows = [[0.25, 0.0, 0.0, 0.5, 1.0], [0.75, 0.5, 0.25, 1.0, 0.75]]
    found = {p.z: p.box_xyxy for p in profile(box, rows, GRID)}
    assert list(found) == list(range(9))
    assert found[4] == pytest.approx((1.0, 0.5, 3.0, 3.5))  # t = 0.5, the mean of both rows
    assert found[3] == pytest.approx((0.5, 0.25, 2.5, 3.75))  # t = 0.375, a quarter of the way
    assert found[0] == found[2] == pytest.approx((0.0, 0.0, 2.0, 4.0))  # constant before the first row
    assert found[8] == pytest.approx((2.0, 1.0, 4.0, 3.0))
    shuffled = {p.z: p.box_xyxy for p in profile(box, rows[::-1], GRID)}
    assert shuffled == found


def test_profile_slices_whose_box_vanishes_are_dropped() -> None:
    box = Box((10.0, 20.0, 30.0), (18.0, 28.0, 70.0))
    rows = [[0.0, 0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0, 1.0, 1.0]]
    assert [p.z for p in profile(box, rows, GRID)] == list(range(1, 9))


@pytest.mark.parametrize("rows", [np.zeros((3, 4)), np.zeros((0, 5)), np.full((2, 5), np.nan)])
def test_profile_refuses_bad_rows(rows: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="finite rows"):
        profile(GRID.box, rows, GRID)


def test_prompts_need_a_canonical_grid() -> None:
    flipped = Grid((10, 6, 8), direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    with pytest.raises(GeometryError, match="canonical"):
        wpl(flipped.box, flipped)


def test_oracle_slices_are_tight() -> None:
    mask = np.zeros((10, 6, 8), dtype=bool)
    mask[3, 1:4, 2:7] = True
    mask[5, 2, 5] = True
    assert oracle_slices(mask) == [
        SlicePrompt(3, (1.5, 0.5, 6.5, 3.5), error_mm=0.0),
        SlicePrompt(5, (4.5, 1.5, 5.5, 2.5), error_mm=0.0),
    ]
    assert [prompt.error_mm for prompt in shrink(oracle_slices(mask), 0.5)] == [None, None]
    assert oracle_slices(np.zeros((4, 4, 4), dtype=bool)) == []


def test_oracle_and_wpl_agree_on_a_cuboid() -> None:
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[2:6, 1:4, 3:8] = True
    for oracle, whole in zip(oracle_slices(mask), wpl(mask_box(mask, GRID), GRID), strict=True):
        assert oracle.z == whole.z
        assert oracle.box_xyxy == pytest.approx(whole.box_xyxy)


def test_boxes_shrink_about_their_centres_and_get_a_point_there() -> None:
    prompts = [SlicePrompt(2, (10.0, 20.0, 30.0, 24.0)), SlicePrompt(3, (0.0, 0.0, 2.0, 2.0))]
    small = shrink(prompts, 0.5)
    assert [p.box_xyxy for p in small] == [(15.0, 21.0, 25.0, 23.0), (0.5, 0.5, 1.5, 1.5)]
    assert shrink(prompts, 1.0) == prompts
    assert [p.point_xy for p in with_center_point(small)] == [(20.0, 22.0), (1.0, 1.0)]
    assert [p.z for p in with_center_point(small)] == [2, 3]


def test_points_outside_lie_beyond_the_middles_of_the_sides() -> None:
    (prompt,) = with_outside_points(with_center_point([SlicePrompt(2, (10.0, 20.0, 30.0, 24.0))]), 0.25)
    assert prompt.outside_xy == ((5.0, 22.0), (35.0, 22.0), (20.0, 19.0), (20.0, 25.0))
    assert prompt.points[0] == (20.0, 22.0, 1)
    assert prompt.points[-1] == (20.0, 25.0, 0)


def test_views_are_squares_around_boxes_inside_the_image() -> None:
    # 80 pixels wide and 10 high, centred on pixel edge 100, 100; twice as large
    middle = zoomed([SlicePrompt(0, (59.5, 94.5, 139.5, 104.5))], 2.0, (300, 400))[0]
    assert middle.view_xyxy == (20, 20, 180, 180)
    assert middle.box_xyxy == (59.5, 94.5, 139.5, 104.5)
    corner = zoomed([SlicePrompt(0, (-0.5, 289.5, 79.5, 299.5))], 2.0, (300, 400))[0]
    assert corner.view_xyxy == (0, 140, 160, 300), "moved into the image, not cut"
    small = zoomed([SlicePrompt(0, (99.5, 99.5, 103.5, 103.5))], 2.0, (300, 400))[0]
    assert small.view_xyxy == (70, 70, 134, 134), "never fewer pixels than the model can use"
    assert zoomed([SlicePrompt(0, (0, 0, 30, 30))], 2.0, (40, 50))[0].view_xyxy == (0, 0, 50, 40)


def test_slice_boxes_of_a_block_are_in_the_scans_indices() -> None:
    mask = np.zeros((2, 3, 4), dtype=bool)
    mask[1, 0, 1:3] = True
    assert oracle_slices(mask, (5, 10, 20)) == [SlicePrompt(6, (20.5, 9.5, 22.5, 10.5), error_mm=0.0)]


coordinate = st.floats(-60.0, 140.0)
boxes = st.lists(coordinate, min_size=6, max_size=6).map(Box.from_faces)
fraction = st.floats(-0.3, 1.3)
rows_of_profile = st.lists(st.tuples(st.floats(0, 1), *[fraction] * 4), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(boxes, st.lists(boxes, max_size=3), rows_of_profile)
def test_prompts_lie_in_the_image_one_for_each_centre(
    box: Box, slabs: list[Box], rows: list[tuple[float, ...]]
) -> None:
    low, high = index_box(box, GRID)[:, 2]
    inside = [z for z in range(10) if low <= z <= high]
    for found in (wpl(box, GRID), spl(slabs, box, GRID), profile(box, rows, GRID)):
        slices = [p.z for p in found]
        assert slices == sorted(set(slices))
        assert all(0 <= z < 10 for z in slices)
        if len(inside) > 1:
            assert set(slices) <= {*inside, *covered(low, high, 10)}
        for x0, y0, x1, y1 in (p.box_xyxy for p in found):
            assert -0.5 <= x0 < x1 <= 7.5
            assert -0.5 <= y0 < y1 <= 5.5
    if box.intersection(GRID.box) and min(box.size) > 0.01:
        slices = [p.z for p in wpl(box, GRID)]
        common = box.intersection(GRID.box)
        assert common is not None
        if min(common.size) > 0.01:
            assert slices == (inside or slices)
            assert slices
