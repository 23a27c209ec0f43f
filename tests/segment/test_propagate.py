"""Masks passed on from slice to slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.propagate import Propagation, most_confident, propagate
from medlsam.volume import Image
from tests.support.fakes.inside_segmenter import Inside, mask_of, slanting


def located(volume: Image, slices: Sequence[int], box: tuple[float, float, float, float]) -> dict[str, Any]:
    return {"bar": [SlicePrompt(z, box) for z in slices]}


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
