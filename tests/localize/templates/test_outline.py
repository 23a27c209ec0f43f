"""The outline that six extreme points let expect, beside the true box of every slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medlsam.geometry import Box, ExtremePoints, Grid
from medlsam.io.slicer_markups.extreme_points import face_centres
from medlsam.localize.templates.outline import ROWS, outline_of_points
from medlsam.localize.templates.shape import at_equal_steps, mean_profile, slice_profile
from tests.support.fakes.stub_model import template_set

GRID = Grid((48, 60, 60), (1.0, 1.0, 1.5))


def ellipsoid(tilt: float = 0.0) -> NDArray[np.bool_]:
    """Of half axes 20, 14 and 18 voxels; tilted, its slices move along x with z."""
    z, y, x = np.mgrid[:48, :60, :60].astype(float)
    z, y, x = z - 24, y - 30, x - 30
    return np.asarray(((x - tilt * z) / 14) ** 2 + (y / 14) ** 2 + (z / 18) ** 2 <= 1)


def bent_tube() -> NDArray[np.bool_]:
    """Of radius 4 voxels; its middle lies 30 voxels from the line between its ends."""
    z, y, x = np.mgrid[:48, :60, :60].astype(float)
    middle = 12 + 30 * np.sin(np.clip((z - 4) / 40, 0, 1) * np.pi)
    return np.asarray(((x - middle) ** 2 + (y - 30) ** 2 <= 16) & (z >= 4) & (z < 44))


def overlap(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Mean IoU of the boxes of two profiles with the same rows."""
    low, high = np.maximum(one[:, 1:3], other[:, 1:3]), np.minimum(one[:, 3:], other[:, 3:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(sides[:, 3:] - sides[:, 1:3]).prod(axis=1) for sides in (one, other)]
    return float(np.mean(common / (areas[0] + areas[1] - common)))


@pytest.mark.parametrize(
    ("mask", "least"),
    [(ellipsoid(), 0.75), (ellipsoid(0.8), 0.65), (bent_tube(), 0.2)],
    ids=["round", "tilted", "tube"],
)
def test_an_outline_is_nearer_to_the_slices_than_the_whole_box(mask: NDArray[np.bool_], least: float) -> None:
    points = ExtremePoints.from_mask(mask, GRID)
    true = at_equal_steps(slice_profile(mask, GRID, points.box), ROWS)
    whole = np.column_stack([true[:, 0], np.tile([0, 0, 1, 1], (ROWS, 1))])
    found = outline_of_points(points)
    assert found.dtype == np.float32
    assert overlap(found, true) > max(least, overlap(whole, true) + 0.08)


def test_an_outline_follows_where_the_points_lie() -> None:
    """A tube that runs from the left in the lowest slice to the right in the uppermost one."""
    ends = [(0, 5, 1), (100, 5, 99), (2, 0, 3), (98, 10, 97), (1, 5, 0), (99, 5, 100)]
    found = outline_of_points(ExtremePoints(tuple(ends)))
    middle = (found[:, 1] + found[:, 3]) / 2
    assert np.abs(middle[2:-2] - found[2:-2, 0]).max() < 0.06
    assert (found[:, 3] - found[:, 1]).max() < 0.3


def test_centres_of_faces_give_an_outline_in_the_middle() -> None:
    """An ROI stands for them: what is known is the box alone, and most structures are compact."""
    centres = face_centres(Box((10, 20, 30), (50, 40, 90)))
    found = outline_of_points(ExtremePoints.from_unordered(centres), rows=4)
    assert found[:, 0].tolist() == [0.125, 0.375, 0.625, 0.875]
    np.testing.assert_allclose(found[:, 1:3], 1 - found[:, 3:], atol=1e-6)
    widths = found[:, 3] - found[:, 1]
    assert widths[1] == widths[2] > widths[0] == widths[3] > 0.4


def test_outlines_count_only_where_no_template_has_a_mask() -> None:
    (known,) = template_set(["block"]).by_structure["block"]
    drawn = replace(known, profile=np.array([[0.5, 0.2, 0.3, 0.8, 0.7]], np.float32))
    wide = np.array([[0.5, 0.0, 0.0, 1.0, 1.0]], np.float32)
    pointed = replace(known, profile=wide, shape=np.zeros((0, 0, 0), np.uint8))
    both = mean_profile((drawn, pointed), rows=1)
    assert both is not None
    np.testing.assert_allclose(both, drawn.profile)
    alone = mean_profile((pointed, pointed), rows=1)
    assert alone is not None
    np.testing.assert_allclose(alone, wide)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.integers(0, 40)] * 3), min_size=6, max_size=6))
def test_any_points_give_boxes_inside_of_their_box(places: list[tuple[int, int, int]]) -> None:
    points = ExtremePoints(tuple(places))
    if min(points.box.size) <= 0:
        return
    found = outline_of_points(points)
    assert found.shape == (ROWS, 5)
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:, 3:] > found[:, 1:3]).all()
