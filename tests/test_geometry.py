"""Grids, boxes and extreme points: algebra that must hold for any values."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.errors import GeometryError
from medlsam.geometry import (
    FACES,
    Box,
    ExtremePoints,
    Grid,
    filled,
    hat_weights,
    map_between,
    mask_box,
    tight_slices,
)

coordinates = st.floats(-500, 500, allow_nan=False).map(lambda v: round(v, 3))
points = st.tuples(coordinates, coordinates, coordinates)


@st.composite
def boxes(draw, smallest=0.1):
    low = np.asarray(draw(points))
    edge = st.floats(smallest, 300)
    return Box(tuple(low), tuple(low + np.asarray(draw(st.tuples(edge, edge, edge)))))


def rotation(degrees, axis=2):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    a, b = [n for n in range(3) if n != axis]
    matrix[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
    return matrix


@given(boxes(), boxes())
def test_iou_is_symmetric_and_between_zero_and_one(one, other):
    assert one.iou(other) == pytest.approx(other.iou(one))
    assert 0 <= one.iou(other) <= 1
    assert (one.iou(other) > 0) == (one.intersection(other) is not None)


@given(boxes())
def test_iou_with_itself_is_one_and_falls_with_distance(box):
    assert box.iou(box) == pytest.approx(1)
    half = box.size[0] / 2
    moved = Box((box.min[0] + half, *box.min[1:]), (box.max[0] + half, *box.max[1:]))
    assert box.iou(moved) == pytest.approx(1 / 3, rel=1e-3)
    assert box.wall_distance(moved) == pytest.approx(half / 3)


@given(boxes(), boxes())
def test_intersection_lies_in_both(one, other):
    common = one.intersection(other)
    if common is None:
        assert any(one.max[n] <= other.min[n] or other.max[n] <= one.min[n] for n in range(3))
        return
    for box in (one, other):
        assert box.intersection(common) == common
    assert common == other.intersection(one)
    assert common.volume <= min(one.volume, other.volume)


@given(boxes(), st.floats(0.1, 50))
def test_expand_moves_every_face_and_back(box, margin):
    larger = box.expand(margin)
    np.testing.assert_allclose(larger.faces - box.faces, np.array([-1, 1] * 3) * margin, atol=1e-6)
    np.testing.assert_allclose(larger.expand(-margin).faces, box.faces, atol=1e-6)


def test_expand_takes_a_margin_per_face():
    assert Box((0, 0, 0), (10, 10, 10)).expand([1, 2, 3, 4, 5, 6]) == Box((-1, -3, -5), (12, 14, 16))


@given(boxes(), st.floats(0.1, 1))
def test_shrink_scales_edges_about_the_centre(box, factor):
    small = box.shrink(factor)
    np.testing.assert_allclose(small.size, np.asarray(box.size) * factor, atol=1e-6)
    np.testing.assert_allclose(small.center, box.center, atol=1e-6)
    assert box.iou(small) == pytest.approx(factor**3, rel=1e-3)


@given(boxes())
def test_box_round_trips(box):
    assert Box.from_faces(box.faces) == box
    again = Box.from_dict(json.loads(json.dumps(box.to_dict())))
    np.testing.assert_allclose(again.faces, box.faces, atol=0.0051)


def test_box_sizes_by_hand():
    box = Box((1, 2, 3), (3, 6, 11))
    assert (box.size, box.center, box.volume) == ((2, 4, 8), (2, 4, 7), 64)
    assert list(box.faces) == [1, 3, 2, 6, 3, 11]
    assert FACES == ("x-", "x+", "y-", "y+", "z-", "z+")


@pytest.mark.parametrize("faces", [((1, 0, 0), (0, 1, 1)), ((0, 0, float("nan")), (1, 1, 1))])
def test_impossible_boxes_are_refused(faces):
    with pytest.raises(GeometryError, match="min <= max"):
        Box(*faces)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape_zyx": (4, 0, 4)}, "three positive sizes"),
        ({"shape_zyx": (4, 4)}, "three positive sizes"),
        ({"shape_zyx": (4, 4, 4), "spacing_xyz": (1.0, 0.0, 1.0)}, "positive spacings"),
        ({"shape_zyx": (4, 4, 4), "spacing_xyz": (1.0, float("nan"), 1.0)}, "positive spacings"),
        ({"shape_zyx": (4, 4, 4), "direction": (1, 0.5, 0, 0, 1, 0, 0, 0, 1)}, "orthonormal"),
    ],
)
def test_impossible_grids_are_refused(arguments, words):
    with pytest.raises(GeometryError, match=words):
        Grid(**arguments)


@given(points, st.floats(0, 360), st.integers(0, 2))
def test_indices_and_millimetres_are_inverse(point, degrees, axis):
    grid = Grid((5, 6, 7), (0.7, 1.3, 5.0), (-100, 20, 900), tuple(rotation(degrees, axis).ravel()))
    np.testing.assert_allclose(grid.ijk_to_lps(grid.lps_to_ijk(point)), point, atol=1e-6)


def test_grid_millimetres_by_hand():
    grid = Grid((5, 6, 7), (1, 2, 3), (10, 20, 30), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    np.testing.assert_allclose(grid.ijk_to_lps([1, 1, 1]), [9, 18, 33])
    assert grid.box == Box((3.5, 9, 28.5), (10.5, 21, 43.5))
    assert grid.voxel_ml == pytest.approx(0.006)


def test_grid_holds_plain_numbers():
    grid = Grid(
        tuple(np.array([4, 5, 6])),
        tuple(np.float32([1, 1, 1])),
        direction=tuple(np.eye(3, dtype=int).ravel()),
    )
    assert grid == Grid((4, 5, 6))
    assert hash(grid) == hash(Grid((4, 5, 6)))
    json.dumps([grid.shape_zyx, grid.spacing_xyz, grid.direction])


def test_axis_aligned_up_to_six_hundredths_of_a_degree():
    for degrees, aligned in ((0, True), (0.05, True), (0.1, False), (45, False), (90, True), (180, True)):
        for axis in range(3):
            grid = Grid((3, 4, 5), direction=tuple(rotation(degrees, axis).ravel()))
            assert grid.is_axis_aligned is aligned, (degrees, axis)


def test_matches_looks_at_shape_and_corners():
    grid = Grid((10, 10, 10))
    assert grid.matches(Grid((10, 10, 10), origin_xyz=(0.05, 0, 0)))
    assert not grid.matches(Grid((10, 10, 10), origin_xyz=(0.2, 0, 0)))
    assert not grid.matches(Grid((10, 10, 11)))
    # 2 % of spacing is 0.2 mm at the far corner.
    assert not grid.matches(Grid((10, 10, 10), (1.02, 1.0, 1.0)))


@st.composite
def masks(draw):
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    voxels = draw(st.lists(st.tuples(*[st.integers(0, n - 1) for n in shape]), min_size=1, max_size=12))
    mask = np.zeros(shape, bool)
    mask[tuple(np.array(voxels).T)] = True
    return mask


@settings(max_examples=60)
@given(masks(), st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_extreme_points_give_the_box_of_voxel_extents(mask, order, signs):
    direction = np.eye(3)[:, order] * signs
    grid = Grid(mask.shape, (0.9, 2.0, 3.5), (-7, 8, 9), tuple(direction.ravel()))
    points = ExtremePoints.from_mask(mask, grid)
    corners = [
        grid.ijk_to_lps(voxel[::-1] + np.array(corner))
        for voxel in np.argwhere(mask)
        for corner in itertools.product((-0.5, 0.5), repeat=3)
    ]
    expected = Box(tuple(np.min(corners, axis=0)), tuple(np.max(corners, axis=0)))
    np.testing.assert_allclose(points.box.faces, expected.faces, atol=1e-6)
    np.testing.assert_allclose(mask_box(mask, grid).faces, expected.faces, atol=1e-6)
    for n, point in enumerate(points.array):
        # On its face, and within the box on the other axes.
        assert point[n // 2] == pytest.approx(expected.faces[n])
        assert (point >= np.asarray(expected.min) - 1e-6).all()
        assert (point <= np.asarray(expected.max) + 1e-6).all()
    assert ExtremePoints.from_unordered(points.array[[3, 1, 5, 0, 2, 4]]).box == points.box


def test_extreme_point_is_the_one_nearest_to_the_middle_of_its_face():
    mask = np.zeros((9, 9, 9), bool)
    mask[2:7, 2:7, 2:7] = True
    grid = Grid((9, 9, 9))
    np.testing.assert_allclose(ExtremePoints.from_mask(mask, grid).array[0], [1.5, 4, 4])
    np.testing.assert_allclose(ExtremePoints.from_mask(mask, grid).array[5], [4, 4, 6.5])


def test_one_voxel_has_the_width_of_a_voxel():
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    assert mask_box(mask, Grid((3, 3, 3), (1, 2, 3))).size == pytest.approx((1, 2, 3))


def test_empty_mask_and_too_few_points_are_refused():
    with pytest.raises(GeometryError, match="empty"):
        ExtremePoints.from_mask(np.zeros((2, 2, 2), bool), Grid((2, 2, 2)))
    with pytest.raises(GeometryError, match="got 5"):
        ExtremePoints(((0.0, 0.0, 0.0),) * 5)
    with pytest.raises(GeometryError, match="at least two"):
        ExtremePoints.from_unordered([[0, 0, 0]])


@pytest.mark.parametrize("shape", [(7,), (5, 6), (4, 5, 6)])
def test_tight_slices_hold_the_mask_and_nothing_around_it(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random(shape) > 0.93
        part = tight_slices(mask)
        assert mask[part].sum() == mask.sum()
        for axis in range(mask.ndim):
            indices = np.unique(np.nonzero(mask)[axis])
            assert filled(mask, axis).tolist() == indices.tolist()
            if mask.any():
                assert (part[axis].start, part[axis].stop) == (indices[0], indices[-1] + 1)
            else:
                assert part[axis] == slice(0, 0)


def test_hat_weights_interpolate_as_numpy_does() -> None:
    values = np.array([3.0, -1.0, 4.0, 1.0])
    places = np.array([2.0, 2.25, 3.9, 5.0])
    weights = hat_weights(places, np.arange(2, 6))
    assert np.allclose(weights @ values, np.interp(places, np.arange(2, 6), values))
    assert hat_weights(np.array([1.5]), np.arange(2, 6)).sum() == 0.5  # half beyond the first cell


def test_map_between_gives_a_frame_without_extent_no_division_by_zero() -> None:
    places = map_between([[2.0, 5.0]], [[0, 5], [4, 5]], [[10, 20], [12, 30]])
    assert places.tolist() == [[11.0, 20.0]]
