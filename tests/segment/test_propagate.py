"""Mrequests handed on from slice to slice, and the three planes' vote, with segmenters whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from medlsam.evaluation.oracles import in_true_slices
from medlsam.geometry import Box, Grid, mask_box
from medlsam.options import Policy
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.planes import (
    SIDES,
    outline,
    side_prompts,
    vote,
)
from medlsam.segment.prompts import SlicePrompt, oracle_slices, wpl
from medlsam.segment.propagate import Propagation, most_confident, propagate
from medlsam.segment.request import SegmentationRequest, segment_requests
from medlsam.volume import Volume


class Inside:
    """Finds the scan's bright voxels inside each box (and nothing else), with probability 0.9."""

    def __init__(self) -> None:
        self.calls: list[dict[str, list[SlicePrompt]]] = []
        self.mask_prompts: list[Mapping[str, MaskBlock]] = []

    def segment(
        self,
        volume: Volume,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Any = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        self.calls.append({name: list(own) for name, own in prompts.items()})
        self.mask_prompts.append(mask_prompts or {})
        blocks = {}
        for name, own in prompts.items():
            low, high = min(p.z for p in own), max(p.z for p in own) + 1
            found = np.zeros((high - low, *volume.array.shape[1:]), np.float32)
            for p in own:
                x0, y0, x1, y1 = (int(np.ceil(v)) for v in p.box_xyxy)
                found[p.z - low, y0:y1, x0:x1] = 0.9 * (volume.array[p.z, y0:y1, x0:x1] > 0)
            blocks[name] = MaskBlock((low, 0, 0), found)
        return blocks


def slanting() -> Volume:
    """A bar of 6 x 6 pixels in slices 2 to 9 that moves by one pixel a slice."""
    array = np.zeros((12, 24, 30), np.int16)
    for z in range(2, 10):
        array[z, 8:14, z : z + 6] = 1
    return Volume(array, Grid(array.shape))


def located(volume: Volume, slices: Sequence[int], box: tuple[float, float, float, float]) -> dict[str, Any]:
    return {"bar": [SlicePrompt(z, box) for z in slices]}


def mask_of(block: MaskBlock, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    found = np.zeros(shape, bool)
    place = tuple(slice(a, b) for a, b in zip(block.origin_zyx, block.end_zyx, strict=True))
    found[place] = block.probability >= 0.5
    return found


def test_boxes_follow_the_structure_and_stop_where_it_ends() -> None:
    volume, inside = slanting(), Inside()
    # one box that fits slice 5 only; past the bar's end there is a second thing in it
    volume.array[11, 8:14, 5:11] = 1
    prompts = located(volume, range(1, 12), (4.5, 7.5, 10.5, 13.5))
    first = inside.segment(volume, prompts)
    assert first["bar"].probability[10].any(), "slice 11 is bright in the located box"
    way = Propagation(share=1.0, own=0.0)
    found = propagate(inside, volume, prompts, first, way)
    mask = mask_of(found["bar"], volume.array.shape)
    assert not mask[10:].any(), "slice 10 is empty: the bar ends there"
    assert not mask[:2].any()
    assert mask[5].sum() == 36
    assert all(mask[z].any() for z in range(2, 10))
    step = inside.calls[1]
    assert {own[0].z for own in step.values()} == {4, 6}, "both directions in one call"
    assert all(own[0].box_xyxy == (4.5, 7.5, 10.5, 13.5) for own in step.values())
    above = next(key for key, own in step.items() if own[0].z == 6)
    rough = inside.mask_prompts[1][above]
    assert rough.origin_zyx[0] == 6, "the neighbour's mask prompts the slice"
    assert np.array_equal(rough.probability[0], first["bar"].probability[5 - 1])


def test_the_located_box_and_the_own_answer_keep_their_weight() -> None:
    volume, inside = slanting(), Inside()
    prompts = located(volume, range(2, 10), (-0.5, 7.5, 19.5, 13.5))
    first = inside.segment(volume, prompts)
    found = propagate(inside, volume, prompts, first, Propagation())
    assert np.array_equal(mask_of(found["bar"], volume.array.shape), volume.array > 0)
    steps = [own[0] for call in inside.calls[1:] for own in call.values()]
    assert all(-0.5 < p.box_xyxy[0] < p.z for p in steps), "between the located side and the mask's"
    own = propagate(Inside(), volume, prompts, first, Propagation(own=1.0))["bar"]
    assert np.allclose(own.probability, first["bar"].probability)


def test_a_sure_box_is_asked_as_it_is() -> None:
    volume, inside = slanting(), Inside()
    prompts = {"bar": [SlicePrompt(z, (z - 0.5, 7.5, z + 5.5, 13.5), error_mm=0.0) for z in range(2, 10)]}
    first = inside.segment(volume, prompts)
    propagate(inside, volume, prompts, first, Propagation(share=1.0, own=0.0))
    asked = [prompt for call in inside.calls[1:] for own in call.values() for prompt in own]
    assert asked
    assert all(prompt in prompts["bar"] for prompt in asked)


def test_the_start_is_the_most_confident_of_the_large_slices() -> None:
    probability = np.zeros((4, 10, 10), np.float32)
    probability[0, :2, :2] = 0.99  # small
    probability[1] = 0.7
    probability[2, :8] = 0.9
    assert most_confident(probability) == 2
    assert most_confident(np.full((3, 10, 10), 0.4, np.float32)) is None


def test_a_structure_without_a_mask_keeps_its_block_and_costs_nothing() -> None:
    volume, inside = slanting(), Inside()
    prompts = located(volume, range(3, 6), (20.5, 0.5, 25.5, 5.5))
    first = inside.segment(volume, prompts)
    found = propagate(inside, volume, prompts, first, Propagation())
    assert found["bar"] is first["bar"]
    assert len(inside.calls) == 1


# --- three planes


@pytest.mark.parametrize("turn", SIDES)
def test_a_turned_scan_holds_the_same_things_at_the_same_places(turn: Any) -> None:
    grid = Grid((5, 6, 7), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    array = np.random.default_rng(0).integers(0, 100, grid.shape_zyx).astype(np.int16)
    turned = turn.volume(Volume(array, grid))
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


def test_three_axes_find_what_the_scan_holds() -> None:
    volume, inside = slanting(), Inside()
    box = Box((1.5, 7.5, 1.5), (14.5, 13.5, 9.5))
    sides = {turn.name: side_prompts(box, None, volume.grid, turn) for turn in SIDES}
    found = segment_requests(inside, volume, {"bar": SegmentationRequest(wpl(box, volume.grid), sides)})  # type: ignore[arg-type]
    assert len(inside.calls) == 3
    assert np.array_equal(mask_of(found["bar"], volume.array.shape), volume.array > 0)
    assert found["bar"].probability.max() == pytest.approx(0.9), "all three planes agree"


def test_each_structure_is_asked_as_it_wants_to_be() -> None:
    volume, inside = slanting(), Inside()
    box = Box((1.5, 7.5, 1.5), (14.5, 13.5, 9.5))
    rough = MaskBlock((2, 8, 2), np.ones((1, 2, 2), np.float32))
    requests = {
        "plain": SegmentationRequest(wpl(box, volume.grid)),
        "bar": SegmentationRequest(wpl(box, volume.grid), mask_prompt=rough, propagation=Propagation()),
        "none": SegmentationRequest([]),
    }
    found = segment_requests(inside, volume, requests)  # type: ignore[arg-type]
    assert list(found) == ["plain", "bar"]
    assert inside.mask_prompts[0] == {"bar": rough}
    assert {key.split("/")[0] for call in inside.calls[1:] for key in call} == {"bar"}


def test_true_slice_boxes_are_true_in_every_plane_and_nothing_is_handed_on() -> None:
    volume = slanting()
    mask = volume.array > 0
    box = mask_box(mask, volume.grid)
    sides = {turn.name: side_prompts(box, None, volume.grid, turn) for turn in SIDES}
    question = SegmentationRequest(wpl(box, volume.grid), sides, propagation=Propagation())
    found = in_true_slices(question, mask, Policy(center_point=True))
    assert [p.box_xyxy for p in found.prompts] == [p.box_xyxy for p in oracle_slices(mask)]
    assert all(p.point_xy is not None for p in found.prompts)
    assert found.propagation is None
    for turn in SIDES:
        expected = oracle_slices(turn.array(mask))
        assert [p.box_xyxy for p in found.sides[turn.name]] == [p.box_xyxy for p in expected]
    alone = in_true_slices(SegmentationRequest(question.prompts), mask, Policy())
    assert not alone.sides
