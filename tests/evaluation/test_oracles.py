"""Prompts from the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medlsam.evaluation.oracles import in_true_box, in_true_slices
from medlsam.geometry import Box, map_box, mask_box
from medlsam.options import PromptOptions
from medlsam.results import LocatedStructure
from medlsam.segment.planes import (
    SIDES,
    side_prompts,
)
from medlsam.segment.prompts import oracle_slices, wpl
from medlsam.segment.propagate import Propagation
from medlsam.segment.request import SegmentationRequest
from tests.support.fakes.inside_segmenter import slanting


def test_boxes_and_slabs_move_with_their_frame() -> None:
    source, target = Box((0, 0, 0), (10, 20, 40)), Box((5, 5, 5), (15, 25, 25))
    assert map_box(source, source, target) == target
    assert map_box(Box((0, 5, 20), (5, 10, 40)), source, target) == Box((5, 10, 15), (10, 15, 25))
    structure = LocatedStructure("cube", "missing", 0.1, box=source, slabs=(Box((0, 0, 0), (10, 20, 20)),))
    oracle = in_true_box(structure, target)
    assert oracle.present
    assert oracle.slabs == (Box((5, 5, 5), (15, 25, 15)),)


def test_true_slice_boxes_are_true_in_every_plane_and_nothing_is_propagated() -> None:
    volume = slanting()
    mask = volume.array > 0
    box = mask_box(mask, volume.grid)
    sides = {turn.name: side_prompts(box, None, volume.grid, turn) for turn in SIDES}
    question = SegmentationRequest(wpl(box, volume.grid), sides, propagation=Propagation())
    found = in_true_slices(question, mask, PromptOptions(center_point=True))
    assert [p.box_xyxy for p in found.prompts] == [p.box_xyxy for p in oracle_slices(mask)]
    assert all(p.point_xy is not None for p in found.prompts)
    assert found.propagation is None
    for turn in SIDES:
        expected = oracle_slices(turn.array(mask))
        assert [p.box_xyxy for p in found.sides[turn.name]] == [p.box_xyxy for p in expected]
    alone = in_true_slices(SegmentationRequest(question.prompts), mask, PromptOptions())
    assert not alone.sides


def test_true_slice_boxes_of_each_part() -> None:
    mask = np.zeros((6, 12, 30), bool)
    mask[1:5, 2:6, 2:6] = mask[2:6, 4:9, 20:26] = True
    mask[0, 11, 29] = True  # a stray voxel
    located = [replace(prompt, part=part) for prompt in oracle_slices(mask) for part in (0, 1)]
    found = in_true_slices(SegmentationRequest(located), mask, PromptOptions())
    assert {(p.part, p.box_xyxy) for p in found.prompts} == {
        (0, (19.5, 3.5, 25.5, 8.5)),
        (1, (1.5, 1.5, 5.5, 5.5)),
    }
    assert len(found.prompts) == 8
    assert all(p.error_mm == 0 for p in found.prompts)
