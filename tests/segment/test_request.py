"""Requests: each structure is segmented as its request says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medlsam.geometry import Box, Grid
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.planes import (
    SIDES,
    side_prompts,
)
from medlsam.segment.prompts import oracle_parts, wpl
from medlsam.segment.propagate import Propagation
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.request import SegmentationRequest, segment_requests
from medlsam.volume import Image
from tests.support.fakes.inside_segmenter import Inside, mask_of, slanting


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


def two_bars() -> Image:
    """Two bars of 6 x 6 pixels: in slices 1 to 6 on the left, in slices 8 to 12 on the right."""
    array = np.zeros((14, 20, 40), np.int16)
    array[1:7, 4:10, 3:9] = array[8:13, 6:12, 28:34] = 1
    return Image(array, Grid(array.shape))


def test_parts_are_segmented_by_themselves_and_joined() -> None:
    volume, inside = two_bars(), Inside()
    mask = volume.array > 0
    located = [replace(prompt, error_mm=None) for prompt in oracle_parts(mask, 2)]
    request = SegmentationRequest(located, propagation=Propagation())
    found = segment_requests(inside, volume, {"bars": request})  # type: ignore[arg-type]
    assert list(found) == ["bars"]
    assert np.array_equal(mask_of(found["bars"], mask.shape), mask)
    assert list(inside.calls[0]) == ["bars", "bars/part 1"]
    # Handed on within one part: the end of the first bar is not the end of both.
    in_one = SegmentationRequest([replace(p, part=0) for p in located], propagation=Propagation())
    alone = segment_requests(inside, volume, {"bars": in_one})["bars"]  # type: ignore[arg-type]
    assert mask_of(alone, mask.shape).sum() < mask.sum()


def test_parts_vote_in_every_plane() -> None:
    volume, inside = two_bars(), Inside()
    mask = volume.array > 0
    sides = {turn.name: oracle_parts(turn.array(mask), 2) for turn in SIDES}
    request = SegmentationRequest(oracle_parts(mask, 2), sides)
    found = segment_requests(inside, volume, {"bars": request})  # type: ignore[arg-type]
    assert [sorted(call) for call in inside.calls] == [["bars", "bars/part 1"]] * 3
    assert np.array_equal(mask_of(found["bars"], mask.shape), mask)
    assert found["bars"].probability.max() == pytest.approx(0.9)


# --- windows


def windows_of(
    request: SegmentationRequest, volume: Image, name: str = "sam_vit_b"
) -> set[tuple[float, float] | None]:
    """The windows that the segmenter is asked for."""
    inside = Inside(SEGMENTERS[name])
    segment_requests(inside, volume, {"bar": request})  # type: ignore[arg-type]
    return {prompt.window_hu for call in inside.calls for own in call.values() for prompt in own}


def test_the_window_suits_what_the_templates_hold() -> None:
    volume = slanting()
    box = Box((1.5, 7.5, 1.5), (14.5, 13.5, 9.5))
    sides = {turn.name: side_prompts(box, None, volume.grid, turn) for turn in SIDES}

    def asked(
        hu: tuple[float, ...], window: str | tuple[float, float] = "auto", name: str = "sam_vit_b"
    ) -> Any:
        prompts = wpl(box, volume.grid)
        request = SegmentationRequest(prompts, sides, propagation=Propagation(), window=window, hu=hu)
        return windows_of(request, volume, name)

    assert asked((30.0, 50.0, 60.0)) == {None}
    assert asked((-900.0, -850.0, 60.0)) == {(-1350.0, 150.0)}
    assert asked((-900.0, -850.0, 60.0), name="medsam_vit_b") == {(-910.0, 590.0)}
    assert asked((100.0, 500.0, 900.0)) == {(-500.0, 1300.0)}
    assert asked((-900.0, -850.0, 60.0), "model") == {None}
    assert asked((30.0, 50.0, 60.0), (-100.0, 900.0)) == {(-100.0, 900.0)}
    assert asked((-900.0, -850.0, 60.0), (-100.0, 900.0), "sam-tiny") == {None}


def test_without_templates_the_boxes_decide() -> None:
    volume = slanting()
    box = Box((1.5, 7.5, 1.5), (14.5, 13.5, 9.5))
    request = SegmentationRequest(wpl(box, volume.grid), window="auto")
    assert windows_of(request, volume) == {None}
    air = volume.derived(volume.array - 800, volume.grid)
    assert windows_of(request, air) == {(-1350.0, 150.0)}
