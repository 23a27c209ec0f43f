"""Blocks to one label map: overlap, components, dtype; the mean shape in a box."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Box, Grid, mask_box
from medlsam.options import LabelMapOptions
from medlsam.segment.label_map import (
    MaskBlock,
    assemble,
    crop_prior,
    joined,
    shape_prior_block,
)

SHAPE = (6, 8, 10)


def block(origin: tuple[int, int, int], size: tuple[int, int, int], value: float) -> MaskBlock:
    return MaskBlock(origin, np.full(size, value, dtype=np.float32))


def test_a_block_lands_where_it_says() -> None:
    labels = assemble({"a": block((1, 2, 3), (2, 3, 4), 0.9)}, {"a": 7}, SHAPE)
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[1:3, 2:5, 3:7] = 7
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected)


def test_the_threshold_belongs_to_the_structure() -> None:
    probability = np.array([[[0.29, 0.3, 0.31]]], dtype=np.float32)
    labels = assemble(
        {"a": MaskBlock((0, 0, 0), probability)}, {"a": 1}, SHAPE, LabelMapOptions(threshold=0.3)
    )
    assert labels[0, 0, :3].tolist() == [0, 1, 1]


def test_overlap_goes_to_the_more_probable_whatever_the_order() -> None:
    blocks = {"weak": block((0, 0, 0), (2, 4, 6), 0.6), "strong": block((0, 0, 4), (2, 4, 6), 0.8)}
    for order in (("weak", "strong"), ("strong", "weak")):
        labels = assemble({name: blocks[name] for name in order}, {"weak": 1, "strong": 2}, SHAPE)
        assert (labels[:2, :4, :4] == 1).all()
        assert (labels[:2, :4, 4:] == 2).all()


def test_equal_probabilities_go_to_the_first() -> None:
    blocks = {"a": block((0, 0, 0), (1, 1, 2), 0.7), "b": block((0, 0, 1), (1, 1, 2), 0.7)}
    assert assemble(blocks, {"a": 1, "b": 2}, SHAPE)[0, 0, :3].tolist() == [1, 1, 2]


def test_the_largest_component_stays_and_islands_give_way() -> None:
    probability = np.zeros((1, 1, 10), dtype=np.float32)
    probability[0, 0, :5] = 0.7
    probability[0, 0, 7:9] = 0.99  # an island on another structure
    blocks = {"a": MaskBlock((0, 0, 0), probability), "b": block((0, 0, 6), (1, 1, 4), 0.6)}
    assert assemble(blocks, {"a": 1, "b": 2}, SHAPE)[0, 0].tolist() == [1, 1, 1, 1, 1, 0, 2, 2, 2, 2]


def test_what_an_overlap_cuts_off_goes_too() -> None:
    blocks = {"a": block((0, 0, 0), (1, 1, 10), 0.6), "b": block((0, 0, 6), (1, 1, 2), 0.9)}
    assert assemble(blocks, {"a": 1, "b": 2}, SHAPE)[0, 0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 0, 0]


def test_all_components_stay_where_asked() -> None:
    probability = np.zeros((1, 1, 10), dtype=np.float32)
    probability[0, 0, [0, 1, 2, 6]] = 0.7
    blocks = {"a": MaskBlock((0, 0, 0), probability), "b": block((0, 0, 1), (1, 1, 1), 0.9)}
    values = {"a": 1, "b": 2}
    assert assemble(blocks, values, SHAPE)[0, 0].tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    found = assemble(blocks, values, SHAPE, LabelMapOptions(components="all"))
    assert found[0, 0].tolist() == [1, 2, 1, 0, 0, 0, 1, 0, 0, 0]


def test_as_many_components_stay_as_the_templates_show() -> None:
    probability = np.zeros((1, 1, 40), dtype=np.float32)
    for start, stop in ((0, 20), (22, 27), (29, 33), (35, 36)):
        probability[0, 0, start:stop] = 0.7
    block = {"a": MaskBlock((0, 0, 0), probability)}

    def kept(components: str = "templates", **parts: int) -> int:
        how = LabelMapOptions(components=components)
        return int((assemble(block, {"a": 1}, (1, 1, 40), how, parts) > 0).sum())

    assert [kept(), kept(a=1), kept(a=2), kept(a=3), kept(b=3)] == [20, 20, 25, 29, 20]
    assert kept(a=4) == 29, "a voxel is no part beside twenty"
    assert kept("largest", a=3) == 20
    assert kept("all", a=1) == 30


def test_what_an_overlap_cuts_off_a_part_goes_too() -> None:
    probability = np.zeros((1, 1, 20), dtype=np.float32)
    probability[0, 0, :8] = probability[0, 0, 10:20] = 0.6
    blocks = {"a": MaskBlock((0, 0, 0), probability), "b": block((0, 0, 16), (1, 1, 2), 0.9)}
    found = assemble(blocks, {"a": 1, "b": 2}, (1, 1, 20), parts={"a": 2})[0, 0]
    assert found.tolist() == [1] * 8 + [0] * 2 + [1] * 6 + [2] * 2 + [0] * 2


def test_parts_are_joined_by_the_larger_probability() -> None:
    found = joined([block((1, 2, 3), (1, 2, 2), 0.4), block((1, 3, 4), (2, 1, 2), 0.9)])
    assert (found.origin_zyx, found.probability.shape) == ((1, 2, 3), (2, 2, 3))
    np.testing.assert_allclose(found.probability[0], [[0.4, 0.4, 0], [0.4, 0.9, 0.9]])
    np.testing.assert_allclose(found.probability[1], [[0, 0, 0], [0, 0.9, 0.9]])
    alone = block((1, 2, 3), (1, 2, 2), 0.4)
    assert joined([alone]) is alone


def test_a_part_of_the_mean_mask() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (4, 6, 8))
    half = crop_prior(ramp, (0.5, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert half.shape == (4, 6, 8)
    np.testing.assert_allclose(half[0, 0], [3.75, 4.25, 4.75, 5.25, 5.75, 6.25, 6.75, 7.0])


def test_overlaps_by_order_go_to_the_last() -> None:
    blocks = {"strong": block((0, 0, 0), (1, 1, 4), 0.9), "weak": block((0, 0, 2), (1, 1, 4), 0.6)}
    values = {"strong": 1, "weak": 2}
    assert assemble(blocks, values, SHAPE)[0, 0, :6].tolist() == [1, 1, 1, 1, 2, 2]
    assert assemble(blocks, values, SHAPE, LabelMapOptions(overlaps="order"))[0, 0, :6].tolist() == [
        1,
        1,
        2,
        2,
        2,
        2,
    ]


def test_the_values_choose_the_dtype() -> None:
    blocks = {"a": block((0, 0, 0), (1, 1, 1), 1.0)}
    assert assemble(blocks, {"a": 255}, SHAPE).dtype == np.uint8
    wide = assemble(blocks, {"a": 1, "absent": 300}, SHAPE)
    assert wide.dtype == np.uint16
    assert wide[0, 0, 0] == 1


def test_empty_answers_make_empty_maps() -> None:
    empty = MaskBlock((0, 0, 0), np.zeros((0, 0, 0), dtype=np.float32))
    assert not assemble({}, {}, SHAPE).any()
    assert not assemble({"a": empty, "b": block((0, 0, 0), (2, 2, 2), 0.1)}, {"a": 1, "b": 2}, SHAPE).any()


def test_wrong_blocks_and_values_are_told() -> None:
    with pytest.raises(UsageError, match="heart"):
        assemble({"heart": block((0, 0, 0), (1, 1, 1), 1.0)}, {"a": 1}, SHAPE)
    with pytest.raises(GeometryError, match="leaves the scan"):
        assemble({"a": block((5, 0, 0), (2, 1, 1), 1.0)}, {"a": 1}, SHAPE)
    with pytest.raises(UsageError, match="1 to 65535"):
        assemble({}, {"a": 0}, SHAPE)


def test_shape_prior_at_its_own_size_is_copied() -> None:
    grid = Grid((6, 8, 10), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    mask = np.zeros(grid.shape_zyx, dtype=bool)
    mask[1:5, 2:5, 3:9] = True
    prior = np.random.default_rng(0).random((4, 3, 6)).astype(np.float32)
    found = shape_prior_block(mask_box(mask, grid), prior, grid)
    assert found.origin_zyx == (1, 2, 3)
    np.testing.assert_allclose(found.probability, prior, atol=1e-5)


def test_shape_prior_is_linear_between_its_voxels() -> None:
    grid = Grid((1, 1, 4))
    found = shape_prior_block(grid.box, np.array([[[0.0, 1.0]]]), grid)
    # centres at 1/8, 3/8, 5/8, 7/8 of the box; the prior's at 1/4 and 3/4
    np.testing.assert_allclose(found.probability[0, 0], [0.0, 0.25, 0.75, 1.0], atol=1e-6)
    assert found.probability.dtype == np.float32


def test_shape_prior_is_clipped_to_the_scan() -> None:
    grid = Grid((4, 4, 4))
    found = shape_prior_block(Box((-4.5, -0.5, -0.5), (3.5, 3.5, 3.5)), np.ones((2, 2, 2)), grid)
    assert (found.origin_zyx, found.probability.shape) == ((0, 0, 0), (4, 4, 4))
    ramp = np.arange(8.0).reshape(1, 1, 8) / 8
    half = shape_prior_block(Box((-4.5, -0.5, -0.5), (3.5, 3.5, 3.5)), ramp, grid)
    np.testing.assert_allclose(half.probability[0, 0], [0.5, 0.625, 0.75, 0.875], atol=1e-6)
    outside = shape_prior_block(Box((50.0, 0.0, 0.0), (60.0, 3.0, 3.0)), np.ones((2, 2, 2)), grid)
    assert outside.probability.size == 0
