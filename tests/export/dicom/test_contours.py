"""Outlines of masks: every kind of reader gets the same mask back, and they lie on the mask's edge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.path import Path

from medlsam.export.dicom.contours import outlines

masks = arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans())


def centres(shape):
    return np.indices(shape).reshape(2, -1)[::-1].T.astype(float)


def turns(polygon, points):
    """How often a polygon turns around each point (winding number), from the angles of its edges."""
    a = polygon[None] - points[:, None]
    b = np.roll(polygon, -1, axis=0)[None] - points[:, None]
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return np.rint(np.arctan2(cross, (a * b).sum(axis=-1)).sum(axis=1) / (2 * np.pi)).astype(int)


def readings(polygons, shape):
    """The mask as readers make it: polygons added or combined by exclusive or, winding rules even-odd and non-zero."""
    even_odd = [Path(polygon).contains_points(centres(shape)).reshape(shape) for polygon in polygons]
    non_zero = [(turns(polygon, centres(shape)) != 0).reshape(shape) for polygon in polygons]
    empty = np.zeros((1, *shape), np.bool_)
    return {
        "added, even-odd": np.concatenate([empty, even_odd]).any(axis=0) if polygons else empty[0],
        "added, non-zero": np.concatenate([empty, non_zero]).any(axis=0) if polygons else empty[0],
        "exclusive or": np.logical_xor.reduce([empty[0], *even_odd]),
    }


def edges_of(mask):
    """(N, 2, 2): the pixel edges between the mask and the rest, as (column, row) of both ends."""
    padded = np.pad(mask, 1)
    found = []
    for row, column in np.argwhere(padded[:, 1:] != padded[:, :-1]) - 1:
        found.append([(column + 0.5, row - 0.5), (column + 0.5, row + 0.5)])
    for row, column in np.argwhere(padded[1:] != padded[:-1]) - 1:
        found.append([(column - 0.5, row + 0.5), (column + 0.5, row + 0.5)])
    return np.asarray(found)


def distance(points, edges):
    """(N,) distance of each point from the nearest edge."""
    along = edges[:, 1] - edges[:, 0]
    share = np.clip(((points[:, None] - edges[:, 0]) * along).sum(axis=-1), 0, 1)
    return np.linalg.norm(points[:, None] - edges[:, 0] - share[..., None] * along, axis=-1).min(axis=1)


@settings(max_examples=150, deadline=None)
@given(masks)
def test_every_reader_gets_the_mask_back(mask):
    for reader, found in readings(outlines(mask), mask.shape).items():
        np.testing.assert_array_equal(found, mask, reader)


@settings(max_examples=100, deadline=None)
@given(masks)
def test_corners_lie_on_the_edge_of_the_mask(mask):
    for polygon in outlines(mask):
        assert distance(polygon, edges_of(mask)).max() < 0.5
        assert len(polygon) >= 4
        assert (np.abs(polygon - np.roll(polygon, 1, axis=0)).max(axis=1) > 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(masks)
def test_a_reader_that_rounds_to_voxels_gets_the_mask_back(mask):
    cv2 = pytest.importorskip("cv2", exc_type=ImportError, reason="OpenCV cannot be loaded here")
    found = np.zeros(mask.shape, np.uint8)
    for polygon in outlines(mask):
        cv2.fillPoly(found, [np.around(polygon).astype(np.int32)], 1)
    np.testing.assert_array_equal(found, mask)


def test_a_single_voxel_is_a_diamond_around_its_centre():
    mask = np.zeros((5, 6), np.bool_)
    mask[3, 4] = True
    (polygon,) = outlines(mask)
    assert sorted(map(tuple, np.round(polygon, 6))) == [(3.52, 3), (4, 2.52), (4, 3.48), (4.48, 3)]
    assert outlines(np.zeros((4, 4), np.bool_)) == []


def test_holes_are_reached_through_channels_and_islands_are_pieces():
    mask = np.ones((11, 15), np.bool_)
    mask[2:5, 2:4] = mask[2:9, 6:12] = mask[7, 3] = False
    mask[4:7, 8:10] = True
    assert len(outlines(mask)) == 2
    # Three holes, each reached and left again over a channel of two corners each.
    outer = max(outlines(mask), key=len)
    _, counts = np.unique(np.round(outer, 6), axis=0, return_counts=True)
    assert (counts == 2).sum() == 6
    assert counts.max() == 2


def test_straight_lines_have_corners_at_their_ends_only():
    (polygon,) = outlines(np.ones((40, 60), np.bool_))
    assert len(polygon) == 8
