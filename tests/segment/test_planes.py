"""Coronal and sagittal slices, and the vote of the planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medlsam.geometry import Grid, mask_box
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.planes import (
    SIDES,
    outline,
    side_prompts,
    vote,
)
from medlsam.segment.prompts import oracle_slices, wpl
from medlsam.volume import Image


@pytest.mark.parametrize("turn", SIDES)
def test_a_turned_scan_holds_the_same_things_at_the_same_places(turn: Any) -> None:
    grid = Grid((5, 6, 7), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    array = np.random.default_rng(0).integers(0, 100, grid.shape_zyx).astype(np.int16)
    turned = turn.volume(Image(array, grid))
    assert turned.array.shape == turned.grid.shape_zyx
    mask = np.zeros(grid.shape_zyx, bool)
    mask[1:4, 2:4, 3:7] = True
    assert mask_box(turn.array(mask), turned.grid) == turn.box(mask_box(mask, grid))
    block = MaskBlock((1, 2, 3), array[1:4, 2:4, 3:7].astype(np.float32))
    found = turned.array
    place = [block.origin_zyx[axis] for axis in turn.order]
    size = [block.probability.shape[axis] for axis in turn.order]
    part = found[tuple(slice(a, a + n) for a, n in zip(place, size, strict=True))]
    back = turn.back(MaskBlock(tuple(place), part.astype(np.float32)))
    assert back.origin_zyx == (1, 2, 3)
    assert np.array_equal(back.probability, block.probability)


def test_side_prompts_are_the_outline_of_the_mean_shape() -> None:
    mask = np.zeros((8, 10, 12), bool)
    mask[2:6, 3:9, 4:10] = True
    mask[2:4, 3:6] = False  # nothing low in front
    grid = Grid(mask.shape, (2.0, 2.0, 2.0))
    part = mask[2:6, 3:9, 4:10].astype(np.float32)
    for turn in SIDES:
        found = side_prompts(mask_box(mask, grid), part, grid, turn)
        expected = oracle_slices(turn.array(mask))
        assert [p.z for p in found] == [p.z for p in expected]
        for own, true in zip(found, expected, strict=True):
            assert own.box_xyxy == pytest.approx(true.box_xyxy, abs=1e-6)
    whole = side_prompts(mask_box(mask, grid), None, grid, SIDES[0])
    assert whole == wpl(SIDES[0].box(mask_box(mask, grid)), SIDES[0].grid(grid))
    assert outline(np.full((2, 2, 2), 0.4)).shape == (0, 5)


def test_votes_are_a_weighted_mean_and_absence_is_a_vote() -> None:
    axial = MaskBlock((0, 0, 0), np.full((2, 2, 2), 0.8, np.float32))
    side = MaskBlock((1, 0, 0), np.full((2, 2, 2), 0.4, np.float32))
    none = MaskBlock((0, 0, 0), np.zeros((0, 0, 0), np.float32))
    found = vote([axial, side, none], [2.0, 1.0, 1.0])
    assert found.origin_zyx == (0, 0, 0)
    np.testing.assert_allclose(found.probability[:, 0, 0], [0.4, 0.5, 0.1], rtol=1e-6)
